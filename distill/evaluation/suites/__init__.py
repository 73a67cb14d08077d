"""Evaluation sets by their layout: which lists are ranked, and what is measured beside nDCG. One file a layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distill.evaluation.suites import bright, followir, instructir, nevir
from distill.evaluation.suites.base import Suite, Texts, plain

KINDS = ("beir", "dl19", "bright", "nevir", "followir", "instructir")
BEIR_SHAPED = ("beir", "dl19", "bright", "followir", "instructir")


def read(kind: str, folder: Path, split: str, texts: Callable[[], Texts]) -> Suite:
    """The suite of that kind in `folder`; `texts` reads its corpus, queries and labels where it is shaped as BEIR.

    Raises DataError with file and line.
    """
    if kind == "nevir":
        return nevir.read(folder, split)
    if kind == "bright":
        return bright.read(folder, texts())
    if kind == "followir":
        return followir.read(folder, texts())
    if kind == "instructir":
        return instructir.read(folder, texts())
    return plain(kind, texts())


def files(kind: str, folder: Path, split: str) -> list[Path]:
    """The files of a suite beside corpus, queries and labels."""
    if kind == "nevir":
        return nevir.files(folder, split)
    names = {"bright": bright.FILES, "followir": followir.FILES, "instructir": instructir.FILES}.get(kind, ())
    return [folder / name for name in names]
