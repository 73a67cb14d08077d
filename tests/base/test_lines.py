"""Files that a user names: whatever is wrong with one is a line that says so, in every command that reads lines."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from distill.errors import DataError
from distill.evaluation.suites.base import rows_with
from distill.files.qrels import qrels_rows, read_qrels
from distill.files.rows import rows
from distill.files.runs import read_run
from distill.files.text import lines
from distill.files.values import grade_of
from distill.rerank.files import read_passages, read_queries

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
