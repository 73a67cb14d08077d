"""The log of a shadow student (`serve.shadow`) as rows, and how far two students agree over one traffic.

Called by the server, which writes rows, and by `distill compare LOG`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict, ValidationError

from distill.errors import DataError
from distill.records import UNJUDGED

RELEVANT = 0.5  # a score from which on a document counts as relevant
SHOWN = 5  # disagreements


class ShadowDocument(BaseModel):
    """One document of a request: how the served student judged it, and how the shadow did; texts only where wanted."""

    model_config = ConfigDict(frozen=True)

    mode: str
    score: float
    margin: float
    shadow_mode: str
    shadow_score: float
    shadow_margin: float
    query: str | None = None
    text: str | None = None

    @property
    def difference(self) -> float:
        """The shadow's score, less the served one's."""
        return self.shadow_score - self.score


class ShadowRow(BaseModel):
    """A request: when (seconds since 1970), its X-Request-Id, both students' names, its documents in their order."""

    model_config = ConfigDict(frozen=True)

    time: float
    request_id: str
    model: str
    shadow: str
    documents: list[ShadowDocument]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A document that two students judged differently: of which request, and which of its documents."""

    row: ShadowRow
    index: int

    @property
    def document(self) -> ShadowDocument:
        """Its judgements."""
        return self.row.documents[self.index]


@dataclass(frozen=True, slots=True)
class ShadowSummary:
    """Two students over one traffic. `tau` is Kendall's tau-b of the two orders, the mean over requests (None where no
    request has an order), `same_first` the share of requests with the same best document, `crossed` the number of
    documents of which one counts as relevant and the other not; `unjudged` documents are in none of these."""

    requests: int
    documents: int
    unjudged: int
    tau: float | None
    same_first: float | None
    mean_difference: float
    mean_distance: float
    crossed: int
    disagreements: list[Disagreement]


def read_log(path: Path) -> Iterator[ShadowRow]:
    """Its rows. Raises DataError with file and line where one is none; a last line that is cut short is left out."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # being written now
            try:
                yield ShadowRow.model_validate_json(line)
            except ValidationError as error:
                fault = error.errors()[0]
                where = ".".join(map(str, fault["loc"])) or "the line"
                raise DataError(
                    f"{path}, line {number}: no row of a shadow log ({where}: {fault['msg']}); `distill serve "
                    "--shadow-log` writes such"
                ) from None


def summaries(rows: Sequence[ShadowRow]) -> dict[tuple[str, str], ShadowSummary]:
    """By (served student, shadow), in the order in which they came."""
    by_names: dict[tuple[str, str], list[ShadowRow]] = {}
    for row in rows:
        by_names.setdefault((row.model, row.shadow), []).append(row)
    return {names: _summary(of_names) for names, of_names in by_names.items()}


def _summary(rows: Sequence[ShadowRow]) -> ShadowSummary:
    judged = [Disagreement(row, at) for row in rows for at, each in enumerate(row.documents) if each.mode != UNJUDGED]
    differences = [each.document.difference for each in judged]
    ranked = [[each for each in row.documents if each.mode != UNJUDGED] for row in rows]
    ranked = [documents for documents in ranked if len(documents) > 1]
    taus = [tau for documents in ranked if (tau := _tau(documents)) is not None]
    same = [
        _first([each.margin for each in documents]) == _first([each.shadow_margin for each in documents])
        for documents in ranked
    ]
    return ShadowSummary(
        requests=len(rows),
        documents=len(judged),
        unjudged=sum(len(row.documents) for row in rows) - len(judged),
        tau=fmean(taus) if taus else None,
        same_first=fmean(same) if same else None,
        mean_difference=fmean(differences) if differences else 0.0,
        mean_distance=fmean(map(abs, differences)) if differences else 0.0,
        crossed=sum((each.document.score >= RELEVANT) != (each.document.shadow_score >= RELEVANT) for each in judged),
        disagreements=sorted(judged, key=lambda each: -abs(each.document.difference))[:SHOWN],
    )


def _tau(documents: Sequence[ShadowDocument]) -> float | None:
    """Kendall's tau-b of the two orders; None where one has none. Kendall, The treatment of ties (1945)."""
    from scipy.stats import kendalltau

    ours, theirs = [each.margin for each in documents], [each.shadow_margin for each in documents]
    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        return None
    return float(kendalltau(ours, theirs).statistic)


def _first(margins: Sequence[float]) -> int:
    return max(range(len(margins)), key=lambda at: margins[at])
