"""Folders in BEIR's layout, for the example's world and its tests of instructions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def document_row(doc: str, title: str, text: str) -> dict[str, str]:
    """A passage as corpus.jsonl holds it."""
    return {"_id": doc, "title": title, "text": text}


def write_folder(
    root: Path, tables: Mapping[str, Sequence[Mapping[str, object]]], qrels: Sequence[tuple[str, str, int]], split: str
) -> dict[str, int]:
    """Write a BEIR folder: each of `tables` as NAME.jsonl, and (query, passage, label) as qrels/SPLIT.tsv.

    Returns how many queries, documents and pairs it holds.
    """
    (root / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = ["query-id\tcorpus-id\tscore\n", *(f"{query}\t{doc}\t{label}\n" for query, doc, label in qrels)]
    (root / "qrels" / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return {"queries": len(tables["queries"]), "documents": len(tables["corpus"]), "pairs": len(qrels)}
