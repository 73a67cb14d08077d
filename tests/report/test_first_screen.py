"""What the first screen says: the headline, what to ship, how far to trust it, and quality against cost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from fabricate import fabricate
from test_report import Page, page_of

from distill import store
from distill.records import Pair
from distill.report import mistakes
from distill.report.choice import choice, lights
from distill.report.evaluated import EvaluationSet, evaluation_sets
from distill.report.files import RunFiles


def made(folder: Path, gain: float = 0.9, queries: int = 60, **measures: dict[str, float]) -> Path:
    """A run whose systems have these measures in addition; `direct` stands for the one of that name."""
    run = fabricate(folder, queries=queries, gain=gain)
    metrics = store.read_json(run / "metrics.json")
    for system, values in measures.items():
        metrics["evaluation"]["test"].setdefault(system, {}).update(values)
    store.write_json(run / "metrics.json", metrics)
    return run


def same(run: Path, left: str, right: str) -> None:
    """Give two systems the same values, query by query."""
    metrics, detail = store.read_json(run / "metrics.json"), store.read_json(run / "evaluation" / "test.json")
    detail["per_query"][left] = detail["per_query"][right]
    metrics["evaluation"]["test"][left]["nDCG@10"] = metrics["evaluation"]["test"][right]["nDCG@10"] - 1e-6
    store.write_json(run / "metrics.json", metrics)
    store.write_json(run / "evaluation" / "test.json", detail)


def main_of(run: Path) -> tuple[RunFiles, EvaluationSet]:
    files = RunFiles(run)
    return files, evaluation_sets(files)[0]


def test_the_headline_is_not_of_the_set_that_something_was_chosen_on(tmp_path: Path) -> None:
    run = made(tmp_path)
    metrics, config = store.read_json(run / "metrics.json"), yaml.safe_load((run / "config.yaml").read_text())
    for key in ("evaluation", "intervals"):  # the development set is evaluated first
        metrics[key] = {"chosen": metrics[key]["test"], "abroad": metrics[key]["test"]}
    config["evaluation"]["calibrate_on"] = "chosen"
    for name in metrics["evaluation"]:
        shutil.copy(run / "evaluation" / "test.json", run / "evaluation" / f"{name}.json")
    store.write_json(run / "metrics.json", metrics)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert [each.name for each in evaluation_sets(RunFiles(run))] == ["abroad", "chosen"]
    text = page_of(run).text
    assert " on abroad from " in text and text.count("what calibration and fusion were chosen on") == 1


def test_the_cheapest_within_the_interval_is_shipped_and_the_price_said(tmp_path: Path) -> None:
    run = made(tmp_path, direct={"pairs_per_s": 400.0}, think={"pairs_per_s": 10.0})
    assert choice(*main_of(run)).system == "think"
    same(run, "direct", "think")
    shipped = choice(*main_of(run))
    assert shipped.system == "direct" and "at 1/40 of its cost" in shipped.reason
    assert "30 ms a query against 1.2 s" in shipped.reason and "USD" not in shipped.reason
    metrics = store.read_json(run / "metrics.json")
    metrics["stages"]["evaluate"] |= {"devices": 2, "usd_per_hour": 3.6}
    store.write_json(run / "metrics.json", metrics)
    _, each = main_of(run)
    # 12 passages a query at 400 pairs/s of two devices: 0.06 s of one device, at 3.6 USD an hour
    assert each.seconds_a_query("direct") == pytest.approx(0.06)
    assert each.usd_a_thousand("direct") == pytest.approx(0.06)


def test_a_fused_system_takes_as_long_as_its_student(tmp_path: Path) -> None:
    run = made(tmp_path, **{"think.fused": {"nDCG@10": 0.5}})
    _, each = main_of(run)
    assert each.seconds_a_query("think.fused") == each.seconds_a_query("think") != None  # noqa: E711


def test_nothing_is_shipped_that_the_first_stage_may_equal(tmp_path: Path) -> None:
    shipped = choice(*main_of(made(tmp_path, gain=0.0)))
    assert shipped.system is None and "No student is clearly better than the first stage" in shipped.reason


@pytest.mark.parametrize(("judged", "said"), [(0.17, True), (0.8, True), (0.81, False)])
def test_from_a_fifth_unjudged_on_the_headline_says_so(judged: float, said: bool, tmp_path: Path) -> None:
    only = "nDCG(judged_only=True)@10"
    systems: dict[str, Any] = {"first_stage": {only: 0.652}, "think": {only: 0.846, "Judged@10": judged}}
    run = made(tmp_path, gain=-0.5, **systems)
    text = page_of(run).text
    headline = "Not decided on test: " + f"{100 * (1 - judged):.0f} % of the top of Think was never judged."
    assert (headline in text) == said and ("Decide nothing from these figures yet" in text) == said
    assert ("thinking first has 0.846 against 0.652 of the first stage" in text) == said
    if said:
        assert (
            f"distill evaluate {run}/config.yaml --judge-unjudged" in text
            and "No student beats the first stage" in text
        )
        metrics = store.read_json(run / "metrics.json")
        metrics["holes"] = {"test": {"graded": 9}}
        store.write_json(run / "metrics.json", metrics)
        assert "Not decided" not in page_of(run).text


def test_few_judged_passages_a_query_and_an_unclear_difference_are_said(tmp_path: Path) -> None:
    only = "nDCG(judged_only=True)@10"
    run = made(tmp_path, think={only: 0.9, "Judged@10": 0.1}, first_stage={only: 0.88})
    detail = store.read_json(run / "evaluation" / "test.json")
    queries = list(detail["queries"])
    for system, values in (("first_stage", (0.8, 0.9)), ("think", (0.9, 0.8))):
        detail["per_query"][system][only] = {query: values[at % 2] for at, query in enumerate(queries)}
    detail["qrels"] = {query: {"a": 1} for query in queries}
    store.write_json(run / "evaluation" / "test.json", detail)
    text = page_of(run).text
    assert "no clear difference). With 1.0 judged passages a query that says little." in text


@pytest.mark.parametrize("source", ["labels", "import", "none"])
def test_no_teacher_that_cannot_answer_is_advised(source: str, tmp_path: Path) -> None:
    run = made(tmp_path, think={"Judged@10": 0.17})
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    settings["teacher"] = {"source": source}
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    text = page_of(run).text
    assert "--judge-unjudged" not in text and "This run has no teacher that could grade it" in text
    judged = source == "labels"
    assert ("judged pairs were kept for training" in text) == judged
    for words in ("reasoning traces were kept", "teacher: true", "teacher cost", "What the teacher said", "as billed"):
        assert (words not in text) == judged, words


def test_lights_tell_queries_and_leaks(tmp_path: Path) -> None:
    few = {light.name: light.level for light in lights(*main_of(made(tmp_path / "few", queries=12)))}
    assert few == {"Queries": "bad", "Unjudged": "good", "Seeds": "warn", "Leaks": "good"}
    run = made(tmp_path / "leak", queries=120)
    pair = next(pair for pair in store.read_rows(run / "pairs", Pair) if pair.split == "train")
    detail = store.read_json(run / "evaluation" / "test.json")
    detail["queries"] = {query: f"query {query}" for query in detail["queries"]} | {"t0": f" {pair.query.upper()}"}
    store.write_json(run / "evaluation" / "test.json", detail)
    leak = lights(*main_of(run))
    assert [light.level for light in leak] == ["good", "good", "warn", "bad"]
    assert "Also in the training pairs: 1 of 120 test queries." in leak[-1].text


def test_the_chart_has_every_system_both_axes_and_the_pages_colours(tmp_path: Path) -> None:
    run = made(tmp_path, **{"think.fused": {"nDCG@10": 0.5}})
    metrics = store.read_json(run / "metrics.json")
    metrics["stages"]["evaluate"]["usd_per_hour"] = 2.5
    store.write_json(run / "metrics.json", metrics)
    html = (page := page_of(run)) and (run / "report.html").read_text(encoding="utf-8")
    chart = html[html.index('<svg class="drawn"') : html.index('<div class="choice">')]
    text = Page(chart).text
    for wanted in ("Think ", "Think · fused 0.500", "Direct ", "Untrained ", "First stage ", "USD per 1,000 queries"):
        assert wanted in text
    assert "var(--c3)" in chart and "style=" not in chart and "#" not in chart and "time of a query" in text
    assert page.tags.count("svg") > 1


def test_the_first_screen_says_what_to_look_at(tmp_path: Path) -> None:
    run = made(tmp_path, gain=0.3)
    files, each = main_of(run)
    gain = each.difference("first_stage", "think")
    disputes = files.counts("filter").by_filter["verdict_matches_label"].rejected
    text = page_of(run).text
    assert gain is not None and gain.losses > 1 and disputes > 1
    assert f"{gain.losses} queries became worse than the first stage" in text
    assert f"Teacher and label differ in {disputes} traces: distill view {run} shows them first." in text
    assert "20 pairs that think ranks worst" in text and "20 pairs of 10 queries, the worst of Think against" in text


def test_the_pairs_to_read_first_are_the_misplaced_ones_of_the_worst_queries(tmp_path: Path) -> None:
    run = made(tmp_path, queries=6)
    detail = store.read_json(run / "evaluation" / "test.json")
    detail["relevant_from"] = 2  # grade 1 of the fabricated labels is not relevant then
    query, other = list(detail["queries"])[:2]
    detail["qrels"] = {query: {f"{query}d0": 2, f"{query}d1": 1}, other: {f"{other}d0": 2}}
    for system, best in (("first_stage", (1.0, 1.0)), ("think", (0.1, 0.9))):
        detail["per_query"][system]["nDCG@10"] = dict(zip((query, other), best, strict=True))
    store.write_json(run / "evaluation" / "test.json", detail)
    lists = {"first_stage": ("0", "1", "2"), "think": ("1", "2", "0")}
    for system, order in lists.items():
        lines = [f"{q} Q0 {q}d{doc} {at} {9 - at} x\n" for q in (query,) for at, doc in enumerate(order, 1)]
        lines += [f"{other} Q0 {other}d{doc} {doc + 1} {9 - doc} x\n" for doc in range(3)]
        (run / "evaluation" / f"test.{system}.trec").write_text("".join(lines), encoding="utf-8")
    files = RunFiles(run)
    found = mistakes.section(files, evaluation_sets(files))
    assert found is not None and found["system"] == "think"
    shown = [(pair["places"], pair["grade"], pair["relevant"]) for pair in found["pairs"]]
    # the other query has its relevant passage first: nothing to read
    assert shown == [("rank 3, first stage 1", "grade 2", True), ("rank 1, first stage 2", "grade 1", False)]
    assert found["pairs"][0]["change"] == "−0.900 nDCG@10"


def test_columns_of_zeros_are_left_out(tmp_path: Path) -> None:
    run = made(tmp_path, think={"unfinished": 0.0, "looped": 0.25, "no_end": 0.0}, direct={"unfinished": 0.0})
    text = page_of(run).text
    tables = text[text.index("Cost and health") : text.index("What this evaluation cannot say")]
    assert "looped" in tables and "unfinished" not in tables and "no end" not in tables and "time of a query" in tables


def test_commands_are_code_and_not_raw_back_ticks(tmp_path: Path) -> None:
    assert "`" not in page_of(made(tmp_path, think={"Judged@10": 0.5})).text


def test_a_configured_measure_is_found_by_the_name_that_it_has_where_relevance_begins_at_2(tmp_path: Path) -> None:
    run = made(tmp_path)
    metrics = store.read_json(run / "metrics.json")
    for measures in metrics["evaluation"]["test"].values():
        measures["AP(rel=2)"] = measures.pop("nDCG@10")
    store.write_json(run / "metrics.json", metrics)
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    settings["evaluation"]["measures"] = ["AP", "RR@10"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert main_of(run)[1].primary == "AP(rel=2)"
