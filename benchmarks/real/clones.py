"""What the conversions share: files of git clones at one commit, texts made clean, sets written.

Used by `convert.py`, `judged.py` and `varied.py`.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

JsonRow: TypeAlias = dict[str, object]
Judged: TypeAlias = tuple[str, str, int]  # query id, passage id, grade


class Missing(Exception):
    """A clone, or a commit of it, that is not there; the text says how to get it."""


@dataclass(frozen=True, slots=True)
class Clone:
    """A repository at one commit, cloned to `folder`/OWNER/NAME, with or without a work tree."""

    folder: Path
    repository: str
    commit: str

    def read(self, path: str) -> bytes:
        """The file's content. Raises Missing."""
        return self._git("show", f"{self.commit}:{path}")

    def text(self, path: str, encoding: str = "utf-8") -> str:
        """The file's content, of a gzipped one what is in it."""
        content = self.read(path)
        return (gzip.decompress(content) if path.endswith(".gz") else content).decode(encoding)

    def files(self) -> list[str]:
        """The paths of all its files."""
        return [
            name for name in self._git("ls-tree", "-r", "--name-only", "-z", self.commit).decode().split("\0") if name
        ]

    def _git(self, *command: str) -> bytes:
        place = self.folder / self.repository
        where = place / ".git" if (place / ".git").exists() else place
        made = subprocess.run(["git", f"--git-dir={where}", *command], capture_output=True)
        if made.returncode:
            raise Missing(
                f"{place}: {made.stderr.decode().strip()}; git clone https://github.com/{self.repository} {place} "
                f"(commit {self.commit[:12]} is read)"
            )
        return made.stdout


_TAGS = re.compile(
    r"</?(?:p|br|b|i|u|em|strong|sub|sup|ul|li|ol|div|span|a|h\d|img|td|tr|table)\b[^>]{0,300}>", re.IGNORECASE
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\ufeff]")


def _mended(text: str, unescape_html: bool) -> str:
    """Broken encoding mended. Raises Missing without ftfy."""
    try:
        import ftfy
    except ImportError:
        raise Missing("the package ftfy is missing, whose version decides the texts; pip install ftfy==6.3.1") from None
    return ftfy.fix_text(text, unescape_html=unescape_html)


def repaired(text: str) -> str:
    """Broken encoding mended, white space single; nothing else: a passage of MS MARCO as any copy of it has it."""
    return " ".join(_mended(text, unescape_html=False).split())


def cleaned(text: str) -> str:
    """Web text: encoding, entities, quotes and dashes mended, tags and control characters taken out."""
    text = _TAGS.sub(" ", _mended(text, unescape_html=True))
    for old, new in (("``", '"'), ("''", '"'), ("\ufffd", ""), ("--", "\u2013")):
        text = text.replace(old, new)
    return " ".join(_CONTROL.sub(" ", text).split())


def plain(text: str) -> str:
    """Letters and digits in lower case, by which two texts are the same."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def write_rows(path: Path, rows: Iterable[JsonRow]) -> None:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_labels(path: Path, rows: Iterable[Sequence[object]], value: str = "score") -> None:
    """Judgements in BEIR's layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.write(f"query-id\tcorpus-id\t{value}\n")
        out.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def passage(key: str, text: str, title: str = "") -> JsonRow:
    """A row of corpus.jsonl."""
    return {"_id": key, "title": title, "text": text}


def query(key: str, text: str) -> JsonRow:
    """A row of queries.jsonl."""
    return {"_id": key, "text": text}
