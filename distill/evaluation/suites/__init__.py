"""Evaluation sets by their layout: which lists are ranked, and what is measured beside nDCG. One file a layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from distill.evaluation.suites import bright, followir, instructir, nevir
from distill.evaluation.suites.base import OWN_LISTS, Suite, Texts, candidate_lists, plain
from distill.files.gaps import MISSING, Gaps

KINDS = ("beir", "dl19", "bright", "nevir", "followir", "instructir")
BEIR_SHAPED = ("beir", "dl19", "bright", "followir", "instructir")


def read(
    kind: str,
    folder: Path,
    split: str,
    texts: Callable[[], Texts],
    own_lists: bool = True,
    missing: float = MISSING,
) -> Suite:
    """The suite of that kind in `folder`; `texts` reads its corpus, queries and labels where it is shaped as BEIR.

    `own_lists` says whether a plain set's top_ranked.jsonl is looked for in the folder, `missing` which share of the
    passages that lists name may have no text. Raises DataError with file and line.
    """
    if kind == "nevir":
        return nevir.read(folder, split)
    collection, gaps = texts(), Gaps(missing, "evaluation.sets, missing")
    if kind == "bright":
        suite = bright.read(folder, collection, gaps)
    elif kind == "followir":
        suite = followir.read(folder, collection, gaps)
    elif kind == "instructir":
        suite = instructir.read(folder, collection, gaps)
    else:
        lists = candidate_lists(folder, collection, gaps) if own_lists else None
        suite = replace(plain(kind, collection), candidates=lists)
    gaps.check()
    return replace(suite, left_out={**collection.left_out, **gaps.counts()})


def files(kind: str, folder: Path, split: str) -> list[Path]:
    """The files of a suite beside corpus, queries and labels."""
    if kind == "nevir":
        return nevir.files(folder, split)
    names = {"bright": bright.FILES, "followir": followir.FILES}.get(kind, (OWN_LISTS,))
    return [folder / name for name in names]
