"""The evaluation stage where one student is asked in several modes: calibrated on one set, measured on another."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from distill.cli import main
from distill.config import load
from distill.errors import ConfigError
from distill.pipeline.config import RunConfig
from distill.pipeline.evaluate import systems
from distill.pipeline.run import Run
from distill.report.evaluated import evaluation_sets
from distill.report.files import RunFiles

TINY = str(Path(__file__).resolve().parents[1] / "configs" / "tiny.yaml")
SETS = "evaluation.sets=[{name: test, source: example, split: test, first_stage: bm25, depth: 5}, {name: dev, source: example, split: dev, first_stage: bm25, depth: 8}]"  # noqa: E501
AGAIN = "evaluation.calibration_instructions=[Be strict., '']"
MODES = "evaluation.modes={mixed: [think, direct, 'budget:6', adaptive]}"


@pytest.mark.slow
def test_modes_are_calibrated_on_one_set_and_shown_of_another(tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = [SETS, MODES, AGAIN, "evaluation.calibrate_on=dev", "sft.targets=[mixed]", "evaluation.fuse=true"]
    assert main(["run", TINY, *given, "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())["evaluation"]
    asked = {"mixed.think", "mixed.direct", "mixed.budget_6"}
    assert {name for name in metrics["dev"] if name.startswith("mixed")} == asked
    fused = {f"{name}.fused" for name in asked}  # not adaptive, which is not judged on the development set
    assert {name for name in metrics["test"] if name.startswith("mixed")} == asked | {"mixed.adaptive"} | fused
    counts = json.loads((out / "metrics.json").read_text())["stages"]["evaluate"]["sets"]
    assert set(counts["dev"]["fusion"]) == asked | {"untrained"} and "fusion" not in counts["test"]
    for name in (*asked, "untrained"):
        chosen = counts["dev"]["fusion"][name]
        assert metrics["test"][f"{name}.fused"]["fusion_weight"] == chosen["weight"]
        assert chosen["fused"] >= max(chosen["alone"], chosen["first_stage"])
        assert chosen["alone"] == pytest.approx(metrics["dev"][name]["nDCG@10"], abs=0.02)
        assert (out / "evaluation" / f"test.{name}.fused.trec").exists()
    saved = json.loads((out / "students" / "mixed" / "calibration.json").read_text())
    assert set(saved["curves"]) == {"think", "direct", "budget:6", "adaptive.direct", "adaptive.think"}
    sets = evaluation_sets(RunFiles(out))
    assert sets and not any(name.startswith("untrained") for each in sets for name in each.students)
    assert set(saved["fusion"]) == {"think", "direct", "budget:6"}, "for distill rerank --fuse and the server"
    checked = [(each["mode"], each["template"]) for each in saved["checks"]]
    assert {(mode, text) for mode in ("think", "direct", "budget:6") for text in (None, "Be strict.", "")} < set(
        checked
    )
    again = {each["template"]: each["before"] for each in saved["checks"] if each["mode"] == "think"}
    assert again["Be strict."] != again[""] == again[None], "the pairs have no instruction of their own"
    described = json.loads((out / "evaluation" / "test.modes.json").read_text())["mixed"]
    rows = described["systems"]
    assert rows["mixed.direct"]["tokens_per_pair"] == 1 < rows["mixed.budget_6"]["tokens_per_pair"]
    assert {"forced", "unparsable", "pairs_per_s"} <= set(rows["mixed.budget_6"]) and described["curve"]
    assert all(row["calibrated"]["ECE"] <= 1 for row in rows.values())
    page = (out / "report.html").read_text()
    assert "Modes of one student" in page and "The calibration under other instructions" in page
    assert re.search(r"thinks, in mode adaptive, where its direct log-odds", page)
    assert main(["run", TINY, *given, "--out", str(out)]) == 0, "nothing left to do"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("evaluation.modes={think: [thinking]}", "'thinking' is none of think, direct"),
        ("evaluation.modes={think: [budget]}", "needs its bound in tokens, such as budget:64"),
        ("evaluation.modes={think: [adaptive]}", "adaptive is compared with think and direct; list them too"),
        ("evaluation.modes={think: [think, direct, adaptive]}", "mode adaptive needs calibrate_on"),
        ("evaluation.fuse=true", "fuse needs calibrate_on, the development set"),
        ("evaluation.calibration_instructions=[x]", "calibration_instructions need calibrate_on"),
        ("evaluation.calibrate_on=dev", "calibrate_on names 'dev', which is none of the sets"),
    ],
)
def test_modes_that_cannot_be_are_refused(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(RunConfig, TINY, [given])


@pytest.mark.parametrize(
    ("given", "judged"),
    [
        (["sft.targets=[direct, encoder]"], {"untrained", "direct", "encoder"}),
        (["sft.targets=[encoder]"], {"encoder"}),
        (["sft.targets=[encoder]", "evaluation.systems=[untrained, encoder]"], {"untrained", "encoder"}),
        (["sft.targets=[retriever]"], {"untrained"}),  # something has to be judged
    ],
)
def test_the_untrained_model_is_judged_where_students_write(given: list[str], judged: set[str], tmp_path: Path) -> None:
    assert set(systems(Run(load(RunConfig, TINY, given), tmp_path / "run", Path(TINY), quiet=True))) == judged
