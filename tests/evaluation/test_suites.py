"""Evaluation sets by their layout: the published figures, what is measured, wrong files named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill.errors import ConfigError, DataError
from distill.evaluation import suites
from distill.evaluation.evaluate import summarise
from distill.evaluation.settings import SetSettings
from distill.pipeline.sets import first_stage, suite_of
from distill.pipeline.sources import collection_of  # noqa: F401 (the run below is as little as it reads)


class OneRun:
    """As much of a run as reading a set needs."""

    def __init__(self, base: Path) -> None:
        from distill.pairs.settings import PairSettings

        self.base, self.folder = base, base
        self.config = SimpleNamespace(pairs=PairSettings(path="."), seed=0, refresh=None)


def measured(base: Path, **settings: Any) -> dict[str, float]:
    """The first stage's figures on a set."""
    each = SetSettings(name="one", **settings)
    run: Any = OneRun(base)
    suite = suite_of(run, each)
    found = {q: dict(rows) for q, rows in first_stage(run, each, suite).items()}
    return dict(summarise({"first_stage": suite.values(found, ["nDCG@10"])}, 0).measures["first_stage"])


def write(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def beir(folder: Path, queries: dict[str, str], qrels: list[tuple[str, str, int]], **instructions: str) -> Path:
    """A folder of five passages."""
    words = ["red fox", "grey owl", "red deer", "brown bear", "no fox here"]
    write(folder / "corpus.jsonl", [{"_id": f"d{n}", "text": text} for n, text in enumerate(words)])
    rows = [{"_id": q, "text": text, "instruction": instructions.get(q, "")} for q, text in queries.items()]
    write(folder / "queries.jsonl", rows)
    (folder / "qrels").mkdir()
    lines = "".join(f"{q}\t{d}\t{grade}\n" for q, d, grade in qrels)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return folder


# --- the figures in the shared data's own descriptions ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "kind", "split", "figures"),
    [
        ("scifact", "beir", "test", {"nDCG@10": 0.676}),
        ("cranfield", "beir", "test", {"nDCG@10": 0.491}),
        ("condaqa-pairs", "nevir", "dev", {"pairwise_accuracy": 0.009}),
        ("condaqa-instruct", "followir", "test", {"nDCG@10.og": 0.822, "nDCG@10.changed": 0.628, "p-MRR": 0.047}),
    ],
)
def test_bm25_gives_the_published_figures(
    shared: Path, folder: str, kind: str, split: str, figures: dict[str, float]
) -> None:
    found = measured(shared, path=folder, kind=kind, split=split)
    assert {name: found[name] for name in figures} == pytest.approx(figures, abs=0.005)


def test_a_ranking_by_the_labels_has_the_published_p_mrr(shared: Path) -> None:
    each = SetSettings(name="one", path="condaqa-instruct", kind="followir")
    run: Any = OneRun(shared)
    suite = suite_of(run, each)
    assert suite.candidates is not None
    labels = {  # ties in the order of the list
        q: {d: suite.qrels[q].get(d, 0) - 1e-6 * at for at, d in enumerate(docs)}
        for q, docs in suite.candidates.items()
    }
    found = suite.values(labels, [])["p-MRR"]
    assert math.fsum(found.values()) / len(found) == pytest.approx(0.767, abs=0.0005)


def test_measures_on_the_shared_data_are_mtebs(shared: Path) -> None:
    """BM25's rankings of the two contrastive sets, by mteb's own functions."""
    mteb = pytest.importorskip("mteb._evaluators.retrieval_metrics", reason="mteb is not installed")
    run: Any = OneRun(shared)
    each = SetSettings(name="one", path="condaqa-instruct", kind="followir")
    suite = suite_of(run, each)
    found = {q: dict(rows) for q, rows in first_stage(run, each, suite).items()}
    ours = {name: math.fsum(v.values()) / len(v) for name, v in suite.values(found, []).items()}
    changed = {}
    for line in (shared / "condaqa-instruct" / "qrel_diff.jsonl").read_text().splitlines():
        row = json.loads(line)
        changed[row["query-id"]] = row["corpus-ids"]
    og = {q: r for q, r in found.items() if q.endswith("-og")}
    new = {q: r for q, r in found.items() if q.endswith("-changed")}
    assert ours["p-MRR"] == pytest.approx(mteb.calculate_pmrr(og, new, changed), abs=1e-9)
    named = {q: q.replace("-og", "_og").replace("-changed", "_changed") for q in suite.qrels}  # mteb splits at "_"
    qrels = {named[q]: dict(labels) for q, labels in suite.qrels.items()}
    scores = mteb.calculate_retrieval_scores({named[q]: r for q, r in found.items()}, qrels, [10])[0]
    assert ours["robustness@10"] == pytest.approx(mteb.robustness_at_10(qrels, {}, scores), abs=1e-9)

    each = SetSettings(name="two", path="condaqa-pairs", kind="nevir", split="dev")
    suite = suite_of(run, each)
    found = {q: dict(rows) for q, rows in first_stage(run, each, suite).items()}
    accuracy = suite.values(found, [])["pairwise_accuracy"]
    qrels = {q: dict(labels) for q, labels in suite.qrels.items()}
    scores = mteb.calculate_retrieval_scores(found, qrels, [1])[0]
    tied = {q.split("_")[0] for q, r in found.items() if len(set(r.values())) == 1}
    untied = {q: labels for q, labels in qrels.items() if q.split("_")[0] not in tied}
    theirs = mteb.paired_accuracy(untied, found, scores)
    ours_untied = [value for pair, value in accuracy.items() if pair not in tied]
    assert len(ours_untied) > 100 and sum(ours_untied) / len(ours_untied) == pytest.approx(theirs, abs=1e-9)
    assert all(accuracy[pair] == 0 for pair in tied)


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_excluded_passages_are_in_no_list(tmp_path: Path) -> None:
    beir(tmp_path, {"q": "red fox"}, [("q", "d2", 1)])
    write(tmp_path / "excluded_ids.jsonl", [{"query-id": "q", "corpus-ids": ["d0"]}])
    each, run = SetSettings(name="one", path=".", kind="bright", depth=2), OneRun(tmp_path)
    suite = suite_of(run, each)  # type: ignore[arg-type]
    lists = first_stage(run, each, suite)["q"]  # type: ignore[arg-type]
    assert [doc for doc, _ in lists] == ["d4", "d2"]  # still two of them: the list is cut after
    write(tmp_path / "excluded_ids.jsonl", [{"query-id": "q", "corpus-ids": ["d2"]}])
    with pytest.raises(DataError, match="'d2' is excluded for query 'q' and judged relevant"):
        suite_of(run, each)  # type: ignore[arg-type]


def test_robustness_is_by_query_over_its_instructions(tmp_path: Path) -> None:
    labels = [("1_a", "d0", 1), ("1_b", "d4", 1)]
    beir(tmp_path, {"1_a": "red fox", "1_b": "red fox"}, labels, **{"1_a": "a red one", "1_b": "a red one"})
    found = measured(tmp_path, path=".", kind="instructir", self_retrieval=True)  # a passage is "red fox", too
    assert found["robustness@10"] < found["nDCG@10"] < 1


def test_a_users_run_orders_a_sets_own_lists(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [{"id": "7", "q1": "a?", "q2": "b?", "doc1": "x", "doc2": "y"}])
    run_file = tmp_path / "mine.trec"
    run_file.write_text("7_q1 Q0 7_doc1 1 2 t\n7_q2 Q0 7_doc2 1 2 t\n7_q2 Q0 7_doc1 2 1 t\n")
    assert measured(tmp_path, path=".", kind="nevir", first_stage="mine.trec") == {"pairwise_accuracy": 1.0}
    run_file.write_text("7_q1 Q0 7_doc1 1 2 t\n7_q2 Q0 7_doc1 1 2 t\n")
    assert measured(tmp_path, path=".", kind="nevir", first_stage="mine.trec") == {"pairwise_accuracy": 0.0}


def test_pairs_in_csv_read_alike(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text('id,q1,q2,doc1,doc2\n7,"a, really?",b?,x,y\n')
    suite = suites.read("nevir", tmp_path, "test", lambda: None)  # type: ignore[arg-type, return-value]
    assert suite.queries == {"7_q1": "a, really?", "7_q2": "b?"} and suite.candidates == {
        "7_q1": ["7_doc1", "7_doc2"],
        "7_q2": ["7_doc1", "7_doc2"],
    }


PAIR = {"id": "7", "q1": "a?", "q2": "b?", "doc1": "x", "doc2": "y"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**PAIR, "doc2": ""}], "test.jsonl:1: doc2 is empty"),
        ([PAIR, PAIR], "test.jsonl:2: the id '7' is there twice"),
        ([{"id": "7", "q1": "a?"}], "test.jsonl:1: no 'q2'"),
        ([], "test.jsonl: is empty"),
        (None, "test.jsonl: no such file"),
    ],
)
def test_wrong_pairs_are_named(tmp_path: Path, rows: list[Any] | None, message: str) -> None:
    if rows is not None:
        write(tmp_path / "test.jsonl", rows)
    with pytest.raises(DataError, match=message):
        measured(tmp_path, path=".", kind="nevir")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("qrel_diff.jsonl", {"query-id": "q", "corpus-ids": ["d9"]}, "qrel_diff.jsonl:1: passage 'd9' has no text"),
        ("qrel_diff.jsonl", {"query-id": "z", "corpus-ids": ["d0"]}, "query 'z' has no 'z-og'"),
        ("top_ranked.jsonl", {"query-id": "q-og", "corpus-ids": ["d0"]}, "no list for query 'q-changed'"),
    ],
)
def test_wrong_instruction_sets_are_named(tmp_path: Path, name: str, row: Any, message: str) -> None:
    beir(tmp_path, {"q-og": "red", "q-changed": "red"}, [("q-og", "d0", 1), ("q-changed", "d0", 0)])
    write(tmp_path / "qrel_diff.jsonl", [{"query-id": "q", "corpus-ids": ["d0"]}])
    write(tmp_path / name, [row])
    with pytest.raises(DataError, match=message):
        measured(tmp_path, path=".", kind="followir")


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        {"source": "mteb", "kind": "nevir", "path": "NevIR"},
        {"path": "x", "kind": "nevir", "queries": 3},
        {},
    ):
        with pytest.raises(ValueError):
            SetSettings(name="one", **wrong)


# --- through mteb -----------------------------------------------------------------------------------------------------


def task(main_score: str, **data: Any) -> Any:
    """A loaded task as mteb's are, without the hub."""
    metadata = SimpleNamespace(name="Made", main_score=main_score, dataset={"path": "none"})
    return SimpleNamespace(metadata=metadata, dataset={"default": {"test": {"top_ranked": None, **data}}})


def test_tasks_of_mteb_become_suites() -> None:
    from distill.evaluation.suites.hub import of_task

    corpus = [{"id": "1_d1", "title": "A", "text": "fox"}, {"id": "1_d2", "title": "", "text": "owl"}]
    queries = [{"id": "1_q1", "text": "fox?"}, {"id": "1_q2", "text": "owl?", "instruction": "birds"}]
    labels = {"1_q1": {"1_d1": 1}, "1_q2": {"1_d2": 1}}
    data = {"corpus": corpus, "queries": queries, "relevant_docs": labels}
    pairs = of_task(task("paired_accuracy", **data), "test")
    assert pairs.passages["1_d1"] == "A fox" and pairs.candidates == {
        "1_q1": ["1_d1", "1_d2"],
        "1_q2": ["1_d1", "1_d2"],
    }
    both = {q: {"1_d1": 1.0 + (q == "1_q1"), "1_d2": 1.5} for q in labels}
    assert pairs.values(both, ["nDCG@10"]) == {"pairwise_accuracy": {"1": 1.0}}
    robust = of_task(task("robustness_at_10", **data), "test")
    assert robust.instructions == {"1_q2": "birds"} and set(robust.values(both, [])) == {"robustness@10"}
    many = [{"id": f"d{n}", "text": "x"} for n in range(9)]
    top = {"1_q1": [f"d{n}" for n in range(8)], "1_q2": [f"d{n}" for n in range(9)]}
    shown = {"corpus": many, "queries": queries, "relevant_docs": {"1_q1": {"d1": 1}, "1_q2": {"d1": 1}}}
    all_but = of_task(task("ndcg_at_10", **shown, top_ranked=top), "test")
    assert all_but.candidates is None and all_but.excluded["1_q1"] == {"d8"} and not all_but.excluded["1_q2"]
    with pytest.raises(ConfigError, match=r"there are default \(test\)"):
        of_task(task("ndcg_at_10", **data), "train")


def test_a_task_of_mteb_with_decimal_labels_or_two_texts_of_an_id() -> None:
    from distill.evaluation.suites.hub import of_task

    corpus = [{"id": "d1", "title": None, "text": "fox"}, {"id": "d2", "title": "", "text": "owl"}]
    queries = [{"id": "q", "text": "fox?"}]
    made = task("ndcg_at_10", corpus=corpus, queries=queries, relevant_docs={"q": {"d1": 0.5, "d2": 1.0}})
    suite = of_task(made, "test")
    assert suite.passages["d1"] == "fox" and suite.qrels == {"q": {"d1": 0.5, "d2": 1}}
    assert suite.values({"q": {"d2": 2.0, "d1": 1.0}}, ["nDCG@10", "RR@10"])["nDCG@10"]["q"] == 1.0
    corpus.append({"id": "d1", "title": "", "text": "another"})
    with pytest.raises(DataError, match="corpus, row 3: the id 'd1' is there twice"):
        of_task(task("ndcg_at_10", corpus=corpus, queries=queries, relevant_docs={"q": {"d1": 1}}), "test")


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        ("NevIR", {"pairwise_accuracy"}),
        ("InstructIR", {"robustness@10", "nDCG@10"}),
        ("Core17InstructionRetrieval", {"p-MRR", "robustness@10", "nDCG@10.og", "nDCG@10.changed", "nDCG@10"}),
        ("SciFact", {"nDCG@10"}),
    ],
)
def test_real_tasks_say_what_is_measured(name: str, measures: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """mteb's own task objects, with rows of ours in the place of what the hub holds."""
    mteb = pytest.importorskip("mteb", reason="mteb is not installed")
    from datasets import Dataset

    from distill.evaluation.suites import hub

    monkeypatch.setattr(hub, "_changed", lambda task: {"1": ["1_d1"]})
    ends = {"NevIR": ("_q1", "_q2"), "InstructIR": ("_a", "_b")}.get(name, ("-og", "-changed"))
    task = mteb.get_task(name)
    rows = [{"id": f"1{end}", "text": f"fox {end}", "instruction": "birds"} for end in ends]
    task.dataset = {
        "default": {
            "test": {
                "corpus": Dataset.from_list([{"id": f"1_d{n}", "title": "", "text": "x"} for n in range(1, 6)]),
                "queries": Dataset.from_list(rows),
                "relevant_docs": {f"1{ends[0]}": {"1_d1": 1}, f"1{ends[1]}": {"1_d2": 1}},
                "top_ranked": {f"1{end}": ["1_d1", "1_d2"] for end in ends},
            }
        }
    }
    suite = hub.of_task(task, "test")
    run = {f"1{end}": {"1_d1": 1.0, "1_d2": 0.5} for end in ends}
    assert set(suite.values(run, ["nDCG@10"])) == measures and suite.candidates is not None


def test_an_unknown_task_is_named() -> None:
    pytest.importorskip("mteb", reason="mteb is not installed")
    from distill.evaluation.suites.hub import read

    with pytest.raises(ConfigError, match="'NevIRR' is no task that mteb knows"):
        read("NevIRR", "test")
