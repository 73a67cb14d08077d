"""One trajectory, whatever the batch's shape: 8 x 1, 1 x 8 and two Ray workers of 4, through the real command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from tests.sft.tiny import apart, base_folder, weights

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {
    "8x1": ["sft.training.per_device_train_batch_size=8", "sft.training.gradient_accumulation_steps=1"],
    "1x8": ["sft.training.per_device_train_batch_size=1", "sft.training.gradient_accumulation_steps=8"],
    "2 workers x4": [
        "sft.training.per_device_train_batch_size=4", "sft.training.gradient_accumulation_steps=1", "sft.ray.workers=2",
    ],
    "2 workers x1x4": [
        "sft.training.per_device_train_batch_size=1", "sft.training.gradient_accumulation_steps=4", "sft.ray.workers=2",
    ],
}  # fmt: skip
CONFIG = """
name: shapes
pairs: {source: example, example: {queries: {train: 20, dev: 2, test: 2}}}
teacher: {source: example}
sft:
  base: BASE
  targets: [think]
  max_length: 320
  training: {max_steps: 5, learning_rate: 1.0e-3, logging_steps: 1, save_strategy: "no"}
"""


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line.get("stage") == "sft" and "loss" in line]


@pytest.mark.slow
def test_the_trajectory_does_not_depend_on_the_shape_of_the_batch(tmp_path: Path) -> None:
    """Losses to 1e-4, weights to a hundredth of the way they went, in five steps of AdamW in fp32."""
    base_folder(tmp_path / "base", max_position_embeddings=1024)
    config = tmp_path / "shapes.yaml"
    config.write_text(CONFIG.replace("BASE", str(tmp_path / "base")))
    out = tmp_path / "run"
    assert main(["run", str(config), "--out", str(out), *SHAPES["8x1"]]) == 0
    found: dict[str, Any] = {"8x1": (losses(out), weights(out / "students" / "think"))}
    for name in list(SHAPES)[1:]:
        (out / "log.jsonl").unlink()
        (out / "students" / "manifest.json").unlink()
        (out / "students" / "think" / "manifest.json").unlink()
        assert main(["sft", str(config), "--out", str(out), *SHAPES[name]]) == 0
        found[name] = losses(out), weights(out / "students" / "think")
    first, tensors = found["8x1"]
    start = weights(tmp_path / "base")
    assert len(first) == 5 and first[-1] < first[0]
    for name, (curve, others) in found.items():
        assert curve == pytest.approx(first, abs=1e-4), name
        assert apart(tensors, others, start) < 0.01, name
