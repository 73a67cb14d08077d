"""The commands `distill index` and `distill search`: a retriever's index of a corpus, and a look at what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distill.commands import FILE, INPUT, MODEL, Command, writes_to
from distill.errors import DataError

if TYPE_CHECKING:
    from distill.retrieval.encoder import Encoder

WORDS = 120  # of a passage, where a folder of texts is cut into passages
SHOWN = 150  # characters of a passage that are printed


@click.command("index", cls=Command)
@click.argument("corpus", type=INPUT, metavar="FOLDER|FILE")
@click.option("--model", type=MODEL, metavar="MODEL", required=True, help="a retriever's folder or hub name")
@click.option("--out", type=FILE, metavar="INDEX", required=True, help="the folder of the index")
def index(corpus: Path, model: str, out: Path) -> int:
    """Index a corpus with a retriever; killed, the same command goes on from there.

    A folder of BEIR (corpus.jsonl) or of texts, cut into passages; or a file of passages: JSON lines, a table, TREC.
    """
    from distill.pairs.passages import Passages
    from distill.retrieval.index import build
    from distill.store import lease

    writes_to(out)
    passages = Passages(_passages(corpus))
    encoder = _encoder(model)
    out.mkdir(parents=True, exist_ok=True)
    with lease(out):
        build(out, encoder, passages, lambda done, total: click.echo(f"{done:,} of {total:,} passages", err=True))
    print(out)
    return 0


@click.command("search", cls=Command)
@click.argument("index", type=INPUT, metavar="INDEX")
@click.argument("query")
@click.option("--instruction", metavar="TEXT", help="what a result must meet besides the query")
@click.option("--top", type=click.IntRange(min=1), default=10, metavar="N", help="passages that are shown (default 10)")
@click.option("--model", type=MODEL, metavar="MODEL", help="where the retriever is now (default: as it was indexed)")
def search(index: Path, query: str, instruction: str | None, top: int, model: str | None) -> int:
    """Print the best passages of an index for a query, with their scores."""
    from distill.prompts import query_text
    from distill.retrieval.index import DenseIndex

    found = DenseIndex(index)
    encoder = _encoder(model or found.name)
    found.check(encoder)
    (ranked,) = found.top(encoder.queries([query_text(query, instruction)]), top)
    for rank, (doc, score) in enumerate(ranked, 1):
        text = " ".join(found.text(doc).split())
        print(f"{rank:3}  {score:7.4f}  {doc}  {text[:SHOWN]}{'...' if len(text) > SHOWN else ''}")
    return 0


def _encoder(model: str) -> Encoder:
    from distill.retrieval.encoder import load_encoder

    return load_encoder(model, key="--model")


def _passages(corpus: Path) -> Iterator[tuple[str, str, str]]:
    """(place, id, text) of a corpus. Raises DataError where it is none."""
    from distill.files.documents import passages_of
    from distill.pairs.sources.beir import Beir
    from distill.pairs.sources.texts import Texts

    if not corpus.is_dir():
        yield from ((row.where, row.id, row.text) for row in passages_of(corpus))
    elif any((corpus / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
        yield from Beir(corpus).passages()
    elif Texts.recognise(corpus) is not None:
        yield from Texts(corpus, WORDS).passages()
    else:
        raise DataError(f"{corpus}: holds neither corpus.jsonl nor texts (.txt, .md); name a file of passages")
