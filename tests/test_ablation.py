"""Ablations: which variants there are, what they share, that a killed one goes on; one whole grid in a slow test."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.cli import main
from distill.config import load
from distill.errors import ConfigError, DistillError
from distill.pipeline.ablation import _link, run_variants
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run
from distill.pipeline.stage import Stage, run_stages
from distill.pipeline.variants import configured, variants
from distill.records import Pair

BASE: dict[str, Any] = {
    "name": "one",
    "pairs": {"source": "example"},
    "teacher": {"source": "example"},
    "filters": ["finished", "parses", {"length": {"max_tokens": 200}}],
    "sft": {"targets": ["think", "direct"]},
}


def config_file(folder: Path, ablate: Any) -> Path:
    path = folder / "own.yaml"
    path.write_text(json.dumps({**BASE, "ablate": ablate}))
    return path


def run_of(folder: Path, ablate: Any) -> Run:
    path = config_file(folder, ablate)
    run = Run(load(RunConfig, path), folder / "run", path, quiet=True)
    run.folder.mkdir(exist_ok=True)
    return run


def test_every_combination_is_a_variant(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"sft.seed": [0, 1], "pairs.negatives": [{"miner": "random", "per_query": 2}, None]})
    found = variants(run.config)
    assert [v.label for v in found] == [
        f"seed {seed}, negatives {miner}" for seed in (0, 1) for miner in ("miner random per_query 2", "None")
    ]
    assert len({v.name for v in found}) == 4 and variants(run.config) == found
    made = configured(run, found[0], []).config
    assert made.sft.seed == 0 and made.pairs.negatives.miners[0].miner == "random" and made.ablate == []
    assert made.teacher.journal == str(run.folder.resolve() / "traces" / "journal")


def test_each_filter_left_out(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"filters": "leave_one_out"})
    found = variants(run.config)
    assert [v.label for v in found] == ["without finished", "without parses", "without length"]
    chain = configured(run, found[1], []).config.filters.model_dump(mode="json")
    assert [next(iter(entry)) if isinstance(entry, dict) else entry for entry in chain] == ["finished", "length"]


def test_targets_and_sizes_are_students_of_one_variant(tmp_path: Path) -> None:
    run = run_of(tmp_path, [{"sft.targets": ["think", "direct"], "sft.train_size": [100, None]}, {"sft.seed": [3]}])
    grid, seed = variants(run.config)
    students = configured(run, grid, []).config.sft.targets
    assert [(s.name, s.train_size) for s in students] == [
        ("think_100", 100), ("think", None), ("direct_100", 100), ("direct", None),
    ]  # fmt: skip
    assert [s.name for s in configured(run, seed, []).config.sft.targets] == ["think", "direct"]


@pytest.mark.parametrize(
    ("ablate", "message"),
    [
        (
            {"filters": "leave_two_out"},
            "ablate.filters: is a list of the values that the setting takes, or leave_one_out",
        ),
        ({"sft.seed": 3}, "ablate.sft.seed: is a list of the values"),
        ({"sft.train_size": [0]}, "ablate.sft.train_size: is a list of numbers of pairs"),
        ({"sft.sead": [3]}, "own.yaml, ablate, sead 3: sft.sead is not a known key; did you mean 'seed'?"),
        ({"sft.targets": ["thimk"]}, "did you mean 'think'"),
    ],
)
def test_impossible_variants_are_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ablate: Any, message: str
) -> None:
    assert main(["run", str(config_file(tmp_path, ablate)), "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_overrides_reach_the_variants_and_the_dry_run_lists_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_file(tmp_path, {"sft.seed": [1, 2]})
    run = Run(load(RunConfig, path, ["sft.max_length=99"]), tmp_path / "run", path)
    assert configured(run, variants(run.config)[0], ["sft.max_length=99"]).config.sft.max_length == 99
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "ablation: seed 1\nablation: seed 2" in capsys.readouterr().out


# --- sharing, with stages that only count -----------------------------------------------------------------------------


class Line:
    """Two stages: `kept` hangs on the filters, `students` on kept and the seed; `made` says what was really done."""

    def __init__(self, fail_at: int = -1) -> None:
        self.made: list[str] = []
        self.fail_at = fail_at

    def stages(self, config: Any) -> tuple[Stage, ...]:
        def make(name: str) -> Any:
            def work(run: Run) -> dict[str, Any]:
                if len(self.made) == self.fail_at:
                    raise DistillError("killed")
                self.made.append(f"{name} {run.folder.name}")
                folder = run.folder / ("kept" if name == "filter" else "students")
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "rows").write_text(run.config.filters.model_dump_json())
                return {"data_hash": run.config.filters.model_dump_json()}

            return work

        filters = Stage(
            "filter", "kept", (), lambda run: run.config.filters.model_dump(), lambda run: {}, make("filter")
        )
        sft = Stage(
            "sft", "students", ("kept",), lambda run: run.config.sft.seed,
            lambda run: {"kept": run.data_hash("kept")}, make("sft"),
        )  # fmt: skip
        return filters, sft


GRID = [{"sft.seed": [0, 1]}, {"filters": [["finished"], ["finished", "parses", {"length": {"max_tokens": 200}}]]}]


def finished(tmp_path: Path, line: Line) -> Run:
    run = run_of(tmp_path, GRID)
    run_stages(run, line.stages(run.config), ("filter", "sft"))
    return run


def test_nothing_equal_is_made_twice(tmp_path: Path) -> None:
    line = Line()
    run = finished(tmp_path, line)
    run_variants(run, line.stages, [])
    # The run itself, then two seeds over its kept traces, then one other chain; the last chain is the run's own.
    assert [each.split()[0] for each in line.made] == ["filter", "sft", "sft", "sft", "filter", "sft"]
    folders = sorted((run.folder / "ablation").glob("*/"))
    assert len(folders) == 4 and all(store.read_manifest(each / "students") for each in folders)
    before = list(line.made)
    run_variants(run, line.stages, [])
    assert line.made == before


def test_a_stopped_grid_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = Line()
    run_variants(finished(tmp_path, whole), whole.stages, [])
    other = tmp_path / "other"
    other.mkdir()
    line = Line(fail_at=3)
    run = finished(other, line)
    with pytest.raises(DistillError, match="killed"):
        run_variants(run, line.stages, [])
    line.fail_at = -1
    run_variants(run, line.stages, [])
    assert line.made == whole.made


def test_a_linked_folder_is_whole_and_its_journal_stays(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "journal").mkdir()
    for name in ("manifest.json", "deep/rows", "journal/0.jsonl"):
        (tmp_path / "a" / name).write_text(name)
    _link(tmp_path / "a", tmp_path / "b")
    assert {str(p.relative_to(tmp_path / "b")) for p in (tmp_path / "b").rglob("*") if p.is_file()} == {
        "manifest.json", "deep/rows",
    }  # fmt: skip
    assert os.path.samefile(tmp_path / "a" / "deep" / "rows", tmp_path / "b" / "deep" / "rows")
    store.write_rows(tmp_path / "b", [], Pair)
    assert (tmp_path / "a" / "manifest.json").read_text() == "manifest.json"  # rewriting one leaves the other


def test_ablate_must_be_a_mapping_or_a_list_of_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ablate"):
        load(RunConfig, config_file(tmp_path, "filters"))


# --- the table --------------------------------------------------------------------------------------------------------


def evaluated(run: Run, luck: float, tokens: float = 40.0) -> Run:
    """Give a run an evaluation: a student that is better than the first stage by `luck` on every query."""
    first = {f"q{n}": 0.3 + n / 100 for n in range(30)}
    think = {query: value + luck for query, value in first.items()}
    (run.folder / "evaluation").mkdir(parents=True)
    per_query = {"first_stage": {"nDCG@10": first}, "think": {"nDCG@10": think}}
    store.write_json(run.folder / "evaluation" / "test.json", {"per_query": per_query})
    metrics = run.metrics()
    metrics.evaluation = {
        "test": {"first_stage": {"nDCG@10": 0.4}, "think": {"nDCG@10": 0.5, "tokens_per_pair": tokens}}
    }
    metrics.stages = {"sft": {"students": {"think": {"seconds": 12.0}}}, "dataset": {"examples": {"think": 300}}}
    run.write_metrics(metrics)
    return run


def test_the_table_tests_against_the_run_and_tells_the_spread_over_seeds(tmp_path: Path) -> None:
    from distill.pipeline import ablation_table

    config_file(tmp_path, [{"sft.seed": [1, 2, 3]}, {"filters": [["finished"]]}])
    settings = json.loads((tmp_path / "own.yaml").read_text())
    settings["evaluation"] = {"sets": [{"name": "test", "source": "example"}]}
    (tmp_path / "own.yaml").write_text(json.dumps(settings))
    run = Run(load(RunConfig, tmp_path / "own.yaml"), tmp_path / "run", tmp_path / "own.yaml", quiet=True)
    evaluated(run, 0.1)
    planned = variants(run.config)
    luck = (0.05, 0.1, 0.2, 0.3)
    runs = [(v, evaluated(configured(run, v, []), each)) for v, each in zip(planned, luck, strict=True)]
    assert ablation_table.stale(run, runs)
    ablation_table.write(run, runs, {planned[0].name: ["trace"]})
    assert not ablation_table.stale(run, runs)
    found = json.loads((run.folder / "ablation" / "ablation.json").read_text())
    test = found["sets"]["test"]
    assert list(test["measures"]) == [
        "first_stage", "as configured: think", "seed 1: think", "seed 2: think", "seed 3: think",
        "filters finished: think",
    ]  # fmt: skip
    assert (
        test["baseline"] == "as configured: think"
        and test["tests"]["filters finished: think"]["nDCG@10"]["p_holm"] < 0.01
    )
    assert test["tests"]["seed 2: think"]["nDCG@10"]["p_holm"] == 1.0
    spread = found["seeds"]["test"]["spread"]["think"]["nDCG@10"]
    assert len(spread["by_run"]) == 3 and spread["sd"] == pytest.approx(0.0764, abs=1e-3)
    text = (run.folder / "ablation" / "table.md").read_text()
    assert "## test, over 3 seeds" in text and "| seed 1: think | 300 | 0 | 0 | 0.00 | 12.0 | 40.0 |" in text
    assert found["rows"][1]["reused"] == ["trace"]


# --- the whole grid on the example ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_grid_on_the_example_asks_and_trains_nothing_twice(tmp_path: Path) -> None:
    """Students of two targets and sizes, a chain of filters less, and other negatives; then again, for nothing."""
    import yaml

    text = (Path(__file__).resolve().parents[1] / "configs" / "tiny.yaml").read_text()
    settings = yaml.safe_load(text)
    settings["sft"]["targets"] = ["think"]
    settings["filters"] = ["finished", "parses", "verdict_matches_label"]
    settings["ablate"] = [
        {"sft.targets": ["think", "direct"], "sft.train_size": [60, None]},
        {"filters": [["finished", "parses"]], "pairs.negatives": [None, {"miner": "random", "per_query": 1}]},
    ]
    path = tmp_path / "grid.yaml"
    path.write_text(json.dumps(settings))
    out = tmp_path / "run"
    assert main(["run", str(path), "--out", str(out)]) == 0
    found = json.loads((out / "ablation" / "ablation.json").read_text())
    rows = {row["row"]: row for row in found["rows"]}
    assert len(rows) == 1 + 4 + 2
    size = rows["students: direct"]["examples"]
    assert rows["students: think_60"]["examples"] == 60 < size == rows["as configured: think"]["examples"]
    students, same, other = (out / "ablation" / v.name for v in variants(load(RunConfig, path)))
    assert os.path.samefile(out / "students/think/model.safetensors", students / "students/think/model.safetensors")
    assert rows["students: think"]["reused"] == ["filter", "pairs", "sft.think", "sft.untrained", "trace"]
    assert json.loads((same / "linked.json").read_text()) == ["pairs", "trace"]  # its filters are others
    counts = json.loads((other / "metrics.json").read_text())["stages"]["trace"]
    assert 0 < counts["asked_now"] < counts["pairs"] - 200  # what the run had asked was not asked again
    assert set(found["sets"]["test"]["measures"]) == {"first_stage", *rows}
    assert all(row["teacher_tokens"] > 0 and row["train_seconds"] > 0 for row in rows.values())
    page = (out / "report.html").read_text()
    assert "students: direct" in page.lower() and (out / "figures" / "ablation-size.svg").exists()
    made = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.name not in (".lease", "log.jsonl")}
    assert main(["run", str(path), "--out", str(out)]) == 0
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.name not in (".lease", "log.jsonl")}
    assert {p for p in made if made[p] != after[p]} <= {out / "report.html"} and set(after) == set(made)
