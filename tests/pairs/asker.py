"""A teacher to ask in one process: the example's rules behind `distill.records.Ask`, every request counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from distill.example.teacher import Teacher, TeacherSettings
from distill.records import Answer, Request, make_request


class Asker:
    """Answers in reverse order of asking, to show that order means nothing. `answer` may stand in for the rules."""

    def __init__(self, answer: Callable[[str, int], str] | None = None, **faults: Any) -> None:
        self._teacher = Teacher(TeacherSettings(**faults))
        self._answer = answer
        self.purposes: Counter[str] = Counter()
        self.prompts: list[str] = []

    def request(self, content: str, *, purpose: str, sample: int = 0, **sampling: Any) -> Request:
        return make_request("t", [{"role": "user", "content": content}], sampling, sample, purpose)

    def __call__(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in reversed(list(requests)):
            content = request.messages[0]["content"]
            self.purposes[request.purpose] += 1
            self.prompts.append(content)
            if self._answer is not None:
                yield Answer(request.request_id, "", self._answer(content, request.sample))
                continue
            reply = self._teacher.reply(content, request.sample)
            yield Answer(request.request_id, reply.reasoning, reply.verdict, reply.finish_reason)
