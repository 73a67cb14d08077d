"""docs/evaluation.md: its configurations are valid, and its table is what the benchmark's script prints."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from distill.evaluation.settings import EvaluationSettings
from distill.pipeline.config import RunConfig
from distill.pipeline.variants import variants

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def test_the_configurations_are_valid() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)]
    merged = {key: value for block in blocks for key, value in block.items()}
    evaluations = [EvaluationSettings.model_validate(block["evaluation"]) for block in blocks if "evaluation" in block]
    sets = [each for settings in evaluations for each in settings.sets]
    assert {each.kind for each in sets} == {"beir", "dl19", "nevir", "followir", "instructir", "bright"}
    base = {"name": "one", "pairs": {"source": "example"}, "teacher": {"source": "example"}, "filters": ["parses"]}
    found = variants(RunConfig.model_validate({**base, "ablate": merged["ablate"]}))
    assert [each.label for each in found][:2] == ["students", "without parses"] and len(found) == 7
    assert len(found[0].changes["sft.targets"]) == 6
