"""Evaluation sets by their layout, one file a layout, found by being here; the pipeline reads them by `read`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from distill.evaluation.suites._own import checked, watched_files
from distill.evaluation.suites.base import Layout, Suite, Texts, plain
from distill.files.gaps import MISSING, Gaps
from distill.plugins import Kind, external_files, faulty, is_own, shown

SUITES = Kind("kind of evaluation set", "distill.evaluation.suites", Layout, besides=("hub",))

_NO_TEXTS = Suite("none", {}, {}, {})


def read(
    kind: str,
    folder: Path,
    split: str,
    texts: Callable[[], Texts],
    own_lists: bool = True,
    missing: float = MISSING,
    base: Path = Path(),
) -> Suite:
    """The suite of that kind in `folder`; `texts` reads its corpus, queries and labels where it is shaped as BEIR.

    `own_lists` says whether a plain set's top_ranked.jsonl is looked for in the folder, `missing` which share of the
    passages that lists name may have no text; a kind `file.py:Class` lies in `base`. Raises DataError with file and
    line.
    """
    layout, gaps = SUITES.load(kind, base)(), Gaps(missing, "evaluation.sets, missing")
    collection = texts() if layout.beir_shaped else _NO_TEXTS
    suite: object = layout.read(folder, split, collection, gaps) if own_lists else plain(kind, collection)
    if not isinstance(suite, Suite):
        raise faulty(layout, "read", f"`read` returned {shown(suite)}", "return a Suite, such as plain(NAME, texts)")
    suite = checked(layout, suite) if is_own(type(layout)) else suite
    gaps.check()
    return replace(suite, left_out={**collection.left_out, **gaps.counts()})


def is_beir_shaped(kind: str, base: Path) -> bool:
    """Whether corpus, queries and labels of the kind are those of a source of pairs."""
    return SUITES.load(kind, base).beir_shaped


def files(kind: str, folder: Path, split: str, base: Path = Path()) -> list[Path]:
    """The files of a suite apart from corpus, queries and labels; of a kind `file.py:Class` all, and that file itself.

    Raises PluginError where a file that such a kind names is not there.
    """
    layout = SUITES.load(kind, base)()
    own = is_own(type(layout))
    return (watched_files(layout, folder, split) if own else layout.files(folder, split)) + external_files([kind], base)
