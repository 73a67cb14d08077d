"""`distill export --model`: a folder that loads elsewhere, and a card that tells where it came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from distill import store
from distill.cli import main
from tests.sft.tiny import base_folder

CONFIG = {
    "name": "handbook", "seed": 7, "pairs": {"source": "beir", "path": "/data/handbook"},
    "teacher": {"endpoints": [{"model": "deepseek-reasoner", "base_url": "https://x.example/v1"}]},
    "dataset": {"licence": "cc-by-4.0", "licences": {"handbook": "ours | <b>alone</b>"}},
    "sft": {"base": "Qwen/Qwen2.5-1.5B", "lora": {"r": 32, "alpha": 64}, "training": {"learning_rate": 1e-4}},
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with one finished student and results."""
    folder = tmp_path / "run"
    student = folder / "students" / "think"
    base_folder(student)
    (student / "job.json").write_text("{}")
    (student / "stderr.txt").write_text("noise")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    store.write_json(student / "distill.json", {"prompt": "rank1", "target": "think"})
    result = {"target": "think", "examples": 1234, "steps": 90, "epochs": 2.0, "parameters": 1_543_714_304}
    store.write_manifest(student, "student", {}, {}, result)
    measured = {"first_stage": {"nDCG@10": 0.4}, "think": {"nDCG@10": 0.51, "ECE": 0.1}, "other": {"nDCG@10": 0.9}}
    store.write_json(
        folder / "metrics.json",
        {"stages": {"pairs": {"pairs": 2000}, "filter": {"kept": 1234}}, "evaluation": {"test": measured}},
    )
    return folder


def test_the_folder_loads_and_its_card_tells_base_data_recipe_results_and_licence(run: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "model"
    assert main(["export", str(run), "--model", "--out", str(out)]) == 0
    assert not {"job.json", "stderr.txt", "manifest.json"} & {path.name for path in out.iterdir()}
    assert AutoModelForCausalLM.from_pretrained(out).config.model_type == "qwen2"
    assert AutoTokenizer.from_pretrained(out).encode("x")
    text = (out / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["base_model"] == "Qwen/Qwen2.5-1.5B" and head["license"] == "cc-by-4.0"
    assert head["pipeline_tag"] == "text-ranking"
    for part in ("deepseek-reasoner", "1,234", "LoRA r 32, alpha 64", r"learning\_rate 0.0001", "0.510", "0.400", "90"):
        assert part in text, part
    results = ModelCard(text).data.eval_results or []
    shown = {(one.dataset_name, one.metric_type): one.metric_value for one in results}
    assert 0.51 in shown.values() and 0.9 not in shown.values(), "the student's own, as the hub's model index"
    assert "0.900" not in text and "<b>alone</b>" not in text
    assert main(["export", str(run), "--model", "think", "--out", str(out)]) == 0, "an earlier export is replaced"


def test_a_push_is_private_and_tried_dry_first(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(["export", str(run), "--model", "--push-to-hub", "me/handbook", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "to me/handbook (private)" in said and "model.safetensors" in said and "HF_TOKEN is not set" in said
    assert main(["export", str(run), "--model", "--push-to-hub", "me/handbook"]) == 2
    assert "HF_TOKEN" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--model", "direct"]) == 2
    assert "name one of this run's students: think" in capsys.readouterr().err
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    assert main(["export", str(run), "--model", "--out", str(other)]) == 2
    assert (other / "notes.txt").read_text() == "mine"
    (run / "students" / "think" / "manifest.json").unlink()
    assert main(["export", str(run), "--model"]) == 2
    assert "has no finished student" in capsys.readouterr().err
    assert json.loads((run / "metrics.json").read_text())["evaluation"]
