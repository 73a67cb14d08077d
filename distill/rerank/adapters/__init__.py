"""A student inside other people's tools. Each adapter is a module by itself and imports its tool only when it is used.

| module | what it is there |
|---|---|
| `sentence_transformers` | a `CrossEncoder` by its methods: `predict`, `rank`, and what the evaluators ask of one |
| `mteb` | mteb's `CrossEncoderProtocol`, with its `ModelMeta` |
| `pyterrier` | a `Transformer` for pipelines, after any retriever |
| `langchain` | a `BaseDocumentCompressor` |
| `llama_index` | a `BaseNodePostprocessor` |
| `rank_llm` | rank_llm's `Request` and `Result` JSON lines; no package is needed |

All of them take a `Reranker`, or anything with its `predict`. TREC runs need no adapter: `distill rerank` reads and
writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from distill.errors import InputError
from distill.records import Judgement, Pair, make_pair
from distill.texts import clean_text


class Judge(Protocol):
    """What the adapters need of `distill.rerank.Reranker`."""

    name: str

    def predict(self, pairs: Sequence[Any]) -> list[Judgement]: ...


def judge(reranker: Judge, query: str, texts: Sequence[str], instruction: str | None = None) -> list[Judgement]:
    """One judgement a text, in the order given."""
    return reranker.predict(pairs_of([(query, text, instruction) for text in texts]))


def pairs_of(rows: Sequence[tuple[str, str, str | None]]) -> list[Pair]:
    """Pairs of (query, text, instruction); pairs of the same query and instruction belong together."""
    queries: dict[tuple[str, str], str] = {}
    pairs = []
    for at, (query, text, instruction) in enumerate(rows):
        key = clean_text(query), clean_text(instruction)
        pairs.append(make_pair(queries.setdefault(key, str(len(queries))), str(at), query, text, instruction))
    return pairs


def missing(tool: str, error: ImportError) -> InputError:
    """What is said where a tool is not installed."""
    return InputError(f"the {tool} adapter needs {error.name}, which is not installed: pip install {tool}")
