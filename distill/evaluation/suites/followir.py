"""FollowIR's layout: each query under an instruction and under a changed one (arXiv 2403.15246; mFollowIR alike)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from distill.errors import DataError
from distill.evaluation.contrast import p_mrr, robustness
from distill.evaluation.suites.base import OWN_LISTS, Layout, Suite, Texts, candidate_lists, plain, read_lists
from distill.files.gaps import Gaps
from distill.files.qrels import Qrels
from distill.files.runs import Rankings
from distill.statistics.measures import per_query

OG, NEW = "-og", "-changed"


class FollowIr(Layout):
    """A BEIR folder whose queries are ID-og and ID-changed, each with its instruction; qrel_diff.jsonl lists for each
    ID the passages that the change turned not relevant, top_ranked.jsonl (if there) the lists to rank.

    Measured: p-MRR, robustness@10 over the two instructions, and nDCG@10 under either.
    """

    names = ("qrel_diff.jsonl", OWN_LISTS)

    def read(self, folder: Path, split: str, texts: Texts, gaps: Gaps) -> Suite:
        """The texts with what the changed instructions turned not relevant."""
        path = folder / self.names[0]
        changed = read_lists(path, texts, gaps)
        for query in changed:
            for name in (query + OG, query + NEW):
                if name not in texts.queries:
                    raise DataError(f"{path}: query {query!r} has no {name!r} among the judged queries")
        return build(texts, changed, candidate_lists(folder, texts, gaps))


def build(texts: Texts, changed: dict[str, list[str]], candidates: dict[str, list[str]] | None) -> Suite:
    """The suite of texts and {query: passages that the change turned not relevant}."""
    extra = partial(_measures, texts.qrels, changed)
    return replace(plain("followir", texts), candidates=candidates, extra=extra)


def _measures(qrels: Qrels, changed: dict[str, list[str]], run: Rankings) -> dict[str, dict[str, float]]:
    values = per_query(qrels, run, ["nDCG@10"])["nDCG@10"]
    groups = {query: query.removesuffix(OG).removesuffix(NEW) for query in qrels}
    return {
        "p-MRR": p_mrr(changed, run, OG, NEW),
        "robustness@10": robustness(values, groups),
        "nDCG@10.og": {query: value for query, value in values.items() if query.endswith(OG)},
        "nDCG@10.changed": {query: value for query, value in values.items() if query.endswith(NEW)},
    }
