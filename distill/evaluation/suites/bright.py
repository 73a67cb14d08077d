"""BRIGHT's layout: a BEIR folder, and for each query passages that no ranking may hold (arXiv 2407.12883)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from distill.errors import DataError
from distill.evaluation.suites.base import OWN_LISTS, Layout, Suite, Texts, candidate_lists, plain, read_lists
from distill.files.gaps import Gaps


class Bright(Layout):
    """excluded_ids.jsonl lists each query's excluded passages (its own answers' sources).

    They are taken out of every list before it is cut at its depth, and may not be judged relevant.
    """

    names = ("excluded_ids.jsonl", OWN_LISTS)

    def read(self, folder: Path, split: str, texts: Texts, gaps: Gaps) -> Suite:
        """The texts with the passages that are excluded."""
        excluded = read_lists(folder / self.names[0], texts, gaps)
        return build(texts, excluded, candidate_lists(folder, texts, gaps), str(folder))


def build(
    texts: Texts, excluded: dict[str, list[str]], candidates: dict[str, list[str]] | None, where: str = ""
) -> Suite:
    """The suite of texts and {query: excluded passages}."""
    for query, passages in excluded.items():
        for passage in passages:
            if texts.qrels.get(query, {}).get(passage, 0) > 0:
                raise DataError(f"{where}: passage {passage!r} is excluded for query {query!r} and judged relevant")
    kept = {query: frozenset(passages) for query, passages in excluded.items() if query in texts.queries}
    return replace(plain("bright", texts), excluded=kept, candidates=candidates)
