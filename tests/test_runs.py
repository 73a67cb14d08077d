"""`distill runs`, `distill compare`, the finish line, and what the commands refuse in one line."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distill import store
from distill.cli import commands, main
from distill.cli.finish import finish
from distill.cli.runs import _flat
from distill.commands import EXAMPLES
from distill.errors import ConfigError
from distill.pipeline import refresh
from distill.pipeline.config import RunConfig
from distill.pipeline.execute import configured
from distill.pipeline.run import Run
from distill.report.files import RunFiles
from distill.results import Counts
from distill.stages import STAGES
from teacher.settings import TeacherSettings

QUERIES = 60


def a_run(folder: Path, gain: float = 0.0, first_query: int = 0, **settings: object) -> Path:
    """A run folder as a finished run leaves it, as far as these commands read it."""
    (folder / "evaluation").mkdir(parents=True)
    config = {"name": folder.name, "seed": 0, "sft": {"base": "scratch"}, **settings}
    (folder / "config.yaml").write_text(json.dumps(config))
    rng = random.Random(0)
    values = {f"q{number}": rng.random() / 2 for number in range(first_query, first_query + QUERIES)}
    systems = {"first_stage": values, "think": {query: value + gain for query, value in values.items()}}
    means = {name: {"nDCG@10": sum(rows.values()) / QUERIES} for name, rows in systems.items()}
    by_query = {name: {"nDCG@10": rows} for name, rows in systems.items()}
    detail = {"queries": dict.fromkeys(values, f"text {config['seed']}"), "per_query": by_query}
    store.write_json(folder / "evaluation" / "test.json", detail)
    filtered = {"kept": 1234, "by_filter": {"verdict_matches_label": {"rejected": 1}}}
    counts: dict[str, Counts] = {
        "trace": {"cost_usd": 1.5, "seconds": 60},
        "filter": filtered,
        "sft": {"students": {"think": {"steps": 1}}},
    }
    intervals = {"test": {"think": {"nDCG@10": [0.1, 0.9]}}}
    metrics = {"name": folder.name, "stages": counts, "evaluation": {"test": means}, "intervals": intervals}
    store.write_json(folder / "metrics.json", metrics)
    for stage in STAGES[:3]:
        (folder / stage.folder).mkdir(exist_ok=True)
        store.write_manifest(
            folder / stage.folder, stage.name, {}, {}, {"data_hash": stage.name, **counts.get(stage.name, {})}
        )
    return folder


def test_a_run_goes_on_from_its_own_configuration_whose_paths_stay_where_they_were(tmp_path: Path) -> None:
    """As `distill run RUN/config.yaml` reads it, and what refreshes a run reads of the earlier one."""
    config, folder = tmp_path / "mine" / "my.yaml", tmp_path / "runs" / "of mine"
    config.parent.mkdir()
    (config.parent / "own.py").write_text(
        "from filters.base import RowFilter\n\n\nclass Own(RowFilter):\n"
        "    def __call__(self, pair, trace):\n        return\n"
    )
    config.write_text(
        "{name: my, pairs: {source: table, path: mine.csv}, filters: [finished, 'own.py:Own'], teacher: {source: none}}"
    )
    made = configured(config, ["seed=3"], folder)
    folder.mkdir(parents=True)
    made.write_config()
    again = configured(folder / "config.yaml", [], None)
    assert (again.folder, again.base, again.config.seed) == (folder, config.parent, 3)
    assert again.config == made.config
    copy = tmp_path / "copy.yaml"
    shutil.copy(folder / "config.yaml", copy)
    of_copy = configured(copy, ["name=other"], None)
    assert (of_copy.folder.name, of_copy.base) == ("other", config.parent), "a copy is another run's"
    copy.write_text("# of mine\n# Paths are relative to somewhere\n" + config.read_text())
    with pytest.raises(ConfigError, match="copy.yaml: Paths .* somewhere: not a folder in quotes; without"):
        configured(copy, [], None)
    since = configured(config, [f"refresh={{since: {json.dumps(str(folder))}}}"], tmp_path / "next")
    before = refresh.earlier(since)
    assert before is not None and (before.base, before.config) == (config.parent, made.config)


def test_runs_lists_every_run_below_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(tmp_path / "runs" / "one", 0.3)
    a_run(tmp_path / "runs" / "two")
    (tmp_path / "runs" / "no-run").mkdir()
    assert main(["runs", str(tmp_path / "runs")]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "state", "kept", "best", "student", "USD", "age"] and len(lines) == 2
    assert all("3/6, next: dataset" in line and "1,234" in line and "1.50" in line for line in lines)
    assert "think nDCG@10" in lines[0] and "[0.100 to 0.900] on test" in lines[0]


def test_a_finished_dataset_with_nothing_begun_after_it_is_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(tmp_path / "one")
    (folder / "evaluation" / "test.json").unlink()
    (folder / "evaluation").rmdir()
    (folder / "dataset").mkdir()
    store.write_manifest(folder / "dataset", "dataset", {}, {}, {"data_hash": "dataset"})
    assert main(["runs", str(folder)]) == 0
    assert "dataset ready" in capsys.readouterr().out
    (folder / "students").mkdir()
    assert main(["runs", str(folder)]) == 0
    assert "4/6, next: sft" in capsys.readouterr().out


def test_a_run_says_what_it_does_before_it_reads_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("name: x\nnonsense: 1\n")
    for words, said in (([], True), (["--dry-run"], False)):
        assert main(["run", str(config), *words]) == 2
        shown = capsys.readouterr().err
        assert "nonsense is not a known key" in shown
        assert shown.startswith("reading the configuration and checking the data ...\n") == said


def test_a_stage_names_the_filters_that_rejected_and_the_preflights_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(RunConfig.model_construct(name="one", teacher=TeacherSettings(source="example")), tmp_path,
              tmp_path / "one.yaml")  # fmt: skip
    with run.stage("filter") as counts:
        counts |= {"kept": 3, "rejected": 9, "by_filter": {"parses": {"rejected": 2}, "length": {"rejected": 7}}}
    assert "\n  rejected by length 7, parses 2\n" in capsys.readouterr().err
    for unusable, said in ((174, False), (200, True)):
        with run.stage("trace") as counts:
            counts |= {"answered": 3, "unusable_tokens": unusable, "preflight_tokens": 174}
        shown = capsys.readouterr().err
        assert ("unusable tokens 200" in shown) == said and "preflight tokens 174" in shown
        assert "unusable tokens 174" not in shown


def test_a_runs_cost_is_that_of_every_stage_that_asked_and_not_known_without_a_price(tmp_path: Path) -> None:
    run = a_run(tmp_path / "one")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["stages"]["pairs"] = {"cost_usd": 0.5}
    metrics["holes"] = {name: {"asked": {"cost_usd": usd}} for name, usd in (("a", 0.7), ("b", 0.2))}  # of all so far
    store.write_json(run / "metrics.json", metrics)
    assert RunFiles(run).cost_usd == 1.5 + 0.5 + 0.7
    metrics["stages"]["evaluate"] = {"unpriced_tokens": 9}
    store.write_json(run / "metrics.json", metrics)
    assert RunFiles(run).cost_usd is None and RunFiles(run).unpriced_tokens == 9


def test_compare_shows_settings_and_tests_by_query(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = a_run(tmp_path / "one", 0.1), a_run(tmp_path / "two", 0.3, prompt="delimited")
    assert main(["compare", str(one), str(two)]) == 0
    shown = capsys.readouterr().out
    assert f"{QUERIES} queries that both have" in shown and "prompt" in shown and "delimited" in shown
    assert "seed" not in shown.partition("test:")[0], "what is alike is not listed"
    think = next(line for line in shown.splitlines() if "think" in line and "nDCG@10" in line)
    assert "+0.200" in think and think.rstrip().endswith("*")
    (first,) = [line for line in shown.splitlines() if "first_stage" in line]
    assert first == "the same for every query, of first_stage: nDCG@10", "no row of zeros"


def test_compare_of_runs_that_measure_alike_is_one_line_a_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(a_run(tmp_path / "one")), str(a_run(tmp_path / "two"))]) == 0
    shown = capsys.readouterr().out
    assert "the same for every query: nDCG@10" in shown and "0.000" not in shown and "p < 0.05" not in shown


def test_compare_names_the_items_of_lists() -> None:
    filters = ["finished", {"length": {"max_tokens": 200}}]
    sets = [{"name": "test", "depth": 20}]
    flat = dict(_flat({"filters": filters, "evaluation": {"sets": sets}}))
    assert flat == {"filters.finished": "on", "filters.length.max_tokens": 200, "evaluation.sets.test.depth": 20}


def test_the_finish_line_has_result_cost_and_next_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_run(tmp_path / "one", 0.3)
    finish(Run(RunConfig.model_construct(name="one"), folder, tmp_path / "one.yaml"))
    shown = capsys.readouterr().err
    assert "lifts nDCG@10 on test" in shown and "[" in shown and "cost 1.50 USD" in shown and "1 min 00 s" in shown
    assert f"open {folder}/report.html" in shown and "decide 1 dispute of" in shown
    assert f"distill serve --model {folder}/students/think --mode think   the student think over HTTP\n" in shown


@pytest.mark.parametrize("gain", [-0.1, 0.0])
def test_the_finish_line_recommends_no_student_that_the_report_would_not_ship(
    gain: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_run(tmp_path / "one", gain)
    finish(Run(RunConfig.model_construct(name="one"), folder, tmp_path / "one.yaml"))
    assert "to try it; the report's advice: ship none of these students" in capsys.readouterr().err


@pytest.mark.parametrize(("share", "said"), [(0.0999, False), (0.1, True)])
def test_a_student_without_verdicts_is_named(
    share: float, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = a_run(tmp_path / "one", 0.3), a_run(tmp_path / "two", 0.3)
    for folder, measured in ((one, (0.0, 0.9)), (two, (share, 0.25))):
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["evaluation"]["test"]["think"] |= dict(zip(("unparsable", "verdict_accuracy"), measured, strict=True))
        store.write_json(folder / "metrics.json", metrics)
    sentence = "think: 10 % of its answers have no verdict; train longer (sft.training.max_steps)"
    finish(Run(RunConfig.model_construct(name="two"), two, tmp_path / "two.yaml"))
    assert (sentence in capsys.readouterr().err.replace("\u00a0", " ")) == said
    assert main(["compare", str(one), str(two)]) == 0
    shown = capsys.readouterr().out.replace("\u00a0", " ")
    assert "verdict_accuracy of think: A 0.900, B 0.250" in shown and "unparsable of think: A 0.000, B 0.1" in shown
    assert (f"B, {sentence}" in shown) == said and "A, think" not in shown
    assert "first_stage: A" not in shown, "which has no answers"


def test_what_there_is_nothing_of_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = a_run(tmp_path / "one"), a_run(tmp_path / "other", first_query=1000)
    otherwise = a_run(tmp_path / "otherwise", seed=3)  # as the example's, whose queries are others by its seed
    (tmp_path / "empty").mkdir()
    config = Path(__file__).parents[1] / "configs" / "tiny.yaml"
    for words, message in (
        (["runs", str(tmp_path / "empty")], "holds no run"),
        (["runs", str(tmp_path / "nowhere")], "no such folder"),
        (["compare", str(one), str(tmp_path / "empty")], "is no run folder"),
        (["compare", str(one), str(other)], "share no evaluation set"),
        (
            ["compare", str(one), str(otherwise)],
            "60 queries of 60 that both runs have by id have another text",
        ),
        (["evaluate", "--seeds", str(one), str(other)], "share no query"),
        (["report", str(config), "--out", str(tmp_path / "none")], "no stage is done"),
    ):
        assert main(words) == 2, words
        printed = capsys.readouterr()
        assert message in printed.err and printed.err.count("\n") == 1
        assert not printed.out or words[0] == "compare", "which shows the settings all the same"
    assert not (tmp_path / "none").exists()


def test_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(EXAMPLES) == set(commands.commands)
    for name, example in EXAMPLES.items():
        assert example.split()[0] == name and main([name, "--help"]) == 0
        assert f"Example: distill {example}" in capsys.readouterr().out


def test_the_shells_completion_is_answered() -> None:
    environment = {**os.environ, "_DISTILL_COMPLETE": "bash_complete", "COMP_WORDS": "distill comp", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "distill.cli"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["plain,compare"]
