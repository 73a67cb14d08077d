"""What may still be spent: the run's budget and the stage's, less what the journal says was billed. For the session."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from distill.errors import Stopped
from teacher.index import JournalIndex, Spent
from teacher.settings import AskingStage, Budget, TeacherSettings


class Limit(NamedTuple):
    """A budget's key in the configuration, the most that may be spent, and what has been."""

    key: str
    most: float | None
    billed: float
    spent: Spent

    @property
    def left(self) -> float:
        """What may still be spent; endless without a budget."""
        return inf if self.most is None else self.most - self.billed


class Budgets:
    """The budgets that hold for one stage of a run."""

    def __init__(self, settings: TeacherSettings, stage: AskingStage, index: JournalIndex) -> None:
        self._settings, self._stage, self._index = settings, stage, index

    def left(self) -> tuple[float, float]:
        """Dollars and tokens that may still be spent: of the run's budget, or of the stage's where that is less."""
        usd, own_usd, tokens, own_tokens = (limit.left for limit in self._limits())
        return min(usd, own_usd), min(tokens, own_tokens)

    def reached(self) -> Stopped:
        """What to raise once nothing is left: it names the budget that is spent."""
        key, most, _, spent = min(self._limits(), key=lambda limit: limit.left > 0)
        return Stopped(
            f"{key} {most:,} is reached: {spent.usd:,.2f} USD and {spent.tokens:,} tokens were billed; "
            "raise it and run again, nothing is asked twice"
        )

    def _limits(self) -> tuple[Limit, Limit, Limit, Limit]:
        """In dollars of the run and of the stage, then in tokens."""
        run, own, key = self._index.spent(), self._index.spent(self._stage), f"teacher.budgets.{self._stage}"
        settings, of_stage = self._settings, self._settings.budgets.get(self._stage) or Budget()
        return (
            Limit("teacher.budget_usd", settings.budget_usd, run.usd, run),
            Limit(f"{key}.usd", of_stage.usd, own.usd, own),
            Limit("teacher.budget_tokens", settings.budget_tokens, run.tokens, run),
            Limit(f"{key}.tokens", of_stage.tokens, own.tokens, own),
        )
