"""What is written as a run or as qrels is read by every command and by trec_eval, whatever the ids hold."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import pytest
import pytrec_eval

from distill.cli import main
from distill.errors import ConfigError, DataError
from distill.files.qrels import read_qrels, whole_grades, write_qrels
from distill.files.runs import read_run, write_run
from distill.statistics.measures import per_query

RUN = {"q 1": {"d 1": 2.0, "100%20d": 1.5, "d\u00a03": 1.0}, "q2": {"d2": 0.25}}
QRELS = {"q 1": {"d 1": 1, "100%20d": 2}, "q2": {"d2": 1}}


def test_ids_with_blanks_come_back_and_trec_eval_reads_them(tmp_path: Path) -> None:
    write_run(tmp_path / "a.trec", RUN, "my tag")
    write_qrels(tmp_path / "a.qrels", QRELS)
    assert read_run(tmp_path / "a.trec") == RUN and read_qrels(tmp_path / "a.qrels") == QRELS
    with open(tmp_path / "a.trec") as run, open(tmp_path / "a.qrels") as qrels:
        theirs = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), {"ndcg"}).evaluate(
            pytrec_eval.parse_run(run)
        )
    ours = per_query(QRELS, RUN, ["nDCG"])["nDCG"]
    assert [theirs[q]["ndcg"] for q in ("q%201", "q2")] == pytest.approx([ours["q 1"], ours["q2"]], abs=1e-9)
    found = ir_measures.calc_aggregate(
        [ir_measures.nDCG], ir_measures.read_trec_qrels(str(tmp_path / "a.qrels")),
        ir_measures.read_trec_run(str(tmp_path / "a.trec")),
    )  # fmt: skip
    assert found[ir_measures.nDCG] == pytest.approx(sum(ours.values()) / 2, abs=1e-9)


def test_files_without_blanks_are_as_ever(tmp_path: Path) -> None:
    write_run(tmp_path / "a.trec", {"q": {"50%": 1.0}}, "tag")
    assert (tmp_path / "a.trec").read_text() == "q Q0 50% 1 1.0 tag\n"
    assert read_run(tmp_path / "a.trec") == {"q": {"50%": 1.0}}
    write_qrels(tmp_path / "a.qrels", {"q": {"50%": 1}})
    assert (tmp_path / "a.qrels").read_text() == "q 0 50% 1\n"


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("q 1\tQ0\td 1\t1\t2.5\tmy tag\n", {"q 1": {"d 1": 2.5}}),
        ("q Q0  d 1 2.5 t\r\n", {"q": {"d": 2.5}}),
        ("q\tQ0\td\t1\t2.5\tt\n".encode("utf-16").decode("utf-16"), {"q": {"d": 2.5}}),
    ],
)
def test_runs_are_split_at_tabs_where_there_are_any(tmp_path: Path, text: str, run: object) -> None:
    (tmp_path / "a.trec").write_text(text)
    assert read_run(tmp_path / "a.trec") == run
    with pytest.raises(DataError, match="a.txt:1: 3 columns; a TREC run has 6"):
        (tmp_path / "a.txt").write_text("q\td\t1\n")
        read_run(tmp_path / "a.txt")


def test_the_command_measures_ids_with_blanks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a.trec", RUN, "a")
    (tmp_path / "q.tsv").write_text("query-id\tcorpus-id\tscore\nq 1\td 1\t1\nq2\td2\t1\n")
    out = tmp_path / "out.json"
    files = ["--qrels", str(tmp_path / "q.tsv"), "--run", str(tmp_path / "a.trec"), "--json", str(out)]
    assert main(["evaluate", *files, "--measure", "RR"]) == 0
    assert json.loads(out.read_text())["measures"]["a"]["RR"] == 1.0


def test_decimal_gains(tmp_path: Path) -> None:
    """nDCG by hand; measures of relevance count a grade of at least 1."""
    (tmp_path / "q.tsv").write_text("q\ta\t0.5\nq\tb\t1.25\n")
    qrels, run = read_qrels(tmp_path / "q.tsv"), {"q": {"a": 2.0, "b": 1.0}}
    from math import log2

    by_hand = (0.5 + 1.25 / log2(3)) / (1.25 + 0.5 / log2(3))
    values = per_query(qrels, run, ["nDCG@10", "RR", "P@2", "Judged@2"])
    assert values["nDCG@10"]["q"] == pytest.approx(by_hand, abs=1e-9)
    assert (values["RR"]["q"], values["P@2"]["q"], values["Judged@2"]["q"]) == (0.5, 0.5, 1.0)
    with pytest.raises(ConfigError, match="needs whole grades"):
        per_query(qrels, run, ["ERR@10"])
    with pytest.raises(DataError, match=r"q.tsv: the label 0.5 of 'q', 'a' is not an integer"):
        whole_grades(qrels, "q.tsv")
