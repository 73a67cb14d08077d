"""A run that refreshes an earlier one: a real teacher over HTTP whose requests are counted, and real small students."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill import config, store
from distill.cli import main
from distill.example.folder import document_row, write_folder
from distill.example.server import running
from distill.example.teacher import TeacherSettings
from distill.example.world import WorldSettings, build
from distill.pairs.split import part_of_each
from distill.pipeline import refresh
from distill.pipeline.config import RunConfig
from distill.pipeline.execute import configured
from distill.records import Pair
from distill.results import as_json

WORLD = build(WorldSettings(queries={"train": 36}, relevant=1, near_misses=1, same_place=0, plain=1), 0)["train"]
TINY = {"vocab_size": 512, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 128}


def write_data(folder: Path, queries: int, changed: tuple[str, ...] = ()) -> None:
    """The world's first queries with all they have, as a BEIR folder; the texts of `changed` passages are new."""
    chosen = dict(list(WORLD.queries.items())[:queries])
    labels = [(query, doc, label) for query in chosen for doc, label in WORLD.qrels[query].items()]
    there = {doc for _, doc, _ in labels}
    corpus = [document_row(doc, title, text + (" Newly painted." if doc in changed else ""))
              for doc, (title, text, _) in WORLD.documents.items() if doc in there]  # fmt: skip
    write_folder(
        folder, {"corpus": corpus, "queries": [{"_id": q, "text": t} for q, (t, _) in chosen.items()]}, labels, "train"
    )


def answered(url: str) -> int:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/health", timeout=30) as page:
        return int(json.load(page)["answered"])


def metrics(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "metrics.json").read_text()))


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


class Months:
    """A folder with data, a configuration, the run of the first month, and the teacher's URL."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.first, self.second = folder / "runs" / "first", folder / "runs" / "second"
        self.config = folder / "my.yaml"
        price = {"input": 1.0, "output": 2.0}
        values = {
            "name": "mine",
            "pairs": {"source": "beir", "path": "data", "split": {"train": 0.7, "test": 0.3}, "qrels": "train",
                      "negatives": "none"},
            "teacher": {"endpoints": [{"base_url": url, "model": TeacherSettings().model, "price": price}],
                        "concurrency": 4},
            "filters": ["finished", "parses", "has_reasoning"],
            "sft": {"base": "scratch", "scratch": TINY, "targets": ["direct"], "max_length": 400,
                    "training": {"max_steps": 4, "per_device_train_batch_size": 8, "save_strategy": "no"}},
            "evaluation": {"sets": [{"name": "test", "source": "beir", "path": "data", "split": "test",
                                     "first_stage": "bm25", "depth": 5}]},
        }  # fmt: skip
        self.config.write_text(json.dumps(values))

    def run(self, out: Path, *more: str, command: str = "run") -> int:
        return main([command, str(self.config), "--out", str(out), *more])

    def refresh(self, *more: str) -> int:
        return self.run(self.second, "--since", str(self.first), *more)


@pytest.fixture(scope="module")
def first_month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Months]:
    """The first month's run, finished; the data have moved on."""
    folder = tmp_path_factory.mktemp("refresh")
    with running() as url:
        months = Months(folder, url)
        write_data(folder / "data", 26)
        assert months.run(months.first) == 0
        asked = [pair.doc_id for pair in store.read_rows(months.first / "pairs", Pair)]
        write_data(folder / "data", 36, changed=(asked[0], asked[-1]))
        yield months


@pytest.fixture
def months(first_month: Months) -> Iterator[Months]:
    """The same, without a second run."""
    yield first_month
    shutil.rmtree(first_month.second, ignore_errors=True)


@pytest.fixture(scope="module")
def pairs_of(first_month: Months) -> dict[str, set[str]]:
    """The ids of the first month's pairs."""
    return {"first": {pair.pair_id for pair in store.read_rows(first_month.first / "pairs", Pair)}}


def test_only_what_is_new_or_changed_is_asked(
    months: Months, pairs_of: dict[str, set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    before, untouched = answered(months.url), stamps(months.first)
    assert months.refresh("--dry-run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert answered(months.url) == before and not months.second.exists()
    status = months.refresh()
    said = capsys.readouterr().err
    pairs = list(store.read_rows(months.second / "pairs", Pair))
    new = {pair.pair_id for pair in pairs} - pairs_of["first"]
    old = {pair.pair_id for pair in pairs} & pairs_of["first"]
    assert len(old) > 20 and len(new) > 5
    assert answered(months.url) - before == len(new) + 1, "one for each new or changed pair, and the preflight"
    trace = metrics(months.second)["stages"]["trace"]
    assert (trace["reused"], trace["asked_now"], trace["samples_due"]) == (len(old), len(new), len(pairs))
    (row,) = [row for row in planned["stages"] if row["stage"] == "trace"]
    assert row["work"] == f"{len(new)} answers, {len(old)} reused from {months.first}" and row["usd"] > 0
    earlier = metrics(months.first)["stages"]["trace"]
    assert trace["cost_usd"] < earlier["cost_usd"] * 1.5 * len(new) / len(pairs_of["first"]), (
        "the old are not billed again"
    )
    assert stamps(months.first) == untouched, "the earlier run is only read"

    # the student goes on from the served one, and both are judged on the same queries
    job = json.loads((months.second / "students" / "direct" / "job.json").read_text())
    assert job["base"] == str(months.first / "students" / "direct")
    found = metrics(months.second)
    assert {"served", "direct"} <= set(found["evaluation"]["test"])
    assert status == refresh.EXIT[found["refresh"]["verdict"]] and f"(exit status {status})" in said
    assert found["refresh"]["served"] == found["evaluation"]["test"]["served"]["nDCG@10"]
    assert "New or served student" in (months.second / "report.html").read_text()

    # what was trained on stays out of the test
    trained = {pair.query for pair in store.read_rows(months.first / "pairs", Pair)}
    tested = set(json.loads((months.second / "evaluation" / "test.json").read_text())["queries"].values())
    tested_before = set(json.loads((months.first / "evaluation" / "test.json").read_text())["queries"].values())
    assert not tested & trained and tested_before < tested

    # a second call asks, trains and judges nothing, and says the same
    before = answered(months.url)
    assert months.refresh() == status and answered(months.url) == before
    assert capsys.readouterr().err.count("unchanged") == 6


def test_the_verdict_follows_the_measures(months: Months) -> None:
    assert months.refresh() in refresh.EXIT.values()
    run = configured(months.config, (f"refresh.since={months.first}",), months.second)
    path = months.second / "evaluation" / "test.json"
    detail = json.loads(path.read_text())
    values = detail["per_query"]
    for served, new, wanted in ((0.2, 0.9, "promote"), (0.9, 0.2, "keep"), (0.5, 0.5, "unsure")):
        for system, value in (("served", served), ("direct", new)):
            values[system]["nDCG@10"] = dict.fromkeys(values[system]["nDCG@10"], value)
        path.write_text(json.dumps(detail))
        result = refresh.verdict(run)
        assert result is not None and result.verdict == wanted
        assert result.difference == pytest.approx(new - served)
        stored = metrics(months.second) | {"refresh": as_json(result)}
        (months.second / "metrics.json").write_text(json.dumps(stored))
        from distill.cli.finish import finish

        assert finish(run) == {"promote": 0, "keep": 10, "unsure": 11}[wanted]


def test_students_may_begin_afresh(months: Months) -> None:
    before = answered(months.url)
    assert months.refresh("refresh.students=afresh", "sft.scratch.layers=2") in refresh.EXIT.values()
    job = json.loads((months.second / "students" / "direct" / "job.json").read_text())
    assert job["base"] == str(months.second / "students" / "untrained")
    assert answered(months.url) - before < 40, "answers are reused all the same"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("prompt=delimited", "prompt: is 'delimited', and 'rank1' in"),
        ("sft.scratch.layers=2", "sft.scratch: is"),
        ("sft.targets=[think]", "refresh.served: 'direct' of"),
        ("refresh.served=think", "has no system 'think', but direct"),
        ("evaluation.sets=[]", "evaluation.sets: is empty"),
        ("ablate={seed: [0, 1]}", "leave ablate out"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    months: Months, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    before = answered(months.url)
    assert months.refresh(override) == 2
    assert words in capsys.readouterr().err and answered(months.url) == before
    assert not (months.second / "traces").exists()


def test_a_wrong_earlier_run_is_refused(months: Months, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert months.run(months.second, "--since", str(tmp_path)) == 2
    assert "is no run folder" in capsys.readouterr().err
    assert months.run(months.first, "--since", str(months.first)) == 2
    assert "is this run's own folder" in capsys.readouterr().err
    unfinished = tmp_path / "unfinished"
    shutil.copytree(months.first, unfinished)
    (unfinished / "students" / "manifest.json").unlink()
    assert months.run(months.second, "--since", str(unfinished)) == 2
    assert "has no evaluated students" in capsys.readouterr().err


def test_a_test_of_queries_that_were_trained_on_is_refused(months: Months, capsys: pytest.CaptureFixture[str]) -> None:
    before = answered(months.url)
    trained = {pair.query_id: pair.query for pair in store.read_rows(months.first / "pairs", Pair)}
    query_id, query = next(iter(trained.items()))
    shutil.copytree(months.folder / "data", months.folder / "other", dirs_exist_ok=True)
    labels = [(query_id, doc, label) for doc, label in WORLD.qrels[query_id].items()]
    rows = "".join(f"{q}\t{d}\t{label}\n" for q, d, label in labels)
    (months.folder / "other" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    sets = "evaluation.sets=[{name: other, source: beir, path: other, split: test}]"
    assert months.refresh(sets) == 2
    said = capsys.readouterr().err
    assert "evaluation.sets, other: 1 query of 1 were trained on" in said and query in said
    assert answered(months.url) == before, "nothing is asked for a comparison that says nothing"


def test_the_guides_settings_are_taken(months: Months) -> None:
    guide = (Path(__file__).parents[1] / "docs" / "refresh.md").read_text("utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", guide, re.M | re.S)
    raw = json.loads(months.config.read_text()) | yaml.safe_load(text)
    settings = config.validate(RunConfig, raw, months.config)
    assert settings.refresh is not None and settings.refresh.since == str(months.folder / "runs" / "2026-11")
    for verdict, status in refresh.EXIT.items():
        assert re.search(rf"^\| {verdict} \|.* \| {status} \|$", guide, re.M)


def test_known_queries_stay_in_their_part_and_new_ones_are_drawn() -> None:
    old = {f"q{n}": f"where is house {n}" for n in range(40)}
    shares = {"train": 0.7, "test": 0.3}
    parts = part_of_each(old, shares, 0)
    known = {old[query]: part for query, part in parts.items()}
    new = {**{f"a{n}": f"what costs boat {n}" for n in range(60)}, **old}
    again = part_of_each(new, shares, 0, known=known)
    assert {query: again[query] for query in old} == parts
    drawn = [again[query] for query in new if query not in old]
    assert (drawn.count("train"), drawn.count("test")) == (42, 18)
    assert {query: part_of_each(new, shares, 0)[query] for query in old} != parts, "without them the draw is another"
    # a new query of the same words is in the part of the old one, and train wins
    same = {"x": "House 3, where is it?", **old}
    assert part_of_each(same, shares, 0, known={old["q3"]: "test"})["x"] == "test"
