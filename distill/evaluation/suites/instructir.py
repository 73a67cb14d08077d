"""InstructIR's layout: one query under many users' instructions (arXiv 2402.14334)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from distill.evaluation.contrast import robustness
from distill.evaluation.suites.base import Layout, Suite, Texts, candidate_lists, plain
from distill.files.gaps import Gaps
from distill.files.qrels import Qrels
from distill.files.runs import Rankings
from distill.statistics.measures import per_query


class InstructIr(Layout):
    """A BEIR folder whose queries have instructions; what comes before the first "_" of a query's id is its group, as
    in mteb. Measured: robustness@10, the worst nDCG@10 of each group.
    """

    def read(self, folder: Path, split: str, texts: Texts, gaps: Gaps) -> Suite:
        """The texts with the folder's own lists."""
        return build(texts, candidate_lists(folder, texts, gaps))


def build(texts: Texts, candidates: dict[str, list[str]] | None) -> Suite:
    """The suite of texts."""
    extra = partial(_measures, texts.qrels)
    return replace(plain("instructir", texts), candidates=candidates, extra=extra)


def _measures(qrels: Qrels, run: Rankings) -> dict[str, dict[str, float]]:
    values = per_query(qrels, run, ["nDCG@10"])["nDCG@10"]
    return {"robustness@10": robustness(values, {query: query.split("_")[0] for query in qrels})}
