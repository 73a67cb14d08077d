"""BEIR's layout: queries with graded labels, and maybe the lists to rank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from distill.evaluation.suites.base import Layout, Suite, Texts, candidate_lists, plain
from distill.files.gaps import Gaps


class Beir(Layout):
    """A BEIR folder; top_ranked.jsonl, where it is there, holds the lists to rank."""

    kind = "beir"

    def read(self, folder: Path, split: str, texts: Texts, gaps: Gaps) -> Suite:
        """The texts with the folder's own lists."""
        return replace(plain(self.kind, texts), candidates=candidate_lists(folder, texts, gaps))
