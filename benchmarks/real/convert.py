"""Makes the sets of docs/benchmarks/real.md from clones of their public sources, for configs/real-*.yaml.

    pip install ftfy==6.3.1
    python benchmarks/real/convert.py [--clones clones] [--out data/real] [SET ...]

A clone is a folder OWNER/NAME below --clones (`git clone`, with or without a work tree); one that is missing is named
with its command, and so is the only source that is no repository (a file of PyPI). Each set is a BEIR folder; the
SHA-256 of its files must be those in `converted.json`. Then come what the tables need and no source has: folds by
query, GPT-4's traces as a set, and the training queries of three domains as one set.
The texts keep the licences of their sources; MS MARCO's are for non-commercial research only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from clones import JsonRow, Judged, Missing, passage, plain, query, write_labels, write_rows
from judged import chatreport, cranfield, dl19, gpt4_traces, scifact
from varied import bioasq, boolq, insuranceqa

from distill.files.rows import rows
from distill.pairs.split import part_of_each
from distill.store import file_hash

SETS: dict[str, Callable[[Path, Path], None]] = {
    "dl19-passage": dl19,
    "scifact": scifact,
    "cranfield": cranfield,
    "diras-chatreport": chatreport,
    "boolq-web": boolq,
    "bioasq-6b": bioasq,
    "insuranceqa-en": insuranceqa,
}
HASHES = Path(__file__).with_name("converted.json")  # {SET: {file: SHA-256}}
FOLDS = (2, 5)
VARIED = ("boolq-web", "bioasq-6b", "insuranceqa-en")
QUERIES = 4000  # of the varied set


def convert(name: str, clones: Path, out: Path) -> None:
    """One set, whole or not there at all. Exits where a file of it has another hash than it should."""
    made = out / f".{name}"
    shutil.rmtree(made, ignore_errors=True)
    SETS[name](clones, made)
    wrong = [file for file, known in json.loads(HASHES.read_text())[name].items() if file_hash(made / file) != known]
    if wrong:
        sys.exit(f"{made}: {', '.join(wrong)} differ from {HASHES.name}; is ftfy 6.3.1 installed?")
    shutil.rmtree(out / name, ignore_errors=True)
    made.rename(out / name)
    print(f"{out / name}: made, hashes are right", flush=True)


def labels_of(path: Path) -> list[Judged]:
    """The judgements of a BEIR file."""
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:])
    return [(number, doc, int(grade)) for number, doc, grade in lines]


def texts_of(path: Path) -> dict[str, JsonRow]:
    """{id: row} of corpus.jsonl or queries.jsonl."""
    return {str(row["_id"]): dict(row) for _, row in rows(path)}


def folds(folder: Path, labels: Iterable[Judged], queries: dict[str, str], tested: Iterable[str] | None = None) -> None:
    """qrels/{train,dev,test,rest,unseen}-KofN.tsv of every fold, by query: K is tested on, K + 1 the development set.

    Queries of the same words are in one fold. Only `tested` ones are in test and dev (default: all).
    """
    tested = set(queries) if tested is None else set(tested)
    labels = list(labels)
    for count in FOLDS:
        part = part_of_each(queries, {str(number): 1 / count for number in range(count)}, seed=0)
        for number in range(count):
            test, dev = str(number), str((number + 1) % count)
            named = {"test": {test}, "dev": {dev}, "train": set(map(str, range(count))) - {test, dev}}
            named["rest"] = named["train"] | {dev}  # where no development set is needed
            named["unseen"] = named["train"] | {test}  # all but dev, for a student that was trained elsewhere
            for name, parts in named.items():
                kept = [
                    row for row in labels if part[row[0]] in parts and (name not in ("test", "dev") or row[0] in tested)
                ]
                if kept:
                    write_labels(folder / f"qrels/{name}-{number}of{count}.tsv", kept)


def few(folder: Path, relevant_from: int, each: int) -> None:
    """qrels/few-0of2.tsv: of each query outside fold 0 of 2, `each` relevant and as many other judged passages."""
    sides: dict[tuple[str, bool], list[Judged]] = defaultdict(list)
    for row in sorted(labels_of(folder / "qrels/rest-0of2.tsv"), key=lambda row: drawn_order(row[1])):
        sides[row[0], row[2] >= relevant_from].append(row)
    both = [query for query, relevant in sides if relevant and (query, False) in sides]
    kept = [row for query in both for side in (True, False) for row in sides[query, side][:each]]
    write_labels(folder / "qrels/few-0of2.tsv", sorted(kept))


def own_lists(folder: Path, labels: Iterable[Judged]) -> None:
    """Let every query be reranked over its judged passages alone."""
    judged: dict[str, list[str]] = defaultdict(list)
    for number, doc, _ in labels:
        judged[number].append(doc)
    write_rows(folder / "top_ranked.jsonl", (
        {"query-id": number, "corpus-ids": docs} for number, docs in judged.items()))  # fmt: skip


def gpt4(clones: Path, out: Path) -> None:
    """GPT-4's traces as a set: its verdicts are the labels; tested are queries that have both, over their passages."""
    queries: dict[str, str] = {}
    passages: dict[str, str] = {}
    labels: list[Judged] = []
    traces: list[JsonRow] = []
    for row in gpt4_traces(clones):
        asked = queries.setdefault(row["query"], f"q{len(queries)}")
        about = passages.setdefault(row["passage"], f"p{len(passages)}")
        labels.append((asked, about, int(row["verdict"] == "yes")))
        ids: JsonRow = {"query_id": asked, "doc_id": about}
        traces.append(ids | {"reasoning": row["reasoning"], "verdict": row["verdict"], "model": "GPT-4"})
    write_rows(out / "corpus.jsonl", (passage(key, text) for text, key in passages.items()))
    write_rows(out / "queries.jsonl", (query(key, text) for text, key in queries.items()))
    write_rows(out / "traces.jsonl", traces)
    write_labels(out / "qrels/all.tsv", labels)
    own_lists(out, labels)
    grades: dict[str, set[int]] = defaultdict(set)
    for asked, _, grade in labels:
        grades[asked].add(grade)
    both = [key for key, found in grades.items() if len(found) == 2]
    folds(out, labels, {key: text for text, key in queries.items()}, both)
    print(f"{out}: {len(labels):,} traces of {len(queries)} queries, {len(both)} with both labels", flush=True)


def varied(out: Path) -> None:
    """One training set of three domains: the same number of queries of each, one positive each, drawn by a hash.

    Of BoolQ one passage an article; other positives of a drawn query are left out of the corpus, so that neither is
    mined as its negative.
    """
    corpus: list[JsonRow] = []
    queries: list[JsonRow] = []
    labels: list[Judged] = []
    for number, name in enumerate(VARIED):
        folder = out / name
        passages, asked = texts_of(folder / "corpus.jsonl"), texts_of(folder / "queries.jsonl")
        relevant: dict[str, list[str]] = defaultdict(list)
        for key, doc, _ in labels_of(folder / "qrels/train.tsv"):
            relevant[key].append(doc)
        of_article: dict[str, str] = {}  # the one passage that is kept
        for doc in sorted(passages, key=drawn_order):
            of_article.setdefault(plain(str(passages[doc]["title"])) or doc, doc)
        kept = set(of_article.values())
        share = QUERIES // len(VARIED) + (number < QUERIES % len(VARIED))
        usable = [key for key in sorted(relevant, key=drawn_order) if kept.intersection(relevant[key])]
        chosen = {key: min(kept.intersection(relevant[key]), key=drawn_order) for key in usable[:share]}
        others = {doc for key in chosen for doc in relevant[key]} - set(chosen.values())
        corpus += [passages[doc] for doc in passages if doc in kept - others]
        queries += [asked[key] for key in chosen]
        labels += [(key, doc, 1) for key in chosen for doc in relevant[key] if doc in kept - others]
    target = out / "varied"
    write_rows(target / "corpus.jsonl", corpus)
    write_rows(target / "queries.jsonl", queries)
    write_labels(target / "qrels/train.tsv", labels)
    print(f"{target}: {len(queries):,} queries, {len(labels):,} positives, {len(corpus):,} passages", flush=True)


def drawn_order(key: str) -> str:
    """An order of ids that says nothing about what they name."""
    return hashlib.sha256(key.encode()).hexdigest()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)} (default: all)")
    parser.add_argument("--clones", type=Path, default=Path("clones"), metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("data/real"), metavar="FOLDER")
    given = parser.parse_args()
    if unknown := set(given.sets) - set(SETS):
        parser.error(f"{', '.join(sorted(unknown))}: no such set")
    try:
        for name in given.sets or SETS:
            convert(name, given.clones, given.out)
        gpt4(given.clones, given.out / "gpt4")
    except Missing as missing:
        sys.exit(f"convert: {missing}")
    for name in ("dl19-passage", "scifact", "cranfield"):
        folder = given.out / name
        if folder.is_dir():
            texts = {key: str(row["text"]) for key, row in texts_of(folder / "queries.jsonl").items()}
            folds(folder, labels_of(folder / "qrels/test.tsv"), texts)
    if (given.out / "dl19-passage").is_dir():
        few(given.out / "dl19-passage", 2, 4)
    report = given.out / "diras-chatreport"
    if report.is_dir():
        own_lists(report, labels_of(report / "qrels/test.tsv"))
    if all((given.out / name).is_dir() for name in VARIED):
        varied(given.out)


if __name__ == "__main__":
    main()
