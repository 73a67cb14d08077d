"""Every source gives the same small collection, and says what is wrong with the file, the line and the remedy."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.errors import ConfigError, DataError
from distill.pairs.build import build
from distill.pairs.collection import Collection, gather
from distill.pairs.settings import PairSettings
from distill.pairs.sources import open_source
from distill.pairs.sources.ir_datasets import IrDatasets
from distill.pairs.sources.texts import cut

DOCS = {"d1": ("Foxes", "The fox lives in a den."), "d2": ("Owls", "The owl hunts at night."), "d3": ("", "A bee.")}
QUERIES = {"q1": ("where do foxes live", "Only dens count."), "q2": ("who hunts at night", None)}
LABELS = [("q1", "d1", 3), ("q1", "d2", -1), ("q2", "d2", 1), ("q2", "d3", 0)]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(settings: dict[str, Any], base: Path) -> Collection:
    found = PairSettings.model_validate({"split": "train", **settings})
    assert isinstance(found.split, str)
    return gather(open_source(found, base / found.path, base), found.split, found.missing)


def expected(data: Collection, instructions: bool = True) -> None:
    assert {d: data.passages[d] for d in data.passages} == {d: f"{t} {x}".strip() for d, (t, x) in DOCS.items()}
    assert data.queries == {q: text for q, (text, _) in QUERIES.items()}
    assert data.qrels == {"q1": {"d1": 3, "d2": 0}, "q2": {"d2": 1, "d3": 0}} and data.negative_grades == 1
    if instructions:
        assert data.instructions == {"q1": "Only dens count."}


def corpus(folder: Path, **names: str) -> list[dict[str, Any]]:
    id_, text = names.get("id", "_id"), names.get("text", "text")
    return [{id_: d, "title": title, text: body} for d, (title, body) in DOCS.items()]


def trec_tabs(folder: Path) -> dict[str, Any]:
    rows = "".join(f"{d}\t{t}\t{x}\n" for d, (t, x) in DOCS.items())
    (folder / "corpus.tsv.gz").write_bytes(gzip.compress(rows.encode()))
    (folder / "topics.tsv").write_text("".join(f"{q}\t{t}\n" for q, (t, _) in QUERIES.items()))
    (folder / "qrels.txt").write_text("".join(f"{q} 0 {d} {g}\n" for q, d, g in LABELS))
    files = {"corpus": "corpus.tsv.gz", "queries": "topics.tsv", "qrels": "qrels.txt"}
    return {"source": "trec", "files": files, "plain": True}


def trec_sgml(folder: Path) -> dict[str, Any]:
    topics = "".join(
        f"<top>\n<num> Number: {q}\n<title> {t}\n<desc> Description:\nlonger\n"
        + (f"<narr> Narrative:\n{i}\n" if i else "")
        + "</top>\n"
        for q, (t, i) in QUERIES.items()
    )
    (folder / "topics.txt").write_text(topics)
    (folder / "corpus.jsonl").write_text(lines(corpus(folder, id="docid", text="contents")))
    (folder / "train.txt").write_text("".join(f"{q}\t{d}\t{g}\n" for q, d, g in LABELS))
    files = {"corpus": "corpus.jsonl", "queries": "topics.txt", "qrels.train": "train.txt", "qrels.test": "none.txt"}
    return {"source": "trec", "files": files}


def pair_rows() -> list[dict[str, Any]]:
    rows = []
    for q, d, g in LABELS:
        rows.append({"qid": q, "asked": QUERIES[q][0], "instruction": QUERIES[q][1], "pid": d, "title": DOCS[d][0]})
        rows[-1] |= {"body": DOCS[d][1], "grade": g, "split": "train"}
    rows.append({**rows[0], "grade": 0, "split": "test"})  # of another split, so no second judgement
    return rows


COLUMNS = {"query": "asked", "query_id": "qid"}


def table_jsonl(folder: Path) -> dict[str, Any]:
    (folder / "pairs.jsonl").write_text(lines(pair_rows()))
    return {"source": "table", "path": "pairs.jsonl", "columns": COLUMNS}


def table_csv(folder: Path) -> dict[str, Any]:
    with open(folder / "pairs.csv", "w", newline="") as out:
        writer = csv.DictWriter(out, list(pair_rows()[0]))
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in pair_rows())
    return {"source": "table", "path": "pairs.csv", "columns": COLUMNS}


def table_parquet(folder: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "parts").mkdir()
    for number, at in enumerate((slice(0, 2), slice(2, None))):
        pq.write_table(pa.Table.from_pylist(pair_rows()[at]), folder / "parts" / f"{number}.parquet")
    return {"source": "table", "path": "parts", "columns": COLUMNS}


def three_tables(folder: Path) -> dict[str, Any]:
    (folder / "c.jsonl").write_text(lines(corpus(folder)))
    (folder / "q.jsonl").write_text(lines([{"_id": q, "text": t, "instruction": i} for q, (t, i) in QUERIES.items()]))
    rows = "".join(f"{q}\t{d}\t{g}\n" for q, d, g in LABELS)
    (folder / "r.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return {"source": "table", "files": {"corpus": "c.jsonl", "queries": "q.jsonl", "qrels": "r.tsv"}}


def hugging_face(folder: Path) -> dict[str, Any]:
    from datasets import Dataset, DatasetDict

    rows = pair_rows()
    parts = {name: Dataset.from_list([r for r in rows if r["split"] == name]) for name in ("train", "test")}
    DatasetDict(parts).save_to_disk(str(folder / "saved"))
    return {"source": "huggingface", "path": "saved", "columns": COLUMNS}


@pytest.mark.parametrize(
    "write", [trec_tabs, trec_sgml, table_jsonl, table_csv, table_parquet, three_tables, hugging_face]
)
def test_every_form_gives_the_same_collection(tmp_path: Path, write: Callable[[Path], dict[str, Any]]) -> None:
    settings = write(tmp_path)
    plain = settings.pop("plain", False)
    expected(read(settings, tmp_path), instructions=not plain)


def test_a_folder_of_parquet_files_is_a_hugging_face_dataset_too(tmp_path: Path) -> None:
    table_parquet(tmp_path)
    rows = [row for row in pair_rows() if row["split"] == "train"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(lines(rows))
    expected(read({"source": "huggingface", "path": "data", "columns": COLUMNS}, tmp_path))


def tevatron(folder: Path) -> Path:
    passages = {d: {"docid": d, "title": t, "text": x} for d, (t, x) in DOCS.items()}
    rows = [
        {"query_id": "q1", "query": QUERIES["q1"][0], "positive_passages": [passages["d1"]],
         "negative_passages": [passages["d2"], passages["d3"]]},
        {"query_id": "q2", "query": QUERIES["q2"][0], "positive_passages": [passages["d2"]],
         "negative_passages": [passages["d1"]]},
    ]  # fmt: skip
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(lines(rows).encode()))
    return folder / "train.jsonl.gz"


def test_tevatron_lists_are_assumed_and_drawn_by_rank(tmp_path: Path) -> None:
    tevatron(tmp_path)
    given = {"source": "tevatron", "path": "train.jsonl.gz", "negatives": {"miner": "listed", "per_query": 2}}
    settings = PairSettings.model_validate(given)
    pairs, counts = build(settings, 0, tmp_path / settings.path, tmp_path)
    found = {(p.query_id, p.doc_id): (p.label, p.label_origin, p.source) for p in pairs}
    assert found == {
        ("q1", "d1"): (1, "judged", "qrels"),
        ("q1", "d2"): (0, "assumed", "listed:1"),
        ("q1", "d3"): (0, "assumed", "listed:2"),
        ("q2", "d2"): (1, "judged", "qrels"),
        ("q2", "d1"): (0, "assumed", "listed:1"),
    }
    assert counts["mine"] == {"missing": 1}
    with pytest.raises(ConfigError, match="needs a source that lists negatives"):
        given = {**table_jsonl(tmp_path), "negatives": {"miner": "listed"}}
        build(PairSettings.model_validate(given), 0, tmp_path / "pairs.jsonl", tmp_path)


class FakeDataset:
    """What ir_datasets hands out, as far as it is used."""

    def __init__(self, **missing: bool) -> None:
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        if name.startswith("has_"):
            return lambda: not self._missing.get(name[4:], False)
        raise AttributeError(name)

    def docs_iter(self) -> Any:
        return (type("Doc", (), {"doc_id": d, "title": t, "text": x}) for d, (t, x) in DOCS.items())

    def queries_iter(self) -> Any:
        return (type("Q", (), {"query_id": q, "text": t, "narrative": i}) for q, (t, i) in QUERIES.items())

    def qrels_iter(self) -> Any:
        return (type("L", (), {"query_id": q, "doc_id": d, "relevance": g}) for q, d, g in LABELS)


def test_ir_datasets_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load={"a/b": FakeDataset()}.__getitem__))
    expected(read({"source": "ir_datasets", "path": "a/b"}, tmp_path))
    with pytest.raises(ConfigError, match="ir_datasets knows no 'a/c'"):
        list(IrDatasets("a/c").passages())
    offline = FakeDataset()
    offline.docs_iter = lambda: (_ for _ in ()).throw(ConnectionError("no\nnetwork"))  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=lambda name: offline))
    with pytest.raises(DataError, match=r"a/b: ir_datasets cannot give its docs \(ConnectionError: no network\)"):
        list(IrDatasets("a/b").passages())
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=lambda name: FakeDataset(qrels=True)))
    with pytest.raises(DataError, match="has no qrels"):
        list(IrDatasets("a/b").passages())
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(ConfigError, match=r"rerank-distill\[ir-datasets\]"):
        list(IrDatasets("a/b").passages())


def test_pairs_without_labels_are_kept_without_one(tmp_path: Path) -> None:
    rows = [{"query": f"q {i}", "passage": f"p {i}"} for i in range(3)]
    (tmp_path / "pairs.jsonl").write_text(lines(rows))
    settings = PairSettings.model_validate({"source": "table", "path": "pairs.jsonl"})
    pairs, counts = build(settings, 0, tmp_path / "pairs.jsonl", tmp_path)
    assert [(p.label, p.label_origin, p.source) for p in pairs] == [(None, None, "unlabelled")] * 3
    assert counts["unlabelled"] == 3 and len({p.query_id for p in pairs}) == 3


def test_texts_are_cut_between_paragraphs_sentences_and_words() -> None:
    words = " ".join(f"w{i}" for i in range(25))
    assert cut(f"One two.\n\nThree four.\n\n{words}", 10) == [
        "One two. Three four.",
        " ".join(f"w{i}" for i in range(10)),
        " ".join(f"w{i}" for i in range(10, 20)),
        " ".join(f"w{i}" for i in range(20, 25)),
    ]
    sentences = "A b c d. E f g h. I j k l."
    assert cut(sentences, 8) == ["A b c d. E f g h.", "I j k l."]
    assert cut(" \n\n ", 5) == []


@pytest.mark.parametrize(
    ("name", "content", "settings", "message"),
    [
        ("p.jsonl", '{"query": "a"}\n', {}, r"p.jsonl:1: no text in a column for passage; name it in columns.passage"),
        ("p.csv", "query,title\na,b\n", {}, "where the title is all there is, columns.passage=title"),
        ("p.csv", "query,text\na,b\n", {"columns": {"query": "text"}}, "no text in a column for passage"),
        ("p.jsonl", '{"query": "a", "passage": "b", "label": "x"}\n', {}, r"p.jsonl:1: the label 'x' is not"),
        ("p.jsonl", "[1]\n", {}, r"p.jsonl:1: a line is an object; this is a list"),
        ("p.csv", "query,passage\na,b,c\n", {}, r"p.csv:2: the row has not the header's 2 columns"),
        ("p.csv", "query,passage\na\n", {}, r"p.csv:2: the row has not the header's 2 columns"),
        ("p.csv", "query,passage\na,b\n", {"columns": {"label": "rel"}}, r"no column 'rel' \(columns.label\)"),
        ("p.parquet", "no parquet", {}, r"p.parquet: not a readable Parquet file"),
        ("p.xml", "<a/>", {}, r"p.xml: its ending is none of .jsonl"),
        ("p.jsonl", "", {}, r"holds no passage"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, name: str, content: str, settings: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read({"source": "table", "path": name, **settings}, tmp_path)


def test_a_column_named_for_the_passage_is_not_its_title_too(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("query,title,label\na,Red shoes,1\n")
    for named in ("title", "Title"):
        made = read({"source": "table", "path": "p.csv", "columns": {"passage": named}}, tmp_path)
        assert list(made.passages.values()) == ["Red shoes"]


def test_a_torn_gzip_file_and_latin_letters_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(b'{"query": "a", "passage": "b"}\n' * 500)[:-20])
    with pytest.raises(DataError, match="not a whole gzip file"):
        read({"source": "table", "path": "p.jsonl.gz"}, tmp_path)
    (tmp_path / "p.csv").write_bytes("query,passage\ncafé,b\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read({"source": "table", "path": "p.csv"}, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "trec", "path": "x", "files": {"corpus": "c.tsv"}}, "source trec needs queries"),
        ({"source": "table", "path": "x", "files": {"corpus": "c.tsv"}}, "names corpus, queries and qrels"),
        ({"source": "table", "files": {"pairs": "p.jsonl"}, "columns": {"text": "x"}}, "not one of query, passage"),
    ],
)
def test_settings_that_do_not_fit_their_source(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ConfigError, match=message):
        read(settings, tmp_path)


def test_passages_are_read_from_disk_and_not_held(tmp_path: Path) -> None:
    """40 MB of text cost far less memory than they are long."""
    import tracemalloc

    from distill.pairs.passages import Passages

    tracemalloc.start()
    passages = Passages((str(i), str(i), f"{i} " + "x" * 4000) for i in range(10_000))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4_000_000 and peak < 20_000_000
    assert passages["9999"].startswith("9999 ") and len(passages["0"]) == 4002 and len(passages) == 10_000
    with pytest.raises(KeyError):
        passages["10000"]


def test_rows_of_other_splits_are_counted_and_said(tmp_path: Path) -> None:
    names = ["train", "dev", "tset", " train", "dev"]
    rows = "".join(f"query {at},passage {at},1,{name}\n" for at, name in enumerate(names))
    (tmp_path / "t.csv").write_text("query,passage,label,split\n" + rows)
    settings = PairSettings.model_validate({"source": "table", "path": "t.csv", "negatives": "none"})
    said: list[str] = []
    pairs, counts = build(settings, 0, tmp_path / "t.csv", notify=said.append)
    assert len(pairs) == 2 and "rows by split: train 2, dev 2, tset 1; split train is read" in said
    assert counts["left_out"] == {"rows of split dev": 2, "rows of split tset": 1}
