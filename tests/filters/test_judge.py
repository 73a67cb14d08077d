"""self_contradiction with a judge: the teacher is asked only what no rule can read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from filter_rows import pair, reasons, sifted, trace

from distill.errors import ConfigError
from distill.records import Answer, Request, make_request
from filters.base import Tools

PLAIN = "It names the figure. Therefore the passage is relevant to the query."
OPEN = {
    "a": "The first part speaks of ferries; the figure that is wanted stands in neither part. {x}",
    "b": "Both parts speak of the ferries that were asked about.",
    "c": "Hard to tell what is meant here, and harder to tell whether it helps.",
    "d": "No part of it speaks of trains.",
}
SAYS = {"a": "false", "b": "true", "c": "unclear"}


class Teacher:
    """Answers by a word of the trace, in another order than asked; refuses the last."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def request(self, content: str, *, purpose: str, sample: int = 0, **sampling: Any) -> Request:
        assert purpose == "judge" and sampling == {"temperature": 0.0}
        return make_request("t", [{"role": "user", "content": content}], sampling, sample, purpose)

    def __call__(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in reversed(list(requests)):
            content = request.messages[0]["content"]
            self.asked.append(content)
            name = next(name for name, text in OPEN.items() if text in content)
            answer = Answer(request.request_id, content=SAYS.get(name, ""))
            yield answer if name in SAYS else replace(answer, error="400: refused")


def test_the_teacher_is_asked_what_the_rules_leave_open() -> None:
    pairs = {name: pair(n) for n, name in enumerate(("plain", "opposed", *OPEN))}
    rows = [(pairs["plain"], trace(pairs["plain"], reasoning=PLAIN)),
            (pairs["opposed"], trace(pairs["opposed"], verdict=0, reasoning=PLAIN))]  # fmt: skip
    rows += [(pairs[name], trace(pairs[name], reasoning=text)) for name, text in OPEN.items()]
    teacher = Teacher()
    found = sifted(rows, [{"self_contradiction": {"judge": True}}], Tools(ask=teacher))
    why = {name: reasons(found).get((one.pair_id, 0)) for name, one in pairs.items()}
    assert why["a"] == "the teacher reads the conclusion not relevant, the trace answers true"
    assert str(why["opposed"]).startswith("concludes relevant and answers false")
    assert [name for name, reason in why.items() if reason] == ["opposed", "a"]
    assert len(teacher.asked) == 4 and not any(PLAIN in content for content in teacher.asked)


def test_without_a_teacher_it_says_so() -> None:
    one = pair()
    with pytest.raises(ConfigError, match=r"filters.self_contradiction with judge needs a teacher to ask"):
        sifted([(one, trace(one))], [{"self_contradiction": {"judge": True}}])
