"""The source that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DataError
from distill.pairs.sources.base import Source

if TYPE_CHECKING:
    from distill.pairs.settings import DataSettings


def open_source(settings: DataSettings, folder: Path, base: Path | None = None) -> Source:
    """The source at `folder` (the settings' path, resolved); `base` is what the paths in `files` are relative to.

    Raises ConfigError for settings that do not fit, DataError where nothing is there.
    """
    kind = settings.source
    base = base if base is not None else folder
    within = folder if settings.path and folder.is_dir() else base
    if kind in ("beir", "example"):
        from distill.pairs.sources.beir import Beir

        return Beir(folder)
    if kind == "trec":
        from distill.pairs.sources.trec import Trec

        return Trec(within, settings.files)
    if kind == "table":
        from distill.pairs.sources.table import of_files

        if settings.path and not folder.exists():
            raise DataError(f"{folder}: no such file or folder (pairs.path)")
        return of_files(within, str(folder) if not settings.files else "", settings.files, settings.columns)
    if kind == "huggingface":
        from distill.pairs.sources.table import of_hugging_face

        split = settings.split if isinstance(settings.split, str) else settings.qrels or "train"
        return of_hugging_face(base, settings.path, settings.files, settings.columns, split)
    if kind == "tevatron":
        from distill.pairs.sources.tevatron import Tevatron

        return Tevatron(folder)
    if kind == "ir_datasets":
        from distill.pairs.sources.irds import IrDatasets

        return IrDatasets(settings.path)
    from distill.pairs.sources.texts import Texts

    return Texts(folder, settings.passage_words)
