"""How often the first answers agree with the labels, said once: while the teacher is asked, or at a small run's end.

A teacher that says the same of every pair agrees with most labels where most are of one kind: each kind is looked at.
For the stage `trace`.
"""

from __future__ import annotations

from collections import Counter

from distill.prompts import is_relevant
from distill.records import Answer, Pair
from distill.tables import counted
from distill.verdicts import parse_verdict
from distill.written import as_traced
from teacher.settings import TeacherSettings

ENOUGH = 100  # answers with a verdict and a label, after which it is said
FEW, A_SIDE = 20, 10  # as many suffice at the end of a small run; as many about a label to judge it by itself
LEAST, LEAST_OF_A_SIDE = 0.6, 0.5  # the shares that agree below which a person should look first
LOOK = (
    "look before spending more. Ctrl-C stops and loses nothing; `distill doctor CONFIG --probe 10` shows traces with "
    "their labels"
)
LOOK_AT_THEM = "look at them before training; `distill view RUN` shows them with their labels"


class LabelAgreement:
    """Compares the first `ENOUGH` answers of labelled pairs with their labels; after them it holds nothing."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._prompt, self._elicit = settings.prompt, settings.elicit
        self._labels: dict[str, bool] = {}  # by request id
        self._compared: Counter[tuple[bool, bool]] = Counter()  # (label, whether the verdict agrees)
        self._said = False

    def expect(self, request_id: str, pair: Pair) -> None:
        """Note the label that an answer is compared with."""
        if not self._said and pair.relevant is not None:
            self._labels[request_id] = pair.relevant

    def awaits(self, request_id: str) -> bool:
        """Whether this answer is one to compare."""
        return request_id in self._labels

    def see(self, request_id: str, answer: Answer | None) -> str | None:
        """Compare an answer. Returns what to say once enough have been, else None."""
        label = self._labels.pop(request_id, None)
        if answer is None or answer.error is not None or label is None or self._said:
            return None
        verdict = parse_verdict(as_traced(answer, self._elicit, self._prompt).content, self._prompt)
        if verdict is None:
            return None
        self._compared[label, is_relevant(verdict, self._prompt) == label] += 1
        return self._text(LOOK) if self._compared.total() >= ENOUGH else None

    def at_the_end(self) -> str | None:
        """What to say of a run that was too small for `see` to say it; None of a very small one."""
        return self._text(LOOK_AT_THEM) if not self._said and self._compared.total() >= FEW else None

    def _text(self, remedy: str) -> str:
        self._said = True
        self._labels.clear()
        alike, seen = self._compared[True, True] + self._compared[False, True], self._compared.total()
        agree = f"{alike} of the first {counted(seen, 'answer')} agree with the labels"
        if alike < LEAST * seen:
            return f"  WARNING: only {agree}, fewer than 6 in 10: {remedy}"
        for label, side in ((True, "relevant"), (False, "not relevant")):
            right, of = self._compared[label, True], self._compared[label, True] + self._compared[label, False]
            if of >= A_SIDE and right < LEAST_OF_A_SIDE * of:
                return f"  WARNING: {agree}, but only {right} of {of} about pairs that are labelled {side}: {remedy}"
        return f"  {agree}"
