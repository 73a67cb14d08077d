"""Files that a user names: whatever is wrong with one is a line that says so, in every command that reads lines."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from distill.errors import DataError
from distill.evaluation.suites.base import rows_with
from distill.files.gaps import Gaps
from distill.files.qrels import qrels_rows, read_qrels
from distill.files.rows import rows
from distill.files.runs import ranked, read_run
from distill.files.text import lines
from distill.files.values import grade_of, similar_id
from distill.rerank.files import read_lists, read_passages, read_queries

WHOLE = gzip.compress(b'{"_id": "a", "text": "b"}\n' * 1000)  # nothing of it can be read from its first 15 bytes
READERS = {
    "lines": lambda path: list(lines(path)),
    "qrels": read_qrels,
    "run": read_run,
    "miner's run": lambda path: read_run(path, {"q"}),
    "suite": lambda path: list(rows_with(path, ("_id",))),
    "queries": read_queries,
    "passages": lambda path: read_passages(path, {"a"}),
    "rows": lambda path: list(rows(path)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", b"not compressed", "not a whole gzip file"),
        ("a.jsonl.gz", WHOLE[:15], "not a whole gzip file"),
        ("a.jsonl.gz", WHOLE[:12] + b"\xff" * 30, "not a whole gzip file"),
        ("a.csv.gz", WHOLE[:15], "not a whole gzip file"),
        ("a.jsonl", None, "is a folder; name a file in it"),
        ("a.jsonl", b'{"_id": "\xff"}\n', "not UTF-8"),
    ],
    ids=["no gzip", "torn gzip", "damaged gzip", "torn table", "folder", "not UTF-8"],
)
def test_what_cannot_be_read_is_one_line_with_the_file(
    reader: str, name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        READERS[reader](path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_lines_are_numbered_as_an_editor_numbers_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\n  \ntwo \x85 words\n")
    path.write_bytes(path.read_bytes().replace(b"\x85", "\u2028".encode()))
    assert list(lines(path)) == [(1, "one"), (4, "two \u2028 words")]
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert list(lines(tmp_path / "b.txt.gz")) == list(lines(path))


def test_a_missing_file_says_what_it_should_have_been(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no.txt: no such file; name a list of words"):
        list(lines(tmp_path / "no.txt", "name a list of words"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        list(lines(path))


@pytest.mark.parametrize("label", ["--5", "²", "yes", "nan", "inf", "1_0", "1,5", "9" * 5000, "1e99"])
def test_labels_that_are_no_numbers(label: str, tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text(f"q\td\t{label}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"qrels.tsv:1: the label .* is not an integer"):
        read_qrels(path)


def test_decimal_labels_are_gains_in_evaluation_and_refused_for_pairs(tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text("q\td\t1.5\nq\te\t1.0\n", encoding="utf-8")
    assert read_qrels(path) == {"q": {"d": 1.5, "e": 1}} and isinstance(read_qrels(path)["q"]["e"], int)
    with pytest.raises(DataError, match=r"qrels.tsv:1: the label '1.5' is not an integer"):
        [grade_of(grade, where) for where, _, _, grade in qrels_rows(path)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 d 1 nan x\n", "the score 'nan' is not a number"),
        ("q Q0 d 1 1.0 x\nq Q0 d 2 0.5 x\n", "passage 'd' is there twice for query 'q'; keep one"),
    ],
)
def test_both_readers_of_runs_refuse_what_has_no_order(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.trec"
    path.write_text(text)
    for read in (read_run, lambda path: read_run(path, {"q"})):
        with pytest.raises(DataError, match=message):
            read(path)


def test_rerank_reads_corpora_and_topics_as_training_does(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("d1\tFoxes\tThey live in dens.\nd2\t\tOwls hunt.\n")
    assert read_passages(tmp_path / "c.tsv", {"d1", "d2"}) == {"d1": "Foxes They live in dens.", "d2": "Owls hunt."}
    (tmp_path / "topics.xml").write_text('<topics><topic number="1"><query>a &lt; b</query></topic></topics>')
    assert read_queries(tmp_path / "topics.xml") == {"1": ("a < b", None)}
    (tmp_path / "q.tsv").write_text("q1\tfoxes\tonly red ones\n")
    assert read_queries(tmp_path / "q.tsv") == {"q1": ("foxes", "only red ones")}


def test_rerank_reads_lists_as_every_stage_does_though_their_lines_are_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mixed.trec"
    rows = [(f"q{n % 3}", f"d{n}", n * 7 % 11 / 10) for n in range(30)]
    path.write_text("".join(f"{query} Q0 {doc} 1 {score} t\n" for query, doc, score in rows))
    found = list(read_lists(path))
    assert found == [(query, [doc for doc, _ in ranked(scores)]) for query, scores in sorted(read_run(path).items())]
    path.write_text("q Q0 a 1 2 t\nr Q0 b 1 2 t\nq Q0 c 2 3 t\nq Q0 a 3 1 t\n")
    with pytest.raises(DataError, match=r"mixed.trec:4: passage 'a' is there twice for query 'q'; keep one"):
        list(read_lists(path))
    path.write_text("q Q0 a 1 2 t\nr Q0 b 1 2 t\nq Q0 c 2 3 t\n")
    assert list(read_lists(path)) == [("q", ["c", "a"]), ("r", ["b"])]
    assert "in 1 of 2 lists the ranks contradict the scores (first: q at line 3)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("nan", "the score 'nan' is not a number"),
        ("1_0", "the score '1_0' is not a number"),
        ("inf", "the score 'inf' is infinite"),
        ("-Infinity", "the score '-Infinity' is infinite"),
        ("1e400", "the score '1e400' is infinite"),
        ("1e39", "the score '1e39' is infinite as a 32-bit float"),
    ],
)
def test_scores_that_have_no_place_in_an_order(tmp_path: Path, score: str, message: str) -> None:
    (tmp_path / "r.trec").write_text(f"q Q0 d 1 2.5e0 t\nq Q0 e 2 {score} t\n")
    with pytest.raises(DataError, match=f"r.trec:2: {message}"):
        read_run(tmp_path / "r.trec")


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        ("q Q0 d2 1 1 t\nq Q0 d1 2 9 t\nr Q0 d3 1 5 t\n", "q at line 2"),
        ("r Q0 d3 1 5 t\nq Q0 d1 1 0.1 t\nq Q0 d2 2 0.9 t\n", "q at line 3"),
        ("q Q0 d1 9.1 1 t\nq Q0 d2 8.1 2 t\nr Q0 d3 5 1 t\n", "q at line 1"),
        ("q Q0 d1 1 0 t\nq Q0 d2 2 0 t\nr Q0 d3 1 0 t\n", "q at line 2"),
        ("q Q0 d1 x 9 t\nq Q0 d2 2 8 t\nr Q0 d3 1 5 t\n", "q at line 1"),
    ],
    ids=["other order", "distances", "swapped", "all equal", "no number"],
)
def test_ranks_against_scores_are_said(
    rows: str, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.trec").write_text(rows)
    read_run(tmp_path / "r.trec")
    read_run(tmp_path / "r.trec")  # by another stage: said once
    assert capsys.readouterr().err == (
        f"{tmp_path / 'r.trec'}: in 1 of 2 lists the ranks contradict the scores (first: {first}); "
        "the scores are used, as trec_eval does\n"
    )


@pytest.mark.parametrize(
    "rows",
    [
        "q Q0 d1 1 9 t\nq Q0 d2 2 8 t\n",
        "q Q0 d2 2 8 t\nq Q0 d1 1 9 t\n",
        "q Q0 d1 0 9 t\nq Q0 d2 0 8 t\nq Q0 d3 0 10 t\n",  # no ranks
        "q Q0 d1 1.0 9 t\nq Q0 d2 2.0 8 t\n",
        "q Q0 d1 1 16777216 t\nq Q0 d2 2 16777217 t\n",  # one 32-bit float
        "q Q0 d1 1 9 t\nq Q0 d2 2 9 t\nq Q0 d3 3 8 t\n",  # two equal ones
        "q Q0 d2 1 0 t\nq Q0 d1 2 0 t\n",
    ],
)
def test_ranks_that_agree_are_not(rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.trec").write_text(rows)
    assert read_run(tmp_path / "r.trec") and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q1,0,d1,1", "columns with commas between them; put tabs in their place"),
        ("query-id,corpus-id,score", "columns with commas between them"),
        ('{"query-id":"q1","corpus-id":"d1","score":1}', "JSON; write its columns with tabs or blanks"),
        ("q1", "1 column; a line is query"),
    ],
)
def test_judgements_of_another_format_are_called_so(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text(row + "\n")
    with pytest.raises(DataError, match=f"q.txt:1: {message}"):
        read_qrels(tmp_path / "q.txt")


@pytest.mark.parametrize(
    ("key", "there", "similar"),
    [("1.0", "1", "1"), ("1", "1.0", "1.0"), ("51", "051", "051"), ("051", "51", "51"), ("D1", "d1", "d1"),
     ("d1", "D1", "D1"), ("7", "8", None), ("0", "", None)],
)  # fmt: skip
def test_an_id_in_another_form_is_named(key: str, there: str, similar: str | None) -> None:
    assert similar_id(key, {there}) == similar
    gaps = Gaps(0.0)
    assert gaps.lacks("labels", "query", key, False, "r.txt:1", "t.txt", {there})
    with pytest.raises(DataError, match="r.txt:1: query") as caught:
        gaps.check()
    assert (f"(there is {similar!r})" in str(caught.value)) == (similar is not None)
