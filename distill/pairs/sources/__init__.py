"""Where pairs come from: one file a source, found by being here; `open_source` gives the one that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import ConfigError
from distill.pairs.sources.base import Source
from distill.plugins import Kind

if TYPE_CHECKING:
    from distill.pairs.settings import DataSettings

SOURCES = Kind("source", "distill.pairs.sources", Source)


def open_source(settings: DataSettings, folder: Path, base: Path | None = None) -> Source:
    """The source at `folder` (the settings' path, resolved); `base` is what the paths in `files` are relative to.

    Raises ConfigError for settings that do not fit, DataError where nothing is there.
    """
    base = base if base is not None else folder
    source = SOURCES.load(settings.source, base).open(settings, folder, base)
    source.cut_words = settings.cut_words
    return source


def check_split(source: Source, split: str, setting: str) -> None:
    """Raise ConfigError, beginning with the setting's name, for a split that is named where the data have none."""
    try:
        source.check_split(split)
    except ConfigError as error:
        raise ConfigError(f"{setting}.{error}") from None
