"""The page on which a student can be tried, filled with an example of the run that it comes from. Used by serve."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

PAGE = Path(__file__).parent / "page.html"
ROWS, PASSAGES = 1000, 4  # pairs that are looked at, passages that are shown
MAX_TEXT = 600  # characters


@dataclass(frozen=True, slots=True)
class Example:
    """What the form holds at first: a query, perhaps an instruction, and passages."""

    query: str
    documents: list[str]
    instruction: str = ""


ANY = Example(
    "flat with a balcony where dogs are allowed",
    [
        "A flat with a balcony over the park. Dogs are welcome.",
        "A flat with a balcony. Pets are not allowed.",
        "A shop for balcony furniture, open every day.",
    ],
)


def example_of(model: str) -> Example:
    """A query of the run whose student this is, with relevant and other passages; `ANY` for a model of no run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shard = next(iter(sorted((Path(model).parent.parent / "pairs").glob("*.parquet"))), None)
    if shard is None:
        return ANY
    try:
        batch = next(pq.ParquetFile(shard).iter_batches(ROWS, columns=["query", "instruction", "passage", "label"]))
        rows = batch.to_pylist()
    except (pa.ArrowException, OSError, StopIteration):
        return ANY
    by_query: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for row in rows:
        text = " ".join(row["passage"].split())[:MAX_TEXT]  # an empty line would part it
        by_query.setdefault((row["query"], row["instruction"] or ""), []).append((row["label"] or 0, text))
    several = [(key, found) for key, found in by_query.items() if len({label for label, _ in found}) > 1]
    if not several:
        return ANY
    (query, instruction), found = several[0]
    texts = dict.fromkeys(text for _, text in [*found[: PASSAGES - 1], max(found)] if text)
    return Example(query, [*texts], instruction)


def page_with(example: Example, nonce: str) -> str:
    """The page's HTML; `nonce` allows its own style and script alone."""
    data = json.dumps(asdict(example), ensure_ascii=False).replace("<", "\\u003c")
    html = PAGE.read_text(encoding="utf-8").replace("NONCE", nonce)
    return html.replace("EXAMPLE", data)
