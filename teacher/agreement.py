"""How often the first answers agree with the labels, said once while the teacher is asked. For the stage `trace`."""

from __future__ import annotations

from distill.prompts import is_relevant
from distill.records import Answer, Pair
from distill.tables import counted
from distill.verdicts import parse_verdict
from distill.written import as_traced
from teacher.settings import TeacherSettings

ENOUGH, LEAST = 100, 0.6  # answers with a verdict and a label; the share below which a person should look first


class LabelAgreement:
    """Compares the first `ENOUGH` answers of labelled pairs with their labels; after them it holds nothing."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._prompt, self._elicit = settings.prompt, settings.elicit
        self._labels: dict[str, bool] = {}  # by request id
        self._seen = self._alike = 0

    @property
    def decided(self) -> bool:
        """Whether enough answers have been compared."""
        return self._seen >= ENOUGH

    def expect(self, request_id: str, pair: Pair) -> None:
        """Note the label that an answer is compared with."""
        if not self.decided and pair.relevant is not None:
            self._labels[request_id] = pair.relevant

    def awaits(self, request_id: str) -> bool:
        """Whether this answer is one to compare."""
        return request_id in self._labels

    def see(self, request_id: str, answer: Answer | None) -> str | None:
        """Compare an answer. Returns what to say once enough have been, else None."""
        label = self._labels.pop(request_id, None)
        if answer is None or answer.error is not None or label is None or self.decided:
            return None
        verdict = parse_verdict(as_traced(answer, self._elicit, self._prompt).content, self._prompt)
        if verdict is None:
            return None
        self._seen += 1
        self._alike += is_relevant(verdict, self._prompt) == label
        if not self.decided:
            return None
        self._labels.clear()
        agree = f"{self._alike} of the first {counted(self._seen, 'answer')} agree with the labels"
        if self._alike >= LEAST * self._seen:
            return f"  {agree}"
        return (
            f"  WARNING: only {agree}, fewer than 6 in 10: look before spending more. Ctrl-C stops and loses nothing; "
            "`distill doctor CONFIG --probe 10` shows traces with their labels"
        )
