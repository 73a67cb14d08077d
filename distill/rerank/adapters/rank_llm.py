"""rank_llm's files: `Request` JSON lines in, `Result` JSON lines out, without rank_llm and without Java.

A request is {"query": {"text", "qid"}, "candidates": [{"docid", "score", "doc": {...}}]}; a result has the candidates
in their new order with the student's log-odds as `score`, and `reasoning` with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from ctypes import c_float
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.files.rows import parsed
from distill.files.text import lines
from distill.rerank.adapters import Judge, judge
from distill.texts import clean_text, passage_text

TEXTS = ("contents", "content", "text", "passage", "body", "segment")  # as rank_llm looks for a document's text


def read_requests(path: str | Path) -> Iterator[dict[str, Any]]:
    """The requests of a JSON-lines file. Raises DataError with file and line for what is none."""
    for number, line in lines(Path(path)):
        try:
            row: Any = parsed(line, str(path))
            for candidate in row["candidates"]:
                text_of(candidate)
            if not isinstance(row["query"]["text"], str) or "qid" not in row["query"]:
                raise KeyError("query.qid")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: no rank_llm request ({error})") from None
        yield row


def text_of(candidate: dict[str, Any]) -> str:
    """A candidate's title and text. Raises KeyError where it has no text."""
    document = candidate["doc"]
    if isinstance(document, str):
        return clean_text(document)
    text = next((document[name] for name in TEXTS if isinstance(document.get(name), str)), None)
    if text is None:
        raise KeyError(f"document {candidate.get('docid')!r} has none of {', '.join(TEXTS)}")
    return passage_text(document.get("title"), text)


def rerank(reranker: Judge, request: dict[str, Any], top_k: int | None = None) -> dict[str, Any]:
    """The result of one request; the query's `instruction`, where it has one, goes with it.

    Equal scores are ordered by docid, descending, as trec_eval orders them.
    """
    query, candidates = request["query"], request["candidates"]
    found = judge(reranker, query["text"], [text_of(each) for each in candidates], query.get("instruction"))
    rows = [
        {**candidate, "score": judgement.margin, "reasoning": judgement.reasoning}
        for candidate, judgement in zip(candidates, found, strict=True)
    ]
    rows.sort(key=lambda row: (c_float(row["score"]).value, str(row.get("docid", ""))), reverse=True)
    return {"query": query, "candidates": rows[:top_k], "invocations_history": []}


def write_results(path: str | Path, results: Iterable[dict[str, Any]]) -> int:
    """Write results as JSON lines; returns how many."""
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        for result in results:
            out.write(json.dumps(result, ensure_ascii=False) + "\n")
            count += 1
    return count
