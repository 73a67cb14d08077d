"""A run's evaluation for mteb: its own loaders read results and student, and its own loop gives the same scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill import store
from distill.cli import main
from distill.files.runs import Rankings, write_run
from distill.records import make_pair
from distill.rerank.reranker import Reranker
from distill.texts import passage_text
from tests.rerank.tiny_students import load_file

mteb = pytest.importorskip("mteb", reason='needs the extra "mteb"')

Make = Callable[..., Path]
TEXTS = (
    "a red fox runs",
    "an owl, by night",
    "old maps of Visby",
    "the ferry's hours",
    "who wrote it?",
    "bees  find home",
)
CORPUS = [{"id": f"d{n}", "title": f"Part {n}" if n % 2 else "", "text": text} for n, text in enumerate(TEXTS)]
QUERIES = [{"id": f"q{n}", "text": text} for n, text in enumerate(("red fox", "when does the ferry run?", "bees"))]
QRELS = {"q0": {"d0": 1, "d2": 1}, "q1": {"d3": 1}, "q2": {"d5": 1}}
STAGES: dict[str, Rankings] = {
    "bm25": {"q0": {"d0": 3.0, "d1": 2.0, "d2": 1.0}, "q1": {"d3": 2.0, "d4": 1.0, "d0": 0.5}, "q2": {}},
    "dense": {q["id"]: {"d5": 3.0, "d3": 2.0, "d2": 1.0} for q in QUERIES},
}
SETS = [
    {"name": "sci", "source": "mteb", "path": "SciFact", "depth": 3},
    {"name": "sci-dense", "source": "mteb", "path": "SciFact", "first_stage": {"hybrid": "owner/dense"}, "depth": 3},
    {"name": "nev", "source": "mteb", "path": "NevIR"},
    {"name": "ms", "source": "mteb", "path": "MSMARCO", "depth": 3},
    {"name": "later", "source": "mteb", "path": "NFCorpus"},
    {"name": "own", "path": "mine"},
]


def load_data(task: Any, *_: Any, **__: Any) -> None:
    """Rows of ours in the place of what the hub holds; NevIR's with lists of its own."""
    from datasets import Dataset

    parts: dict[str, Any] = {"corpus": Dataset.from_list(CORPUS), "queries": Dataset.from_list(QUERIES)}
    parts |= {"relevant_docs": QRELS, "top_ranked": None}
    if task.metadata.name == "NevIR":
        ids = {"q0": "1-1_q1", "q1": "1-1_q2"}
        parts["queries"] = Dataset.from_list([{**row, "id": ids[row["id"]]} for row in QUERIES[:2]])
        parts["relevant_docs"] = {"1-1_q1": {"d0": 1}, "1-1_q2": {"d3": 1}}
        parts["top_ranked"] = {query: ["d0", "d3"] for query in parts["relevant_docs"]}
    task.dataset = {"default": {"test": parts}}
    task.data_loaded = True


@pytest.fixture
def run(students: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose evaluation holds what the student gives for the lists, as the stage writes it."""
    for name in ("SciFact", "NevIR", "MSMARCO"):
        monkeypatch.setattr(type(mteb.get_task(name)), "load_data", load_data)
    folder = tmp_path / "runs" / "tried"
    student, evaluation = folder / "students" / "direct", folder / "evaluation"
    student.mkdir(parents=True)
    for path in students("rank1", "direct").iterdir():
        (student / path.name).write_bytes(path.read_bytes())
    store.write_manifest(student, "sft:direct", {}, {}, {})
    evaluation.mkdir()
    store.write_manifest(evaluation, "evaluate", {}, {}, {})
    settings = {
        "name": "tried",
        "sft": {"base": "scratch"},
        "dataset": {"licence": "MIT"},
        "evaluation": {"sets": SETS},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    texts = {row["id"]: passage_text(row["title"], row["text"]) for row in CORPUS}
    queries = {row["id"]: row["text"] for row in QUERIES} | {"1-1_q1": "red fox", "1-1_q2": "when does the ferry run?"}
    own: Rankings = {query: {"d0": 2.0, "d3": 1.0} for query in ("1-1_q1", "1-1_q2")}
    reranker = Reranker(str(student), "direct", "transformers", dtype="float32")
    for name, lists in (("sci", STAGES["bm25"]), ("ms", STAGES["bm25"]), ("sci-dense", STAGES["dense"]), ("nev", own)):
        pairs = [make_pair(q, d, queries[q], texts[d]) for q, docs in lists.items() for d in docs]
        ranking: dict[str, dict[str, float]] = {query: {} for query in lists}
        for row in reranker.predict(pairs):
            ranking[row.query_id][row.doc_id] = row.margin
        write_run(evaluation / f"{name}.first_stage.trec", lists, "first_stage")
        write_run(evaluation / f"{name}.direct.trec", ranking, "direct")
        asked = {"direct": {"systems": {"direct": {"mode": "direct", "pairs_per_s": 2.0}}}}
        store.write_json(evaluation / f"{name}.modes.json", asked)
        store.write_json(
            evaluation / f"{name}.json", {"left_out": {"passages without a text": 1} if name == "nev" else {}}
        )
    return folder


def test_mteb_reads_the_results_back_and_gives_the_same_by_itself(run: Path, tmp_path: Path, capsys) -> None:
    """The model loads by its record, and mteb's own loop over each first stage's lists has the scores of the file."""
    out = tmp_path / "out"
    assert main(["export", str(run), "--to", "mteb", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "mteb reads 4 results back" in printed
    cache = mteb.ResultCache(out)
    model = load_file(out / "model_meta.py").MODEL
    assert (model.name, model.license, model.max_tokens) == ("local/tried-direct", "mit", 1024)
    found = cache.load_results(models=[model.name], load_experiments="match_name").model_results
    results = {(row.experiment_name, task.task_name): task for row in found for task in row.task_results}
    assert set(results) == {
        (None, "SciFact"),
        ("first_stage_hybrid-dense, depth 3", "SciFact"),
        (None, "NevIR"),
        (None, "MSMARCO"),
    }
    folders = {None: "bm25", "first_stage_hybrid-dense, depth 3": "dense"}
    results.pop((None, "MSMARCO"))
    for (experiment, name), result in results.items():
        task = mteb.get_task(name)
        if name == "SciFact":
            task.convert_to_reranking(
                out / "predictions" / folders[experiment].replace("dense", "hybrid-dense"), top_k=3
            )
            assert result.evaluation_time == len([d for q in STAGES[folders[experiment]].values() for d in q]) / 2
        again = mteb.evaluate(model.load_model(), task, cache=None, show_progress_bar=False).task_results[0]
        mine, its = result.scores["test"][0], again.scores["test"][0]
        assert mine["main_score"] == pytest.approx(its["main_score"], abs=1e-5), name
        assert set(mine) == set(its) and mine.get("previous_results_model_meta") == its.get(
            "previous_results_model_meta"
        )
    (meta,) = out.glob("results/local__tried-direct/*/model_meta.json")
    assert json.loads(meta.read_text())["n_parameters"] > 1000


def test_what_the_evaluation_cannot_fill_is_said(run: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["export", str(run), "--to", "mteb", "--model", "direct", "--out", str(out)]) == 0
    printed, readme = capsys.readouterr().out, (out / "README.md").read_text()
    for said in (
        "set own comes from source beir, not from a task of mteb",
        "set later was not evaluated with student direct",
        "set nev: 1 passages without a text",
        "task MSMARCO: split dev, default, which its leaderboard takes",
    ):
        assert said in printed and f"- {said}" in readme.replace("\\_", "_")
    assert "training_datasets, languages" in readme
    assert "| SciFact | test, default | direct | hybrid-dense, depth 3 | ndcg_at_10 |" in readme.replace("\\_", "_")
    assert main(["push", str(out), "me/results"]) == 2
    assert "go to mteb's leaderboard" in capsys.readouterr().err


def test_a_run_without_a_task_of_mteb_is_refused(run: Path, tmp_path: Path, capsys) -> None:
    (run / "config.yaml").write_text(yaml.safe_dump({"evaluation": {"sets": [SETS[-1]]}}))
    assert main(["export", str(run), "--to", "mteb", "--out", str(tmp_path / "out")]) == 2
    assert "no ranking of a task of mteb; set own comes from source beir" in capsys.readouterr().err
    assert main(["export", str(run / "students" / "direct"), "--to", "mteb", "--out", str(tmp_path / "out")]) == 2
    assert "come from an evaluation; name the run" in capsys.readouterr().err and not (tmp_path / "out").exists()
