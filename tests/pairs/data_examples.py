"""Small files in the shapes that people bring, with what becomes of them; `test_data_page.py` feeds them to `distill`.

Each row of the table in docs/data.md has examples under its name. `accepted` gives {(query, passage): label} of the
pairs that are made (mined ones left out); `refused` a part of the one line that the command prints.
"""

# ruff: noqa: E501

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Files = dict[str, str | bytes | Callable[[Path], None]]
Pairs = dict[tuple[str, str], int | None]


@dataclass(frozen=True)
class Example:
    """Files, what `pairs` says, and the outcome: the pairs, or a part of the message."""

    files: Files
    pairs: dict[str, object]
    outcome: Pairs | str
    instructions: dict[str, str] = field(default_factory=dict)


APPLES, TRAIN, BRIDGE = "Apples are picked in autumn.", "The train leaves at ten.", "Bridges cross the river."
BOTH: Pairs = {("apple harvest", APPLES): 1, ("night train", TRAIN): 1}


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(*rows: dict[str, object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows)), path)

    return write


def saved(**parts: list[dict[str, object]]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from datasets import Dataset, DatasetDict

        DatasetDict({name: Dataset.from_list(rows) for name, rows in parts.items()}).save_to_disk(str(path))

    return write


def classes(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from datasets import ClassLabel, Dataset, DatasetDict

        rows = Dataset.from_list([ROWS[0]]).cast_column("label", ClassLabel(names=list(names)))
        DatasetDict({"train": rows}).save_to_disk(str(path))

    return write


def class_parquet(*names: str) -> Callable[[Path], None]:
    """A Parquet file as `datasets` writes it, the names of the classes in its metadata."""

    def write(path: Path) -> None:
        from datasets import ClassLabel, Dataset

        rows = [{**ROWS[0], "label": 0}, {**ROWS[1], "label": 1}]
        Dataset.from_list(rows).cast_column("label", ClassLabel(names=list(names))).to_parquet(str(path))

    return write


def row(query: str, passage: str, label: object, **more: object) -> dict[str, object]:
    return {"query": query, "passage": passage, "label": label, **more}


def frame(orient: Literal["columns", "index", "split", "records", "table", "values"]) -> str:
    import pandas as pd

    return str(pd.DataFrame(ROWS).to_json(orient=orient))


def zipped(name: str, text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, text)
    return file.getvalue()


HTML = "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body>gone</body></html>\n"
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
FOREIGN: dict[str, str | bytes] = {
    "a zip archive": zipped("t.csv", "a,b\n"),
    "a page of HTML": HTML,
    "a pointer of Git LFS": LFS,
    "a Parquet file": b"PAR1",
    "UTF-32": "query,passage\n".encode("utf-32"),
    "compressed by bzip2": bz2.compress(b"query,passage\n"),
}
ROWS = [row("apple harvest", APPLES, 1), row("night train", TRAIN, 1)]
CORPUS = jsonl({"_id": "d1", "text": APPLES}, {"_id": "d2", "title": "", "text": TRAIN}, {"_id": "d3", "text": BRIDGE})
QUERIES = jsonl({"_id": "q1", "text": "apple harvest"}, {"_id": "q2", "text": "night train"})
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n"
BEIR: Files = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/train.tsv": QRELS}
TREC = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.txt"}
PLAIN = "q1 0 d1 1\nq2 0 d2 1\n"


def beir(outcome: Pairs | str, files: Files | None = None, **pairs: object) -> Example:
    return Example({**BEIR, **(files or {})}, {"source": "beir", "path": ".", **pairs}, outcome)


def trec(outcome: Pairs | str, files: Files | None = None, instructions: dict[str, str] | None = None,
         **names: str) -> Example:  # fmt: skip
    given: Files = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels.txt": PLAIN, **(files or {})}
    return Example(given, {"source": "trec", "files": {**TREC, **names}}, outcome, instructions or {})


def table(outcome: Pairs | str, name: str, content: str | bytes | Callable[[Path], None], **pairs: object) -> Example:
    return Example({name: content}, {"source": "table", "path": name, **pairs}, outcome)


def topics(text: str | bytes, outcome: Pairs | str, instructions: dict[str, str] | None = None) -> Example:
    return trec(outcome, {"topics.txt": text}, instructions, queries="topics.txt")


def tevatron(outcome: Pairs | str, *rows: object, **pairs: object) -> Example:
    given = {"source": "tevatron", "path": "t.jsonl", **pairs}
    return Example({"t.jsonl": jsonl(*rows)}, given, outcome)


def mined(query: str, text: str, key: str, **more: object) -> dict[str, object]:
    return {"query_id": query, "query": query, "positive_passages": [{"docid": key, "title": "", "text": text}],
            "negative_passages": [{"docid": f"n{query}", "title": "", "text": f"{BRIDGE} {query}"}], **more}  # fmt: skip


SGML = """<top>
<num> Number: q1
<title> apple harvest

<desc> Description:
When are apples picked?

<narr> Narrative:
Relevant is what names a month &amp; a place; p < 0.05 counts.
</top>
<top>
<num> Number: q2
<title> night train
<narr> Narrative: Times.
</top>
"""
COVID = """<?xml version="1.0" encoding="UTF-8"?>
<topics>
  <topic number="q1"><query>apple harvest</query><question>when?</question><narrative>A &lt; B</narrative></topic>
  <topic number="q2"><query>night train</query><question>when?</question><narrative>Times.</narrative></topic>
</topics>
"""
DOCS = f"""<!-- a disk -->
<DOC>
<DOCNO> d1 </DOCNO>
<HEADLINE>
<P>Fruit &amp;
more</P>
</HEADLINE>
<DATELINE> PARIS </DATELINE>
<TEXT>
<P>
{APPLES}</P>
</TEXT>
</DOC>

<doc><docno>d2</docno><text>{TRAIN[:9]}
{TRAIN[10:]} &lt; 5 < 6</text></doc>
<DOC>
<DOCNO>d3</DOCNO>
<TEXT>one</TEXT> <TEXT>two</TEXT>
</DOC>
"""
TRIALS = '<topics task="2021 TREC Clinical Trials">\n<topic number="q1">\napple\nharvest\n</topic>\n<topic number="q2">night train</topic>\n</topics>\n'
NOTES = {"apple harvest": "Relevant is what names a month & a place; p < 0.05 counts.", "night train": "Times."}
SPLIT = [{**ROWS[0], "split": "train"}, {**ROWS[1], "split": "test"}]
THREE: Files = {
    "c.csv": f"id,text\nd1,{APPLES}\nd2,{TRAIN}\n",
    "q.tsv": "id\ttext\nq1\tapple harvest\nq2\tnight train\n",
}
NAMES = {"corpus": "c.csv", "queries": "q.tsv", "qrels": "r.csv"}


def three(outcome: Pairs | str, qrels: str, **pairs: object) -> Example:
    return Example({**THREE, "r.csv": qrels}, {"source": "table", "files": NAMES, **pairs}, outcome)


def labelled(label: object) -> str:
    return jsonl(row("apple harvest", APPLES, label), row("apple harvest", BRIDGE, 0))


def folder(outcome: Pairs | str, split: str = "train", **files: str | bytes) -> Example:
    given: Files = {f"t/{name.replace('__', '.')}": content for name, content in files.items()}
    return Example(given, {"source": "table", "path": "t", "split": split}, outcome)


def hub(outcome: Pairs | str, split: str = "train", files: dict[str, str] | None = None, **more: str) -> Example:
    given: Files = {f"data/{name}": text for name, text in (files or {}).items()}
    return Example(given, {"source": "huggingface", "path": "data", "split": split, **more}, outcome)


HEAD = "query,passage,label\n"
CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: first.csv}\n  - {split: test, path: second.csv}\n"
NAMES_OF_CLASSES = "---\ndataset_info:\n  features:\n  - {name: query, dtype: string}\n  - {name: passage, dtype: string}\n  - name: label\n    dtype: {class_label: {names: {'0': '1', '1': '0'}}}\n---\n"
HARVEST: Pairs = {("apple harvest", APPLES): 1}
CSV = f'query,passage,label\napple harvest,{APPLES},1\nnight train,"The train\nleaves, at ten.",0\n'
WITH_NEWLINE: Pairs = {("apple harvest", APPLES): 1, ("night train", "The train\nleaves, at ten."): 0}
TABS = f"query\tpassage\tlabel\napple harvest\t{APPLES}\t1\nnight train\t{TRAIN}\t1\n"

EXAMPLES: dict[str, list[Example]] = {
    "beir": [
        beir("no split 'validation'; there are dev, train (did you mean 'dev'?)", {"qrels/dev.tsv": QRELS}, split="validation"),
        beir(BOTH),
        beir(BOTH, {"qrels/train.tsv": PLAIN.replace(" ", "\t")}),
        beir({("apple harvest", f"Fruit {APPLES}"): 1},
             {"corpus.jsonl": jsonl({"_id": 1, "title": "Fruit", "text": APPLES}, {"_id": 2, "title": None, "text": "x"}),
              "qrels/train.tsv": "corpus-id\tquery-id\tscore\n1\tq1\t1.0\n"}),
        beir("no split 'trian'; there are train", split="trian"),
        beir("train.tsv.gz: train.tsv is there as well", {"qrels/train.tsv.gz": gzip.compress(QRELS.encode())}),
        beir("corpus.jsonl.gz: corpus.jsonl is there as well", {"corpus.jsonl.gz": gzip.compress(CORPUS.encode())}),
        beir("is there twice, with another text at", {"corpus.jsonl": CORPUS + jsonl({"_id": "d1", "text": "x"})}),
        beir("is there twice, with another text at", {"queries.jsonl": QUERIES + jsonl({"_id": "q1", "text": "x"})}),
        beir("the label '0.5' is not an integer", {"qrels/train.tsv": "q1\td1\t0.5\n"}),
        beir("name the columns query-id, corpus-id and score", {"qrels/train.tsv": "a\tb\tscore\nq1\td1\t1\n"}),
    ],
    "trec corpus": [
        trec("c.tsv: is empty", {"c.tsv": ""}, corpus="c.tsv"),
        *(trec({("apple harvest", f"Fruit & more {APPLES}"): 1, ("night train", f"{TRAIN} < 5 < 6"): 1}, {name: text}, corpus=name)
          for name, text in (("c.sgml", DOCS), ("c", DOCS), ("c.xml.gz", gzip.compress(DOCS.encode())))),
        trec(BOTH, {"c.tsv": f"<d1>\t{APPLES}\n<d2>\t{TRAIN}\n", "qrels.txt": "q1 0 <d1> 1\nq2 0 <d2> 1\n"}, corpus="c.tsv"),
        *(trec(f"c.txt:{message}", {"c.txt": text}, corpus="c.txt") for message, text in (
            ("1: a <DOC> without its </DOC>", "<DOC>\n<DOCNO>d1</DOCNO>\n<DOC>\n"),
            ("1: a document without <DOCNO>", "<DOC>\n<TEXT>a</TEXT>\n</DOC>\n"),
            ("1: two documents in one line", "<DOC><DOCNO>1</DOCNO><TEXT>a</TEXT></DOC><DOC></DOC>\n"),
            ("2: a document with neither a title nor <TEXT>", "\n<DOC><DOCNO>1</DOCNO><DOCHDR>x</DOCHDR>a</DOC>\n"),
            (" markup without <DOC>", "<page>\n<id>1</id>\n</page>\n"))),
        *(trec({("apple harvest", f"X {APPLES}"): 1, ("night train", TRAIN): 1}, {name: text}, corpus=name) for name, text in (
            ("c.jsonl", jsonl({"_id": "d1", "title": "X", "abstract": APPLES}, {"_id": "d2", "title": "", "abstract": TRAIN})),
            ("c.tsv", f"id\ttitle\tabstract\nd1\tX\t{APPLES}\nd2\t\t{TRAIN}\n"),
            ("c.csv", f"cord_uid,sha,title,abstract,authors\nd1,0,X,{APPLES},Me\nd2,0,,{TRAIN},You\n"),
            ("c.jsonl", jsonl({"_id": "d1", "title": "X", "text": APPLES, "abstract": "Z"}, {"_id": "d2", "text": TRAIN})))),
        *(trec(f"no column of the text is known but 'title'; call the text's column text, or take out what is none ({name})",
               {"c.jsonl": jsonl({"_id": "d1", "title": "X", "lang": "en", name: APPLES})}, corpus="c.jsonl") for name in ("content", "article")),
        trec({("apple harvest", APPLES): 1, ("night train", TRAIN): 1},
             {"c.jsonl": jsonl(*({"_id": key, "title": text, "url": "u", "metadata": {}} for key, text in (("d1", APPLES), ("d2", TRAIN))))}, corpus="c.jsonl"),
        trec("c.csv:2: the texts are numbers ('123')", {"c.csv": "id,text\nd1,123\nd2,456\n"}, corpus="c.csv"),
        trec("c.tsv:3: a header within the file", {"c.tsv": f"id\ttext\nd1\t{APPLES}\nid\ttext\nd2\t{TRAIN}\n"}, corpus="c.tsv"),
        trec({("apple harvest", f"X {APPLES}"): 1, ("night train", TRAIN): 1},
             {"c.csv": f"ID,Title,Text\nd1,X,{APPLES}\nd2,,{TRAIN}\n"}, corpus="c.csv"),
        trec("'Title' and 'title' may both be the title", {"c.csv": f"id,Title,title,text\nd1,X,Z,{APPLES}\n"}, corpus="c.csv"),
        trec({("apple harvest", "NA"): 1, ("night train", TRAIN): 1}, {"c.csv": f"id,text\nd1,NA\nd2,{TRAIN}\n"}, corpus="c.csv"),
        trec(BOTH, {"c.tsv": f"d1\t{APPLES}\nd2\t{TRAIN}\nd3\t{BRIDGE}\n"}, corpus="c.tsv"),
        trec({("apple harvest", f"Fruit {APPLES}"): 1, ("night train", TRAIN): 1},
             {"c.tsv": f"d1\tFruit\t{APPLES}\nd2\t\t{TRAIN}\n"}, corpus="c.tsv"),
        trec({("apple harvest", f"Fruit {APPLES}"): 1, ("night train", f"Rail {TRAIN}"): 1},
             {"c.tsv": f"d1\thttps://a.org\tFruit\t{APPLES}\nd2\thttps://b.org\tRail\t{TRAIN}\n"}, corpus="c.tsv"),
        trec({("apple harvest", f"Fruit {APPLES}"): 1, ("night train", f"Rail {TRAIN}"): 1},
             {"c.tsv": f"id\ttext\ttitle\nd1\t{APPLES}\tFruit\nd2\t{TRAIN}\tRail\n"}, corpus="c.tsv"),
        trec(BOTH, {"c.json": json.dumps([{"docid": "d1", "contents": APPLES}, {"docid": "d2", "contents": TRAIN}])},
             corpus="c.json"),
        trec(BOTH, {"c.jsonl": jsonl({"pid": "d1", "docid": "D", "passage": APPLES},
                                     {"pid": "d2", "docid": "D", "passage": TRAIN})}, corpus="c.jsonl"),
        trec("'Apples are' is no URL", {"c.tsv": "d1\tApples are\tpicked in\tautumn.\nd2\ta\tb\tc\n"}, corpus="c.tsv"),
        trec("c.tsv:2: 3 columns by tabs, and 2 before", {"c.tsv": f"d1\t{APPLES}\nd2\tThe\ttrain\n"}, corpus="c.tsv"),
        trec("c.tsv:1: 5 columns by tabs", {"c.tsv": "d1\ta\tb\tc\td\n"}, corpus="c.tsv"),
        trec("c.tsv:1: 1 column by tabs", {"c.tsv": "d1 words\n"}, corpus="c.tsv"),
        trec(BOTH, {"c.tsv": f"text\tid\n{APPLES}\td1\n{TRAIN}\td2\n"}, corpus="c.tsv"),
        trec("'id' and 'docid' may both be the id", {"c.csv": f"id,docid,text\nd1,d2,{APPLES}\n"}, corpus="c.csv"),
        trec("'docid' and 'docno' may both be the id", {"c.csv": f"docid,docno,text\nd1,d2,{APPLES}\n"}, corpus="c.csv"),
        trec("'text' and 'contents' may both be the text", {"c.csv": f"id,text,contents\nd1,short,{APPLES}\n"}, corpus="c.csv"),
        trec(BOTH, {"c.csv": f"id,docid,text\nd1,d1,{APPLES}\nd2,d2,{TRAIN}\n"}, corpus="c.csv"),
        trec("header of unknown names (doc_no, abstract)", {"c.tsv": f"doc_no\tabstract\nd1\t{APPLES}\nd2\tTrain\n"}, corpus="c.tsv"),
        trec("looks like pandas' index", {"c.tsv": f"0\t1\t{APPLES}\n1\t2\t{TRAIN}\n"}, corpus="c.tsv"),
        *(trec(f"c.tsv:1: of 3 columns without a header, column {place} is the {name}, and here are {kind}", {"c.tsv": text}, corpus="c.tsv")
          for place, name, kind, text in (
              (2, "title", "URLs (https://a.b/1)", f"d1\thttps://a.b/1\t{APPLES}\nd2\twww.a.b\t{TRAIN}\n"),
              (3, "text", "URLs (https://a.b/1)", f"d1\t{APPLES}\thttps://a.b/1\nd2\t{TRAIN}\thttps://a.b/2\n"),
              (3, "text", "codes of languages (en)", f"d1\t{APPLES}\ten\nd2\t{TRAIN}\tpt-BR\n"),
              (2, "title", "numbers (5)", f"d1\t5\t{APPLES}\nd2\t7.5\t{TRAIN}\n"),
              (2, "title", "numbers (1234)", "d1\t1234\t5678\nd2\t234\t56\n"))),
        trec({("apple harvest", f"1984 {APPLES}"): 1, ("night train", f"en {TRAIN}"): 1},
             {"c.tsv": f"d1\t1984\t{APPLES}\nd2\ten\t{TRAIN}\n"}, corpus="c.tsv"),
        trec("a passage has an id and a text", {"c.jsonl": jsonl({"key": "d1", "text": APPLES})}, corpus="c.jsonl"),
    ],
    "trec topics": [
        topics('q1\t"apple harvest"\nq2\t"night train"\n', "topics.txt:1: quoted as CSV"),
        topics('q1\t"apple harvest"\nq2\tnight train\n', {('"apple harvest"', APPLES): 1, ("night train", TRAIN): 1}),
        topics("", "topics.txt: is empty"),
        topics("q1\tapple harvest\nqid\tquery\nq2\tnight train\n", "topics.txt:2: a header within the file"),
        topics(SGML, BOTH, NOTES),
        topics(COVID, BOTH, {"apple harvest": "A < B", "night train": "Times."}),
        topics(TRIALS, BOTH),
        topics("q1\tapple harvest\nq2\tnight train\n", BOTH),
        topics("qid\tquery\nq1\tapple harvest\nq2\tnight train\n", BOTH),
        topics("query\tqid\napple harvest\tq1\nnight train\tq2\n", BOTH),
        topics("q1\tapple harvest\tOnly months.\nq2\tnight train\t\n", BOTH, {"apple harvest": "Only months."}),
        trec("'id' and 'qid' may both be the id", {"q.csv": "id,qid,query\nq1,q2,apple harvest\n"}, queries="q.csv"),
        trec("'text' and 'query' may both be the text", {"q.csv": "id,query,text\nq1,a,apple harvest\n"}, queries="q.csv"),
        topics("topic_id\tsearch_phrase\nq1\tapple harvest\nq2\tnight\n", "header of unknown names (topic_id, search_phrase)"),
        trec("q.jsonl:1: no column of the text is known but 'title'", {"q.jsonl": jsonl({"_id": "q1", "title": "a", "body": "b"})}, queries="q.jsonl"),
        trec(BOTH, {"q.jsonl": jsonl({"qid": "q1", "title": "apple harvest", "description": "b"}, {"qid": "q2", "title": "night train", "desc": "c"})}, queries="q.jsonl"),
        topics("0\t1\tapple harvest\n1\t2\tnight train\n", "looks like pandas' index"),
        topics("q1\tapple harvest\t2\nq2\tnight train\t3\n", "column 3 is the instruction, and here are numbers (2)"),
        topics("<top>\n<title> apple harvest\n</top>\n", "topics.txt:1: a topic needs <num>"),
        topics("<top><num>q1<title>a<title>b</top>", "topics.txt:1: a topic with two <title>"),
        topics("<top lang='en'>\n<num>q1</num>\n<EN-title>apple harvest</EN-title>\n<EN-narr>Months.</EN-narr>\n</top>"
               "<top><num>q2</num><DE-title>night train</DE-title></top>", BOTH, {"apple harvest": "Months."}),
        topics('<topics><topic number="q1"><disease>Melanoma</disease><gene>BRAF &lt;b&gt;</gene><other>None</other></topic>'
               '<topic number="q2" template="glaucoma"><field name="IOP">19</field><field name="eye">left</field></topic></topics>',
               {("Melanoma, BRAF <b>", APPLES): 1, ("glaucoma, IOP: 19, eye: left", TRAIN): 1}),
        topics('<topic number="q1"><query>apple harvest</query><subtopic number="1">a</subtopic><subtopic number="2">b</subtopic>'
               '</topic><topic number="q2"><query>night train</query><type>x</type></topic>', BOTH),
        topics('<topic number="q1"><species>apple</species></topic>', "topics.txt:1: <species> in a topic is none of its fields"),
        topics('<topic number="q1"><title>an <i>apple</i></title></topic>', "topics.txt:1: <i> in a topic is none of its fields"),
        topics("<html></html>", "no <top> or <topic>"),
    ],
    "qrels": [
        *(trec(f"qrels.txt:1: {what}", {"qrels.txt": text}) for what, text in (
            ("JSON;", jsonl({"query-id": "q1", "corpus-id": "d1", "score": 1})), ("JSON;", '{"q1": {"d1": 1}}'),
            ("columns with commas", "q1,0,d1,1\n"), ("columns with commas", "q1, d1, 1\n"), ("columns with commas", "query-id, corpus-id, score\n"))),
        trec("qrels.txt: is empty", {"qrels.txt": ""}),
        trec("looks like ids (of triples?), not grades", {"qrels.txt": "q1 d1 7\nq2 d2 8\n"}),
        trec("13 is no grade but looks like an id", {"qrels.txt": "".join(f"q1 d{i} {i}\n" for i in range(2, 30))}),
        *(trec(f"qrels.txt:1: the label {word!r} is not an integer: nobody judged", {"qrels.txt": f"q1\t0\td1\t{word}\n"})
          for word in ("NA", "None", "null", "")),
        trec(BOTH, {"qrels.txt": "q1\t0\td1\t1\nq2\t0\td2\t1\n"}),
        trec(BOTH, {"qrels.txt": "q1 0 d1 1\nq1 0 d1 1\nq2 Q0 d2 1.0\n"}),
        trec({("apple harvest", APPLES): 1},
             {"qrels.txt": "query_id\titer\tdoc_id\trelevance\nq 1\t0\td 1\t1\n",
              "corpus.jsonl": jsonl({"_id": "d 1", "text": APPLES}, {"_id": "d2", "text": TRAIN}),
              "queries.jsonl": jsonl({"_id": "q 1", "text": "apple harvest"})}),
        Example({"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels.txt": PLAIN},
                {"source": "trec", "files": TREC, "split": "dev"}, "the data have no splits; name the file qrels.dev"),
        trec("qrels.txt:1: a column 'set', which is not read", {"qrels.txt": "query-id\tcorpus-id\tscore\tset\nq1\td1\t1\ttest\n"}),
        trec("qrels.txt:1: a column 'split', which is not read", {"qrels.txt": "query-id\tcorpus-id\tscore\tsplit\nq1\td1\t1\ttest\n"}),
        trec(f"qrels.txt:2: the pair 'q1', 'd1' is judged twice (query 'apple harvest', passage '{APPLES}'): 0 here, 1 at ",
             {"qrels.txt": "q1 0 d1 1\nq1 0 d1 0\n"}),
        folder("(query 'apple harvest', passage 'Bridges cross the river.'): 0 here, 1 at ",
               train_1__csv=f"query,passage,label\napple harvest,{BRIDGE},1\n", train_2__csv=f"query,passage,label\napple harvest,{BRIDGE},0\n"),
        trec("7187158 is no grade but looks like an id", {"qrels.txt": "q1\td1\t7187158\nq2\td2\t8841\n"}),
        *(trec("looks like ranks", {"qrels.txt": run.replace(" ", "\t")}) for run in (
            "q1 d1 1\nq1 d3 2\nq2 d2 1\n", "q1 d3 2\nq1 d1 1\nq2 d2 1\n", "q1 Q0 d3 2\nq1 Q0 d1 1\nq2 Q0 d2 1\n")),
        trec("score looks like a run's, not judgements", {"qrels.txt": "qid\tdocid\tscore\nq1\td1\t12\nq2\td2\t9\n"}),
        trec({("apple harvest", APPLES): 1, ("apple harvest", BRIDGE): 2},
             {"qrels.txt": "qid\tdocid\tlabel\nq1\td1\t1\nq1\td3\t2\n"}),
        trec("a header with rank and score is a run's", {"qrels.txt": "qid\tdocid\trank\tscore\nq1\td1\t1\t12\n"}),
        trec("looks like pandas' index", {"qrels.txt": "0\tq1\td1\t1\n1\tq2\td2\t1\n"}),
        trec("qrels.txt:1: 5 columns", {"qrels.txt": "q 1 0 d 1\n"}),
        trec("qrels.txt:2: 3 columns, and 4 before", {"qrels.txt": "q1 0 d1 1\nq2 d2 1\n"}),
        trec("the label 'yes' is not an integer", {"qrels.txt": "q1 0 d1 yes\n"}),
        Example({"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "a.txt": PLAIN, "b.txt": PLAIN},
                {"source": "trec", "files": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels.train": "a.txt",
                                             "qrels.test": "b.txt"}, "split": "Train"},
                "no qrels.Train; there is qrels.train, qrels.test"),
    ],
    "table CSV": [
        table("It has query;passage, label;note (';' separates no columns here)", "t.csv", "query;passage,label;note\nx;y,1;z\n"),
        table("t.csv:2: 3 columns, and the first line has one ('Report of May'); take it out", "t.csv", "Report of May\n" + CSV),
        table("t.csv:1: one column, with '|' in its name", "t.csv", "query|passage|label\na|b|1\n"),
        table(BOTH, "t.csv", TABS.replace("\t", ";").replace("\n", "\r\n")),
        table(WITH_NEWLINE, "t.csv", "\ufeff\ufeff" + CSV),
        table("t.csv:3: the header again", "t.csv", "query,passage\na,b\nquery,passage\nc,d\n"),
        table("t.csv:3: the header again", "t.csv", "query,passage\na,b\n\ufeffpassage,query\nd,c\n"),
        *(table({("NA", APPLES): 1, ("None", TRAIN): None}, "t.csv", f"query,passage,label\nNA,{APPLES},1\nNone,{TRAIN},{word}\n")
          for word in ("NA", "None", "NaN", "null", "n/a", "")),
        table(HARVEST, "t.csv", f"Search Term,Answer,label\napple harvest,{APPLES},1\n", columns={"query": "search_term", "passage": "ANSWER"}),
        table("no column 'searchterms' (columns.query) (nearest is 'Search Term')", "t.csv",
              f"Search Term,passage,label\na,{APPLES},1\n", columns={"query": "searchterms"}),
        table("'Label' and 'label' may both be the label", "t.csv", f"query,passage,Label,label\na,{APPLES},1,0\n"),
        table(BOTH, "t.txt", TABS.replace("\n", "\r\n").encode("utf-16")),
        table(WITH_NEWLINE, "t.csv", "sep=,\r\n" + CSV),
        table("'doc' and 'text' may both be the passage; name one in columns.passage", "t.csv", "query,doc,text,label\na,d1,b,1\n"),
        table(HARVEST, "t.csv", f"query,doc,text,label,score\napple harvest,d1,{APPLES},1,13.5\n", columns={"passage": "text"}),

        table(WITH_NEWLINE, "t.csv", CSV),
        table(WITH_NEWLINE, "t.csv", "\ufeff" + CSV.replace(",1\n", ";1\n").replace(",0\n", ";0\n").replace(
            "query,passage,", "query;passage;").replace("harvest,", "harvest;").replace('train,"', 'train;"')),
        table(BOTH, "t.csv", TABS.replace("\n", "\r\n").encode("utf-16")),
        table(BOTH, "t.csv.gz", gzip.compress(TABS[:60].encode()) + gzip.compress(TABS[60:].encode())),
        table({("apple harvest", APPLES): 1}, "t.csv", f",Query,Passage,Label\n0,apple harvest,{APPLES},1.0\n"),
        table("t.csv:2: the row has not the header's 2 columns", "t.csv", "query,passage\na,b,c\n"),
        table("two columns are called 'label'", "t.csv", "query,passage,label,label\na,b,1,0\n"),
        table("mend the quotes", "t.csv", 'query,passage\na,"b\nc,d\n'),
        table("no text in a column for passage", "t.csv", "query;answer\na;b\n"),
        table("not UTF-8", "t.csv", "query,passage\ncafé,b\n".encode("latin-1")),
    ],
    "table TSV": [
        table("its lines end in \\r alone", "t.tsv", TABS.replace("\n", "\r")),
        table("t.tsv:1: one column, with ',' in its name", "t.tsv", CSV),
        table("t.tsv:4: the header again", "t.tsv", TABS + TABS),
        table(BOTH, "t.tsv", TABS),
        table(BOTH, "t.tsv", TABS.encode("utf-16")),
        table({("apple harvest", 'It is "ripe" now.'): 1}, "t.tsv", 'query\tpassage\tlabel\napple harvest\tIt is "ripe" now.\t1\n'),
        table("quoted as CSV", "t.tsv", 'query\tpassage\tlabel\na\t"It is ""ripe"" now."\t1\n'),
        table("the row has not the header's 3 columns", "t.tsv", "query\tpassage\tlabel\na\tb\tc\t1\n"),
    ],
    "table JSON": [
        table(BOTH, "t.jsonl", jsonl(ROWS[0]) + "\ufeff" + jsonl(ROWS[1])),
        table(BOTH, "t.json", frame("records")),
        *(table("t.json:1: no row but a whole table", "t.json", frame(orient)) for orient in ("columns", "index", "split", "table")),
        table("t.json:1: no row but a whole table", "t.json", json.dumps({"data": ROWS})),
        table("t.json:1: a line is an object; this is a list", "t.json", frame("values")),
        table("t.json:1: not JSON lines: an object over several", "t.json", json.dumps(ROWS[0], indent=1)),
        table("t.jsonl:1: the key 'query' is there twice in one object", "t.jsonl", '{"query": "a", "query": "b", "passage": "c"}\n'),
        table(BOTH, "t.jsonl", jsonl(*ROWS)),
        table(BOTH, "t.json", json.dumps(ROWS, indent=1)),
        table(BOTH, "t.jsonl", json.dumps(ROWS)),
        table({("apple ? harvest", APPLES): 1}, "t.jsonl", jsonl(row("apple \ud83d harvest", APPLES, 1))),
        table("t.jsonl:1: a number of more than 4,300 digits", "t.jsonl", '{"query": "a", "passage": "b", "label": ' + "1" * 5000 + "}"),
        table("t.jsonl:1: JSON nested too deep", "t.jsonl", "[" * 100_000),
        table("t.jsonl:2: not JSON", "t.jsonl", jsonl(ROWS[0]) + "{'query': 1}\n"),
        table("t.jsonl:2: 'label' in some rows, and 'lable' in others", "t.jsonl", jsonl(ROWS[0], {"query": "a", "passage": "b", "lable": 0})),
        table({**HARVEST, ("night train", TRAIN): None}, "t.jsonl", jsonl(ROWS[0], {"query": "night train", "passage": TRAIN})),
        table("t.jsonl:1: a line is an object", "t.jsonl", '["apple harvest", "x", 1]\n'),
        table("holds no passage", "t.jsonl", ""),
    ],
    "table Parquet": [
        table("t.parquet: is a pointer of Git LFS", "t.parquet", LFS),
        table("t.parquet: is a page of HTML", "t.parquet", HTML),
        table("t.parquet: row 1: the label 'relevant' is not an integer", "t.parquet", class_parquet("relevant", "irrelevant")),
        table({("apple harvest", APPLES): 1, ("night train", TRAIN): 0}, "t.parquet", class_parquet("1", "0")),
        table(BOTH, "t.parquet", parquet(*ROWS)),
        table({("apple harvest", APPLES): 1, ("apple harvest", BRIDGE): None}, "t.parquet",
              parquet(row("apple harvest", APPLES, 1.0), row("apple harvest", BRIDGE, float("nan")))),
        table({("apple harvest", APPLES): 1}, "t.parquet", parquet(row("apple harvest", APPLES.encode(), 1))),
        table("query is not a text but a int 2019", "t.parquet", parquet(row(2019, APPLES, 1))),  # type: ignore[arg-type]
        table("not a readable Parquet file", "t.parquet", "no parquet"),
        table("bytes that are not UTF-8", "t.parquet", parquet(row("apple harvest", b"\xff", 1))),  # type: ignore[arg-type]
    ],
    "table of three": [
        Example({**THREE, "q.tsv": "id\ttext\tquery\nq1\ta\tb\n", "r.csv": "qid,pid,rel\nq1,d1,1\n"},
                {"source": "table", "files": NAMES}, "may both be the query"),
        Example({**THREE, "c.csv": f"id,docid,text\nd1,d2,{APPLES}\n", "r.csv": "qid,pid,rel\nq1,d1,1\n"},
                {"source": "table", "files": NAMES}, "'docid' and 'id' may both be the id"),
        three(BOTH, "query-id,corpus-id,score\nq1,d1,1\nq2,d2,1\n"),
        three(HARVEST, "query-id,corpus-id,score,split\nq1,d1,1,train\nq2,d2,1,test\n"),
        three("no split 'trian'; there are test, train", "query-id,corpus-id,score,split\nq1,d1,1,train\nq2,d2,1,test\n",
              split="trian"),
        Example({**THREE, "q.tsv": "id\ttext\tsplit\nq1\tapple harvest\ttrain\nq2\tnight train\ttest\n",
                 "r.csv": "qid,pid,rel\nq1,d1,1\nq2,d2,1\n"},
                {"source": "table", "files": NAMES}, "q.tsv:2: the queries have a column 'split' and the qrels have none"),
        three("score looks like a run's, not judgements", "query_id,doc_id,score\nq1,d1,12\nq2,d2,9\n"),
        three("score next to rank looks like a run's, not judgements", "query_id,doc_id,rank,score\nq1,d1,1,12\n"),
        three({("apple harvest", APPLES): 12, ("night train", TRAIN): 9}, "query_id,doc_id,score\nq1,d1,12\nq2,d2,9\n", columns={"label": "score"}),
        three("no column of labels", "query-id,corpus-id\nq1,d1\n"),
        three("pairs.ids: text is for one table", "query-id,corpus-id,score\nq1,d1,1\n", ids="text"),
    ],
    "table clicks": [
        table({("apple harvest", APPLES): 1, ("night train", APPLES): 0}, "t.csv",
              f"query,passage,clicks,impressions,position\napple harvest,{APPLES},30,60,1\nnight train,{APPLES},2,60,1\n"),
        table({("apple harvest", APPLES): 1, ("night train", APPLES): None}, "t.csv",
              f"query,passage,clicks\napple harvest,{APPLES},37\nnight train,{APPLES},2\n"),
        table("impressions '1.000' may be thousands", "t.csv", f"query,passage,clicks,impressions\na,{APPLES},0,1.000\n"),
        table("3 clicks in 2 impressions", "t.csv", f"query,passage,clicks,impressions\na,{APPLES},3,2\n"),
        table("no row has a label, and there are clicks", "t.csv", f"query,passage,label,clicks\na,{APPLES},,2\n"),
        *(table(f"no column of labels is known, and {name!r} may be one", "t.csv", f"query,passage,{name}\na,{APPLES},1\n")
          for name in ("stars", "annotator_1", "gold_label", "Relevanz", "clicked", "click", "ctr")),
        table({("a", APPLES): None}, "t.csv", f"query,passage,url\na,{APPLES},x\n"),
        table("has columns of clicks and 'score'", "t.csv", f"query,passage,clicks,score\na,{APPLES},3,2\n"),
    ],
    "table splits": [
        *(folder(HARVEST, **{name: jsonl(ROWS[0]), other: jsonl(ROWS[1])}) for name, other in (
            ("my_train__jsonl", "my_test__jsonl"), ("training__jsonl", "testing__jsonl"), ("a-Train-1__jsonl", "a-dev-1__jsonl"))),
        folder("its name says dev and train", a_train_dev__jsonl=jsonl(ROWS[0]), b_test__jsonl=jsonl(ROWS[1])),
        folder("there are train, validation (did you mean 'validation'?)", "dev", train__jsonl=jsonl(ROWS[0]), validation__jsonl=jsonl(ROWS[1])),
        table(HARVEST, "t.jsonl", jsonl(*SPLIT), split="train"),
        *(table(f"{name!r} holds 'train', and no column of splits is known", "t.jsonl", jsonl({**ROWS[0], name: "train"}, {**ROWS[1], name: "test"}))
          for name in ("set", "fold", "data_set", "subset")),
        table(HARVEST, "t.jsonl", jsonl({**ROWS[0], "set": "train"}, {**ROWS[1], "set": "test"}), columns={"split": "set"}),
        table(BOTH, "t.jsonl", jsonl(*({**each, "fold": 1} for each in ROWS))),
        folder(HARVEST, train__jsonl=jsonl(ROWS[0]), test__jsonl=jsonl(ROWS[1])),
        folder(BOTH, **{"a__jsonl": jsonl(ROWS[0]), "b__csv": f"query,passage,label\nnight train,{TRAIN},1\n",
                        "__DS_Store": b"\0\0\0\1Bud1", "~$a__csv": b"\0", "__MACOSX/__a__jsonl": b"\0"}),
        table("no split 'Train'; there are test, train", "t.jsonl", jsonl(*SPLIT), split="Train"),
        table(HARVEST, "t.jsonl", jsonl(*SPLIT, {**ROWS[1], "split": "dev"}, {**ROWS[1], "split": "train_b"})),
        table("'dev', and the data have no splits; name their column in columns.split (it has query, passage, label, set)",
              "t.jsonl", jsonl({**ROWS[0], "set": "dev"}), split="dev"),
        table("'train' of a file called 'test'", "test.jsonl", jsonl(ROWS[0]), split="train"),
        table(HARVEST, "test.jsonl", jsonl(ROWS[0]), split="test"),
        three("'banana', and the data have no splits", "query-id,corpus-id,score\nq1,d1,1\n", split="banana"),
        *(table(f"t.jsonl:2: the split {name!r} is nearly 'train'", "t.jsonl", jsonl(SPLIT[0], {**ROWS[1], "split": name}))
          for name in ("trian", "TRAIN", "training", "trai")),
        three("r.csv:3: the split 'trian' is nearly 'train'", "query-id,corpus-id,score,split\nq1,d1,1,train\nq2,d2,1,trian\n"),
        table("no split in this row", "t.jsonl", jsonl(SPLIT[0], {**ROWS[1], "split": None})),
        table("holds test, train; say which one is split in pairs.qrels", "t.jsonl", jsonl(*SPLIT),
              split={"train": 0.5, "test": 0.5}),
        folder("no split 'dev'; there are test, train", "dev", train__jsonl=jsonl(ROWS[0]), test__jsonl=jsonl(ROWS[1])),
        folder("a.jsonl.gz: a.jsonl is there as well", a__jsonl=jsonl(ROWS[0]), a__jsonl__gz=gzip.compress(jsonl(ROWS[0]).encode())),
        folder("of no split", train__jsonl=jsonl(ROWS[0]), more__jsonl=jsonl(ROWS[1])),
        folder("its ending is none of", a__jsonl=jsonl(ROWS[0]), b__xlsx=b"PK"),
        folder("holds the folder sub", **{"a__jsonl": jsonl(ROWS[0]), "sub/b__jsonl": jsonl(ROWS[1])}),
    ],
    "huggingface": [
        Example({"data/rows.csv": f"query,passage,label,set\na,{APPLES},1,train\nb,{TRAIN},1,test\n"}, {"source": "huggingface", "path": "data"},
                "'set' holds 'train', and no column of splits is known"),
        *(Example({"data/train.csv": f"doc_id,query,passage,label\n{key},a,{APPLES},1\n1,b,{TRAIN},1\n"}, {"source": "huggingface", "path": "data"}, outcome)
          for key, outcome in (("01", {("a", APPLES): 1, ("b", TRAIN): 1}), ("1.0", "holds the ids '1' and '1.0'"))),
        Example({"data/train.jsonl": '{"query": "a", "query": "b", "passage": "c"}\n'}, {"source": "huggingface", "path": "data"},
                "train.jsonl:1: the key 'query' is there twice"),
        Example({"data/train.csv": "query,passage\na,b\nquery,passage\nc,d\n"}, {"source": "huggingface", "path": "data"}, "train.csv:3: the header again"),
        *(Example({"data/train.csv": f"query,passage,label\nNA,{APPLES},1\nNone,{TRAIN},{word}\n"}, {"source": "huggingface", "path": "data"},
                  {("NA", APPLES): 1, ("None", TRAIN): None}) for word in ("NA", "None", "NaN", "null", "n/a", "")),
        Example({"saved": saved(train=[ROWS[0]], validation=[ROWS[1]])}, {"source": "huggingface", "path": "saved", "split": "val"},
                "(did you mean 'validation'?)"),
        Example({"saved": classes("0", "1")}, {"source": "huggingface", "path": "saved"}, HARVEST),
        Example({"saved": classes("not", "relevant")}, {"source": "huggingface", "path": "saved"}, "the label 'relevant' is not an integer"),

        Example({"saved": saved(train=[ROWS[0]], test=[ROWS[1]])}, {"source": "huggingface", "path": "saved"}, HARVEST),
        Example({"data/train.jsonl": jsonl(*SPLIT)}, {"source": "huggingface", "path": "data"}, HARVEST),
        Example({"saved": saved(train=[ROWS[0]], test=[ROWS[1]])},
                {"source": "huggingface", "path": "saved", "split": "Train"}, "no split 'Train'; there are train, test"),
        Example({"saved": saved(test=ROWS)}, {"source": "huggingface", "path": "saved"},
                "no split 'train'; there are test"),
        Example({"saved": saved(a=[ROWS[0]], b=[ROWS[1]])},
                {"source": "huggingface", "path": "saved", "split": {"train": 0.5, "test": 0.5}}, "holds a, b; say which"),
        hub(HARVEST, files={"train.csv": f"{HEAD}apple harvest,{APPLES},1\n", "test.csv": f"{HEAD}night train,{TRAIN},1\n"}),
        hub({("night train", TRAIN): 1}, "test", {"train/a.tsv": TABS, "test/b.tsv": f"query\tpassage\tlabel\nnight train\t{TRAIN}\t1\n"}),
        hub({("night train", TRAIN): 1}, "test", {"README.md": f"{CARD}---\n", "first.csv": f"{HEAD}apple harvest,{APPLES},1\n",
                                                  "second.csv": f"{HEAD}night train,{TRAIN},1\n", "other.jsonl": "{}\n"}),
        hub("README.md: the setting names is not read", files={"README.md": f"{CARD}  names: [query, passage, label]\n---\n", "first.csv": "a,b,1\n",
                                                               "second.csv": "a,b,1\n"}),
        hub({("apple harvest", APPLES): 0}, files={"README.md": NAMES_OF_CLASSES, "train.csv": f"{HEAD}apple harvest,{APPLES},1\n"}),
        hub("more.csv: would not be read", files={"a.jsonl": jsonl(ROWS[0]), "b.jsonl": jsonl(ROWS[1]), "more.csv": HEAD}),
        hub("more.csv: would not be read", files={"train.csv": f"{HEAD}apple harvest,{APPLES},1\n", "more.csv": HEAD}),
        hub({("h e", '"abc'): 1, ("h f", 'ab"d'): 0}, files={"train.tsv": 'query\tpassage\tlabel\nh e\t"abc\t1\nh f\tab"d\t0\n'}),
        *(hub(f"train.csv:{number}: {message}", files={"train.csv": text}) for number, message, text in (
            (2, "the row has not the header's 3 columns", f"{HEAD}h e,abc, more,1\nh f,abd, more,0\n"),
            (3, "the row has not the header's 3 columns", f"{HEAD}h e,abc,1\nh f,abd\n"),
            (4, "not readable as a table", f'{HEAD}h e,"abc,1\nh f,abd,0\nh g,"abe,1\n'),
            (1, "two columns are called 'label'", "query,passage,label,label\nh e,abc,1,0\n"),
            (3, "the header again", f"{HEAD}h e,abc,1\n{HEAD}h f,abd,0\n"))),
        hub("train.jsonl:1: the key 'label' is there twice", files={"train.jsonl": '{"query": "a", "passage": "b", "label": 1, "label": 0}\n'}),
        hub(BOTH, files={"train.csv": f"query,passage,label,doc_id\napple harvest,{APPLES},1,0012\nnight train,{TRAIN},1,12\n"}),
    ],
    "tevatron": [
        tevatron(HARVEST, mined("apple harvest", APPLES, "1", negative_passages=None)),
        tevatron("positive_passages is a list of passages", mined("a", APPLES, "0", positive_passages=None)),
        Example({"t.jsonl": '{"query_id": "q", "query": "a", "positive_passages": [{"docid": "1", "docid": "2", "text": "b"}], "negative_passages": []}'},
                {"source": "tevatron", "path": "t.jsonl"}, "the key 'docid' is there twice in one object"),
        tevatron(BOTH, mined("apple harvest", APPLES, "1"), mined("night train", TRAIN, "2")),
        tevatron(BOTH, mined("apple harvest", APPLES, "0"), mined("night train", TRAIN, "0"), ids="text"),
        tevatron("the id '0' is there twice, with another text at", mined("apple harvest", APPLES, "0"),
                 mined("night train", TRAIN, "0")),
        tevatron("a line has query_id, query", ROWS[0]),
        tevatron("is a list of passages", mined("a", APPLES, "0", negative_passages="none")),
        tevatron("text is not a text but a int 5", mined("a", 5, "0")),  # type: ignore[arg-type]
    ],
    "labels": [
        *(table({("apple harvest", APPLES): grade, ("apple harvest", BRIDGE): 0}, "t.jsonl", labelled(label))
          for label, grade in ((1, 1), (1.0, 1), ("1", 1), ("1.0", 1), (True, 1), ("True", 1), ("false", 0), (-1, 0),
                               (None, None), (float("nan"), None), ("", None), ("nan", None), (3, 3))),
        *(table(f"t.jsonl:1: the label {shown!r} is not an integer", "t.jsonl", labelled(label))
          for label, shown in ((0.5, "0.5"), ("yes", "yes"), ("1,0", "1,0"), (10**12, "1000000000000"))),
        *(table(f"{name!r} may be one, though it looks like a run's, not judgements", "t.csv", f"query,passage,rank,{name}\na,{APPLES},1,12\n")
          for name in ("score", "bm25_score", "similarity")),
        table({("a", APPLES): 2}, "t.csv", f"query,passage,score\na,{APPLES},2\n", columns={"label": "score"}),
        table("the label '{'grade': 1}' is not an integer".replace("'{", '"{').replace("}'", '}"'), "t.jsonl",
              labelled({"grade": 1})),
    ],
    "texts and titles": [
        table({("apple harvest", APPLES): 1}, "t.jsonl", jsonl(row("apple harvest", APPLES, 1, title=None))),
        table({("apple harvest", APPLES): 1}, "t.jsonl", jsonl(row("apple harvest", APPLES, 1, title=float("nan")))),
        table({("apple harvest", f"None {APPLES}"): 1}, "t.jsonl", jsonl(row("apple harvest", APPLES, 1, title="None"))),
        table({("apple harvest", "Fruit"): 1}, "t.jsonl", jsonl({**row("apple harvest", "", 1), "passage": None, "title": "Fruit"})),
        table("t.jsonl: 2 of 3 pairs have an empty query or passage", "t.jsonl", jsonl(ROWS[0], row("a", "", 1), row("b", " ", 1))),
        *(table("t.jsonl: 2 of 3 pairs have an empty query or passage", "t.jsonl", jsonl(ROWS[0], row("a", shown, 1), row(shown, "b", 1)))
          for shown in ("\u200b", "\ufeff \u200d", "\x00", "\ufe0f", "\u3164", "\x1f\xad")),
        table({("a", "\u200b\u2764\ufe0f"): 1}, "t.jsonl", jsonl(row("a", "\u200b\u2764\ufe0f", 1))),
        table("t.csv:2: the texts are numbers ('12')", "t.csv", f"query,passage,label\n12,{APPLES},1\n13,{TRAIN},1\n"),
        table("t.csv:2: the texts are numbers ('12')", "t.csv", "query,passage,label\na,12,1\nb,13.5,1\n"),
        table({("911", APPLES): 1, ("night train", TRAIN): 1}, "t.csv", f"query,passage,label\n911,{APPLES},1\nnight train,{TRAIN},1\n"),
        table("title is not a text but a int 5", "t.jsonl", jsonl(row("apple harvest", APPLES, 1, title=5))),
        table("passage is not a text but a list", "t.jsonl", jsonl({**ROWS[0], "passage": ["a"]})),
        table("query is not a text but a float 1.5", "t.jsonl", jsonl({**ROWS[0], "query": 1.5})),
        beir("title is not a text but a dict", {"corpus.jsonl": jsonl({"_id": "d1", "title": {}, "text": "x"})}),
    ],
    "ids": [
        table("t.parquet: row 1: the id 9007199254740994.0 is a decimal that has lost digits", "t.parquet",
              parquet({**ROWS[0], "query_id": 9007199254740994.0})),
        table(BOTH, "t.parquet", parquet({**ROWS[0], "query_id": 9007199254740993}, {**ROWS[1], "query_id": 1})),
        table("holds the ids '1' and '1.0'", "t.csv", f"query_id,query,passage,label\n1,a,{APPLES},1\n1.0,a,{TRAIN},1\n"),
        folder("holds the ids '1' and '1.0'", a__csv=f"doc_id,query,passage,label\n1,a,{APPLES},1\n", b__csv=f"doc_id,query,passage,label\n1.0,b,{APPLES},1\n"),
        three("passage 'D1' has no text in the corpus (there is 'd1')", "qid,pid,rel\nq1,D1,1\n"),
        table(BOTH, "t.jsonl", jsonl({**ROWS[0], "query_id": "q 1", "doc_id": 1}, {**ROWS[1], "query_id": "q2", "doc_id": 2.0})),
        table(BOTH, "t.jsonl", jsonl({**ROWS[0], "doc_id": None}, {**ROWS[1], "doc_id": float("nan")})),
        table(BOTH, "t.csv", f"query_id,query,doc_id,passage,label\nq,apple harvest,1,{APPLES},1\nq,night train,1,{TRAIN},1\n",
              ids="text"),
        table("with another text at", "t.csv", f"query_id,query,doc_id,passage,label\na,apple harvest,1,{APPLES},1\nb,night train,1,{TRAIN},1\n"),
        table("with another text at", "t.csv", f"query_id,query,passage,label\nq,apple harvest,{APPLES},1\nq,night train,{TRAIN},1\n"),
        table("with another instruction at", "t.jsonl",
              jsonl({**ROWS[0], "query_id": "q", "instruction": "a"}, {**ROWS[0], "query_id": "q", "instruction": "b"})),
        table("an id is a text or a number; this is a bool", "t.jsonl", jsonl({**ROWS[0], "doc_id": True})),
    ],
    "every file": [
        table(BOTH, "t.csv", gzip.compress(TABS.encode())),
        trec(BOTH, {"qrels.txt": gzip.compress(PLAIN.encode())}),
        *(table(f"{name}: is {what}", name, content) for name in ("t.csv", "t.tsv", "t.jsonl") for what, content in FOREIGN.items()),
        *(trec(f"qrels.txt: is {what}", {"qrels.txt": content}) for what, content in FOREIGN.items()),
        *(topics(content, f"topics.txt: is {what}") for what, content in (("a page of HTML", HTML), ("a pointer of Git LFS", LFS))),
        table("t.jsonl.gz: is a pointer of Git LFS", "t.jsonl.gz", LFS),
        table("t.jsonl.gz: not a whole gzip file (it is not compressed)", "t.jsonl.gz", jsonl(*ROWS)),
        *(table(f"its ending is none of .jsonl, .ndjson, .json, .csv, .tsv, .parquet ({remedy})", name, b"PK")
          for name, remedy in (("t.xls", "save the sheet as CSV in UTF-8"), ("t.ods", "save the sheet as CSV in UTF-8"), ("t.csv.zip", "unpack it, or use gzip"))),
        trec("c.jsonl: is a folder; name a file in it", {"c.jsonl/x": ""}, corpus="c.jsonl"),
        trec("no such file", corpus="none.tsv"),
        table("not a whole gzip file", "t.jsonl.gz", gzip.compress(jsonl(*ROWS * 500).encode())[:-20]),
        table("UTF-16 without its mark", "t.jsonl", jsonl(*ROWS).encode("utf-16-le")),
        table("its ending is none of", "t.xlsx", b"PK"),
        table(BOTH, "t.jsonl", b"\xef\xbb\xbf" + jsonl(*ROWS).replace("\n", "\r\n").encode()),
        table(BOTH, "t.JSONL", jsonl(*ROWS).encode("utf-16")),
    ],
}  # fmt: skip
