"""What may still be spent: the run's budget and the stage's, less what the journal says was billed. For the session."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from distill.errors import Stopped
from teacher.index import Index, Spent
from teacher.settings import Budget, StageName, TeacherSettings


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

    def __init__(self, settings: TeacherSettings, stage: StageName, index: Index) -> None:
        self._settings, self._stage, self._index = settings, stage, index

    def left(self) -> tuple[float, float]:
        """Dollars and tokens that may still be spent: of the run's budget, or of the stage's where that is less."""
        return min(limit.left for limit in self._usd()), min(limit.left for limit in self._tokens())

    def reached(self) -> Stopped:
        """What to raise once nothing is left: it names the budget that is spent."""
        key, most, _, spent = min((*self._usd(), *self._tokens()), key=lambda limit: limit.left > 0)
        return Stopped(
            f"{key} {most:,} is reached: {spent.usd:,.2f} USD and {spent.tokens:,} tokens were billed; "
            "raise it and run again, nothing is asked twice"
        )

    def _usd(self) -> tuple[Limit, Limit]:
        run, own, limit = self._index.spent(), self._index.spent(self._stage), self._of_stage()
        return (
            Limit("teacher.budget_usd", self._settings.budget_usd, run.usd, run),
            Limit(f"teacher.budgets.{self._stage}.usd", limit.usd, own.usd, own),
        )

    def _tokens(self) -> tuple[Limit, Limit]:
        run, own, limit = self._index.spent(), self._index.spent(self._stage), self._of_stage()
        return (
            Limit("teacher.budget_tokens", self._settings.budget_tokens, run.tokens, run),
            Limit(f"teacher.budgets.{self._stage}.tokens", limit.tokens, own.tokens, own),
        )

    def _of_stage(self) -> Budget:
        return self._settings.budgets.get(self._stage) or Budget()
