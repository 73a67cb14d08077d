"""Runs from anywhere: trec_eval's order, the published figures, and wrong files named."""

from __future__ import annotations

import random
from pathlib import Path

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import ConfigError, DataError
from distill.evaluation.files import evaluate_files
from distill.evaluation.tables import latex_table, markdown_table, text_table
from distill.files.qrels import read_qrels
from distill.files.runs import ranked

near = st.builds(lambda base, nudge: base + nudge * 1e-9, st.sampled_from([0.0, 1.0, 16.5]), st.integers(-3, 3))


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d10", "d9", "é"]), st.one_of(near, st.floats(-50, 50)), min_size=2)
)
def test_our_order_is_trec_evals(scores: dict[str, float]) -> None:
    """Scores that differ by less than a 32-bit float can say are ties for trec_eval."""
    run = [ir_measures.ScoredDoc("q", doc, score) for doc, score in scores.items()]
    for rank, (doc, _) in enumerate(ranked(scores), 1):
        found = ir_measures.calc_aggregate([ir_measures.RR], [ir_measures.Qrel("q", doc, 1)], run)
        assert found[ir_measures.RR] == pytest.approx(1 / rank)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    rng = random.Random(0)
    qrels = write(
        tmp_path / "qrels.tsv", "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td1\t{1 + n % 2}\n" for n in range(60))
    )
    good = "".join(f"q{n} Q0 d1 1 2 a\nq{n} Q0 d2 2 1 a\n" for n in range(60))
    bad = "".join(f"q{n} Q0 d1 1 {rng.choice([0, 0, 3])} b\nq{n} Q0 d2 2 1 b\n" for n in range(60))
    found = evaluate_files(
        qrels, [write(tmp_path / "bad.trec", bad), write(tmp_path / "good.trec", good)], ["RR@10", "P@1"]
    )
    assert found.measures["good"]["RR@10"] == 1.0 and found.differences["good"]["P@1"][0] > 0
    lines = text_table(found).splitlines()
    assert lines[0].split() == ["system", "RR@10", "P@1"] and "1.0000*" in lines[2] and "*" not in lines[1]
    assert markdown_table(found).splitlines()[3].startswith("| good | 1.0000 [1.0000, 1.0000] (p < 0.001) |")
    latex = latex_table(found)
    assert r"good & \textbf{1.0000}$^{\dagger}$" in latex and latex.count(r" \\") == 3


def test_trec_and_beir_judgements_read_alike(tmp_path: Path) -> None:
    beir = write(tmp_path / "a.tsv", "query-id\tcorpus-id\tscore\nq\td\t-1\nq\te\t3\n")
    trec = write(tmp_path / "a.qrels", "q 0 d -1\nq 0 e 3\n")
    assert read_qrels(beir) == read_qrels(trec) == {"q": {"d": -1, "e": 3}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q d\n", "q.tsv:1: 2 columns"),
        ("q d high\n", "q.tsv:1: the label 'high' is not an integer"),
        ("q d 1\nq d 2\n", "q.tsv:2: the pair 'q', 'd' is judged twice"),
        ("", "q.tsv: is empty"),
        ("other d 1\n", "run.trec: has none of the queries"),
        ("q d 2\nq e 1\nr d 1\n", "the last column looks like ranks"),
        ("".join(f"q d{i} 0.{i}\n" for i in range(1, 30)), "q.tsv:13: 0.13 is no grade but looks like an id"),
        ("qid did score\n", "a header of qid, did, score; name the columns"),
        ("qid\tdocid\tscore\n" + "".join(f"q\td{i}\t0.{i}\n" for i in range(1, 30)), "score looks like a run's"),
        ("q d 1\n", r"nan.trec:1: the score 'nan' is not a number"),
    ],
)
def test_wrong_judgements_are_named(tmp_path: Path, text: str, message: str) -> None:
    run = write(tmp_path / "run.trec", "q Q0 d 1 1.0 t\n")
    other = write(tmp_path / "nan.trec", "q Q0 d 1 nan t\n")
    with pytest.raises(DataError, match=message):
        evaluate_files(write(tmp_path / "q.tsv", text), [run, other], ["RR@10"])


def test_published_figures_of_dl19(shared: Path) -> None:
    """As each README has them. RepLLaMA's file rounds its scores: with ties broken as trec_eval does
    it gives 0.7384, in the order of its rank column 0.7439."""
    folder = shared / "dl19-passage"
    runs = sorted((folder / "runs").glob("*.trec"))
    found = evaluate_files(folder / "qrels" / "test.tsv", runs, ["nDCG@10"]).measures
    values = [round(found[run.name.removesuffix(".trec")]["nDCG@10"], 4) for run in runs]
    assert values == [0.5058, 0.5216, 0.7210, 0.7035, 0.7384, 0.7308]


@pytest.mark.parametrize(
    ("judged", "ranked", "message"),
    [
        ("q 0 d1 1\n", "q Q0 D1 1 9 t\n", r"none of the run's passages is judged; .* \(first: D1, qrels: d1\)"),
        ("q 0 1 1\n", "q Q0 9 1 9 t\nq Q0 1.0 1 8 t\n", r"\(first: 1.0, qrels: 1\)"),
        ("q 0 a 1\nr 0 b 1\n", "q Q0 b 1 9 t\n", r"\(first: b, qrels: a\)"),
        ("1 0 a 1\n", "1.0 Q0 a 1 9 t\n", r"has none of the queries .* in case or form\? \(1.0, qrels: 1\)"),
    ],
)
def test_ids_of_another_form_are_an_error(judged: str, ranked: str, message: str, tmp_path: Path) -> None:
    qrels, run = write(tmp_path / "q.txt", judged), write(tmp_path / "run.trec", ranked)
    with pytest.raises(DataError, match="run.trec: .*" + message):
        evaluate_files(qrels, [run], ["AP"])


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("ERR@10", "ERR@10: takes grades up to 4, and there is 5; scale them, or take nDCG"),
        ('nDCG(dcg="exp-log2")@10', r"nDCG\(dcg='exp-log2'\)@10: takes grades up to 4, and there is 5"),
        ("Accuracy@3", "Accuracy@3: cannot be computed on these judgements and runs .ZeroDivisionError"),
        ("INST", "'INST' cannot be computed .it needs its parameter max_rel."),
    ],
)
def test_a_measure_that_fails_on_the_data_is_named(
    measure: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    qrels = write(tmp_path / "q.txt", "q1 0 d1 5\nq1 0 d2 0\nq2 0 d3 2\n")
    run = write(tmp_path / "r.txt", "q1 Q0 d1 1 9 t\nq1 Q0 d2 2 8 t\nq2 Q0 d3 1 5 t\n")
    with pytest.raises(ConfigError, match=message):
        evaluate_files(qrels, [run], ["AP", measure, "RR@10"])
    assert capfd.readouterr().err == ""
