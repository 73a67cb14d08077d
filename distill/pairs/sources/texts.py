"""A folder of plain text files: passages only. Queries and labels are then the teacher's (`synthesize`, `judge`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DataError
from distill.files.rows import is_junk
from distill.files.text import lines
from distill.pairs.sources.base import Label, Passage, Query, Source

if TYPE_CHECKING:
    from distill.pairs.settings import DataSettings

ENDINGS = (".txt", ".md", ".text")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


class Texts(Source):
    """Every .txt, .md and .text file below the folder, cut between paragraphs into passages of about `words` words.

    A paragraph longer than that is cut between sentences, a sentence longer than that between words. Ids are the
    file's path within the folder and the passage's number.
    """

    labelled = False
    holds = ("the folder", "the folder")

    def __init__(self, folder: Path, words: int) -> None:
        super().__init__(folder)
        self._words = words
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; source texts reads the text files in one")

    @classmethod
    def open(cls, settings: DataSettings, folder: Path, base: Path) -> Source:
        return cls(folder, settings.passage_words)

    @classmethod
    def recognise(cls, path: Path) -> dict[str, str] | None:
        """A folder with text files."""
        texts = (p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and not is_junk(p.relative_to(path)))
        return {} if path.is_dir() and next(texts, None) else None

    def files(self) -> list[Path]:
        """The text files, by path, without those that systems leave in folders."""
        paths = sorted(p for p in self.path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        paths = [path for path in paths if not is_junk(path.relative_to(self.path))]
        if not paths:
            raise DataError(f"{self.path}: holds no file that ends in {', '.join(ENDINGS)}")
        return paths

    def passages(self) -> Iterator[Passage]:
        """In the order of the files."""
        for path in self.files():
            name = "_".join(path.relative_to(self.path).as_posix().split())
            pieces = cut(_text(path), self._words)
            for number, piece in enumerate(pieces, 1):
                yield f"{path}: passage {number}", name if len(pieces) == 1 else f"{name}#{number}", piece

    def queries(self) -> Iterator[Query]:
        """None."""
        return iter(())

    def labels(self, split: str | None) -> Iterator[Label]:
        """None."""
        return iter(())


def _text(path: Path) -> str:
    """The file's text, empty lines between paragraphs kept."""
    text, last = "", 0
    for number, line in lines(path):
        text += "\n" * (1 + (number > last + 1)) + line
        last = number
    return text


def cut(text: str, words: int) -> list[str]:
    """The text in pieces of at most `words` words, filled paragraph by paragraph."""
    units: list[str] = []
    for paragraph in (" ".join(block.split()) for block in _PARAGRAPH.split(text)):
        if len(paragraph.split()) <= words:
            units.append(paragraph)
            continue
        for sentence in re.split(r"(?<=[.!?。！？])\s+", paragraph):
            parts = sentence.split()
            units += [" ".join(parts[first : first + words]) for first in range(0, len(parts), words)]
    pieces: list[str] = []
    piece: list[str] = []
    for unit in filter(None, units):
        if piece and sum(len(part.split()) for part in piece) + len(unit.split()) > words:
            pieces.append(" ".join(piece))
            piece = []
        piece.append(unit)
    return pieces + ([" ".join(piece)] if piece else [])
