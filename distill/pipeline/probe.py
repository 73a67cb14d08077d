"""`distill doctor --probe N`: asks the teacher about N pairs of the run, and what the answers say of the whole.

The requests are those that the stage `trace` would send, and the answers go into the run's own journal: `distill run`
takes them from there and pays for none of them again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distill import store
from distill.errors import ConfigError
from distill.pipeline.pairs import pairs_without_teacher, teacher_session
from distill.pipeline.run import Run
from distill.pipeline.trace import asking_estimate
from distill.prompts import is_relevant, teacher_prompt
from distill.records import Answer, Pair, Request, restored
from distill.verdicts import parse_verdict
from distill.written import as_traced

if TYPE_CHECKING:
    from teacher.estimate import Estimate
    from teacher.settings import TeacherSettings


@dataclass(frozen=True, slots=True)
class Probed:
    """A pair with its answer; `says` is whether the teacher calls it relevant, None where no verdict can be read."""

    pair: Pair
    answer: Answer
    says: bool | None

    @property
    def agrees(self) -> bool | None:
        """Whether teacher and label say the same; None without a label or a verdict."""
        return None if self.pair.relevant is None or self.says is None else self.says == self.pair.relevant


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answers; what asking about the whole would take, reckoned by them, or why that is not known."""

    rows: list[Probed]
    whole: Estimate | str


def probe(run: Run, count: int) -> ProbeResult:
    """Ask about `count` pairs, drawn with the run's seed, as many relevant ones as others where there are.

    Makes the run's folder with its journal. Raises ConfigError where no pair is known before the teacher has written
    queries, or nothing can be asked, and whatever the session with the teacher raises.
    """
    run.claim()
    with store.lease(run.folder):
        run.claim()
        run.write_config()
        made = store.read_manifest(run.pairs) is not None
        pairs = list(store.read_rows(run.pairs, Pair)) if made else pairs_without_teacher(run)
        if pairs is None:
            raise ConfigError("--probe: the teacher writes the queries first; `distill pairs` has it do so")
        drawn = _drawn([pair for pair in pairs if pair.split in run.config.pairs.ask], count, run.config.seed)
        teacher = run.config.teacher
        with teacher_session(run, "trace") as ask:
            requests = [ask.request(_prompt(pair, teacher), purpose="trace") for pair in drawn]
            waiting: dict[str, list[tuple[Pair, Request]]] = {}  # with texts masked, several pairs may be one request
            for request, pair in zip(requests, drawn, strict=True):
                waiting.setdefault(request.request_id, []).append((pair, request))
            rows = [
                _probed(pair, request, answer, teacher)
                for answer in ask(requests)
                for pair, request in waiting.pop(answer.request_id, ())
            ]
        return ProbeResult(rows, asking_estimate(run, None if made else pairs))


def _prompt(pair: Pair, teacher: TeacherSettings) -> str:
    return teacher_prompt(pair.query, pair.passage, pair.instruction, teacher.prompt, teacher.elicit)


def _probed(pair: Pair, request: Request, answer: Answer, teacher: TeacherSettings) -> Probed:
    answer = as_traced(answer, teacher.elicit, teacher.prompt)
    reasoning, content = (restored(text, request.restores) for text in (answer.reasoning, answer.content))
    answer = replace(answer, reasoning=reasoning, content=content)
    verdict = None if answer.error is not None else parse_verdict(answer.content, teacher.prompt)
    return Probed(pair, answer, None if verdict is None else is_relevant(verdict, teacher.prompt))


def _drawn(pairs: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """`count` pairs: relevant ones and others in turn, each in a drawn order; what one kind lacks the other fills."""
    rng = random.Random(f"probe:{seed}")
    kinds = [[pair for pair in pairs if (pair.relevant is True) == wanted] for wanted in (True, False)]
    for kind in kinds:
        rng.shuffle(kind)
    half = [kinds[0][: max(count - count // 2, count - len(kinds[1]))], kinds[1]]
    return [*half[0], *half[1][: count - len(half[0])]]
