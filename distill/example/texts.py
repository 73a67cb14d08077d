"""The world as a folder of plain text files, one a passage, without queries or labels: what many people start from.

python -m distill.example.texts FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from distill.example.world import WorldSettings, build
from distill.tables import counted

SETTINGS = WorldSettings(queries={"train": 120})


def write_texts(folder: str | Path, seed: int = 0, settings: WorldSettings = SETTINGS) -> int:
    """Write every passage of the training split to a file of its own, and return how many."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    documents = build(settings, seed)["train"].documents
    for doc_id, (title, text, _) in documents.items():
        (root / f"{doc_id}.txt").write_text(f"{title}\n\n{text}\n", encoding="utf-8")
    return len(documents)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m distill.example.texts FOLDER")
    print(f"{counted(write_texts(sys.argv[1]), 'file')}")
