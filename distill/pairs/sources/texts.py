"""A folder of plain text files: passages only. Queries and labels are then the teacher's (`synthesize`, `judge`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from distill.errors import DataError
from distill.pairs.sources.base import Label, Passage, Query

ENDINGS = (".txt", ".md", ".text")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


class Texts:
    """Every .txt, .md and .text file below the folder, cut between paragraphs into passages of about `words` words.

    A paragraph longer than that is cut between sentences, a sentence longer than that between words. Ids are the
    file's path within the folder and the passage's number.
    """

    repeats = False
    labelled = False
    divided = False
    holds = ("the folder", "the folder")

    def __init__(self, folder: Path, words: int) -> None:
        self.name = str(folder)
        self._folder, self._words = folder, words
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; source texts reads the text files in one")

    def files(self) -> list[Path]:
        """The text files, by path."""
        found = sorted(p for p in self._folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        if not found:
            raise DataError(f"{self._folder}: holds no file that ends in {', '.join(ENDINGS)}")
        return found

    def passages(self) -> Iterator[Passage]:
        """In the order of the files."""
        for path in self.files():
            try:
                text = path.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
            name = "_".join(path.relative_to(self._folder).as_posix().split())  # TREC files know no spaces in ids
            pieces = cut(text, self._words)
            for number, piece in enumerate(pieces, 1):
                yield f"{path}: passage {number}", name if len(pieces) == 1 else f"{name}#{number}", piece

    def queries(self) -> Iterator[Query]:
        """None."""
        return iter(())

    def labels(self, split: str | None) -> Iterator[Label]:
        """None."""
        return iter(())

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """None."""
        return iter(())


def cut(text: str, words: int) -> list[str]:
    """The text in pieces of at most `words` words, filled paragraph by paragraph."""
    units: list[str] = []
    for paragraph in (" ".join(each.split()) for each in _PARAGRAPH.split(text)):
        if len(paragraph.split()) <= words:
            units.append(paragraph)
            continue
        for sentence in re.split(r"(?<=[.!?。！？])\s+", paragraph):
            said = sentence.split()
            units += [" ".join(said[at : at + words]) for at in range(0, len(said), words)]
    pieces: list[str] = []
    held: list[str] = []
    for unit in filter(None, units):
        if held and sum(len(each.split()) for each in held) + len(unit.split()) > words:
            pieces.append(" ".join(held))
            held = []
        held.append(unit)
    return pieces + ([" ".join(held)] if held else [])
