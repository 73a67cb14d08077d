"""A BEIR folder: corpus.jsonl, queries.jsonl, qrels/*.tsv, each gzipped or not."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.pairs.collection import Collection


def read_beir(
    folder: Path, split: str, shares: dict[str, float] | None = None, seed: int = 0, qrels_name: str | None = None
) -> Collection:
    """The collection of one split; with `shares`, the split's part, by query, of the only qrels file or `qrels_name`.

    Raises DataError with file and line for whatever cannot be read as it is.
    """
    corpus = _texts(_file(folder, "corpus.jsonl"), titled=True)
    queries = _texts(_file(folder, "queries.jsonl"), titled=False)
    path = _qrels_path(folder, qrels_name if shares else split)
    qrels, negative = read_qrels(path)
    for query_id, labels in qrels.items():
        if query_id not in queries:
            raise DataError(f"{path}: query {query_id!r} has no text in queries.jsonl; add it or take its labels out")
        for doc_id in labels:
            if doc_id not in corpus:
                raise DataError(
                    f"{path}: passage {doc_id!r} has no text in corpus.jsonl; add it or take its labels out"
                )
    if shares:
        chosen = part(sorted(qrels), shares, split, seed)
        qrels = {query_id: qrels[query_id] for query_id in chosen}
    return Collection(
        passages={key: text for key, (text, _) in corpus.items()},
        queries={query_id: queries[query_id][0] for query_id in qrels},
        qrels=qrels,
        instructions={q: queries[q][1]["instruction"] for q in qrels if queries[q][1].get("instruction")},
        negative_grades=negative,
    )


def part(queries: list[str], shares: dict[str, float], split: str, seed: int) -> list[str]:
    """The queries that belong to `split`: a seeded shuffle, cut where the shares say. Raises DataError if unknown."""
    if split not in shares:
        raise DataError(f"split {split!r} is none of the shares {', '.join(shares)}; name one of them")
    order = sorted(queries)
    random.Random(f"split:{seed}").shuffle(order)
    start = 0.0
    for name, share in shares.items():
        if name == split:
            return sorted(order[round(start * len(order)) : round((start + share) * len(order))])
        start += share
    raise AssertionError("unreachable: split is a key of shares")


def qrels_files(folder: Path) -> list[Path]:
    """The qrels files of a folder, by name."""
    return sorted(p for p in (folder / "qrels").glob("*.tsv*") if p.name.endswith((".tsv", ".tsv.gz")))


def _qrels_path(folder: Path, name: str | None) -> Path:
    """The file of that name; with None the only one."""
    files = qrels_files(folder)
    names = [p.name.removesuffix(".gz").removesuffix(".tsv") for p in files]
    if not files:
        raise DataError(f"{folder / 'qrels'}: no .tsv file of labels; BEIR has qrels/test.tsv and the like")
    if name is None:
        if len(files) > 1:
            raise DataError(f"{folder / 'qrels'}: holds {', '.join(names)}; say which one is split in pairs.qrels")
        return files[0]
    if name not in names:
        raise DataError(f"{folder / 'qrels' / name}.tsv: no such file; there are {', '.join(names)}, or give shares")
    return files[names.index(name)]


def read_qrels(path: Path) -> tuple[dict[str, dict[str, int]], int]:
    """({query: {doc: grade}}, how many grades were negative and became 0) of a BEIR or TREC qrels file."""
    qrels: dict[str, dict[str, int]] = {}
    negative = 0
    for number, line in _lines(path):
        values = line.split("\t") if "\t" in line else line.split()
        if len(values) == 4:  # TREC: query, iteration, passage, grade
            values = [values[0], values[2], values[3]]
        if number == 1 and len(values) == 3 and not _is_integer(values[2]) and values[2] in ("score", "label", "rel"):
            continue
        if len(values) != 3:
            raise DataError(f"{path}:{number}: {len(values)} columns; a line is query-id, corpus-id, score, by tabs")
        query_id, doc_id, grade = (value.strip() for value in values)
        if not _is_integer(grade):
            raise DataError(f"{path}:{number}: the label {grade!r} is not an integer")
        if doc_id in qrels.setdefault(query_id, {}):
            raise DataError(f"{path}:{number}: the pair {query_id!r}, {doc_id!r} is judged twice; keep one line")
        negative += int(grade) < 0
        qrels[query_id][doc_id] = max(0, int(grade))
    if not qrels:
        raise DataError(f"{path}: is empty; it needs lines of query-id, corpus-id, score")
    return qrels, negative


def _is_integer(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise DataError(f"{folder / name}: no such file; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of the lines that hold anything."""
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
    with opened as source:
        for number, raw in enumerate(source, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{number}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
            if line.strip():
                yield number, line.rstrip("\r\n")


def _texts(path: Path, titled: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not JSON ({error.msg} at column {error.colno})") from None
        if not isinstance(row, dict) or "_id" not in row or not isinstance(row.get("text"), str):
            raise DataError(f"{path}:{number}: a line is an object with _id and text; this has {_keys(row)}")
        key = str(row["_id"])
        if key in found:
            raise DataError(f"{path}:{number}: the id {key!r} stands twice; ids must be unique")
        title = row.get("title") if titled else None
        text = f"{title} {row['text']}" if title else row["text"]
        found[key] = (_whole(text.strip()), row)
    if not found:
        raise DataError(f'{path}: is empty; it needs lines such as {{"_id": "1", "text": "..."}}')
    return found


def _whole(text: str) -> str:
    """JSON may spell half of a surrogate pair, which no UTF-8 file can hold: replaced by U+FFFD."""
    return text.encode("utf-8", "replace").decode() if any("\ud800" <= c <= "\udfff" for c in text) else text


def _keys(row: Any) -> str:
    return ", ".join(row) or "no keys" if isinstance(row, dict) else f"a {type(row).__name__}"
