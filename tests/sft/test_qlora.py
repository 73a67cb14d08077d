"""QLoRA: a base in 4 bits under the adapter, which is merged into the base as it was. 4 bits run on a CPU too."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.errors import ConfigError
from sft.train import train
from tests.sft.test_callbacks import dev_job
from tests.sft.tiny import base_folder, train_tiny, weights, world

four_bits = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed here: no 4 bits"
)
LORA: dict[str, Any] = {"r": 4, "alpha": 8, "bits": 4}
TRAINING = {"max_steps": 20, "per_device_train_batch_size": 8, "learning_rate": 2e-3, "logging_steps": 5}


def seen_before_saving(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the adapted model is and says when it has been trained, before it is merged."""
    import sft.train

    seen: dict[str, Any] = {}
    save = sft.train.save

    def look(trainer: Any, *rest: Any) -> int:
        model = trainer.model
        seen["quantised"] = [n for n, p in model.named_parameters() if type(p).__name__ == "Params4bit"]
        seen["trained"] = {p.dtype for p in model.parameters() if p.requires_grad}
        with torch.inference_mode():
            seen["logits"] = model.eval()(input_ids=torch.arange(3, 43)[None]).logits.float()
        return save(trainer, *rest)

    monkeypatch.setattr(sft.train, "save", look)
    return seen


@four_bits
@pytest.mark.parametrize("tied", [True, False])
def test_twenty_steps_in_four_bits_merged_reloaded_and_scored(
    tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    from distill.rerank.reranker import Reranker

    base = base_folder(tmp_path / "base", tied=tied)
    seen = seen_before_saving(monkeypatch)
    result = train_tiny(tmp_path, base, count=100, lora=LORA, training=TRAINING)
    assert result["steps"] == 20 and len(seen["quantised"]) == 2 * 7, "every linear map of both layers"
    assert seen["trained"] == {torch.float32}
    folder = tmp_path / "students" / "think"
    before, after = weights(base), weights(folder)
    assert set(before) == set(after) and {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert result["parameters"] == sum(tensor.numel() for tensor in after.values())
    for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight"):
        moved = torch.linalg.svdvals((after[name] - before[name]).double())
        assert moved[0] > 0 and moved[4:].max() < 1e-5 * moved[0], "the base itself, and a change of rank 4"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert getattr(model.config, "quantization_config", None) is None
    with torch.inference_mode():
        logits = model(input_ids=torch.arange(3, 43)[None]).logits
    gap = float((logits - seen["logits"]).norm() / logits.norm())
    assert 1e-4 < gap < 0.2, "apart by the rounding of the base, and by no more"
    scores = [each.score for each in Reranker(str(folder), "think", max_new_tokens=20).predict([*world(8)[0].values()])]
    assert len(set(scores)) > 1 and all(0 <= score <= 1 for score in scores)


@four_bits
def test_in_four_bits_a_resumed_training_ends_like_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_folder(tmp_path / "base")
    settings = {"lora": LORA, "training": {**TRAINING, "max_steps": 8, "save_steps": 4}}
    train_tiny(tmp_path / "whole", base, **settings)
    with monkeypatch.context() as patch:
        patch.setattr("sft.train.shutil.rmtree", lambda *_, **__: None)  # keep the checkpoints of this one
        train_tiny(tmp_path / "again", base, **settings)
    student = tmp_path / "again" / "students" / "think"
    shutil.rmtree(student / "checkpoints" / "checkpoint-8")
    assert train_tiny(tmp_path / "again", base, **settings)["resumed"]
    undisturbed = weights(tmp_path / "whole" / "students" / "think")
    assert all(torch.equal(tensor, undisturbed[name]) for name, tensor in weights(student).items())


@four_bits
def test_in_four_bits_looking_on_changes_nothing_of_the_training(tmp_path: Path) -> None:
    """Where a CPU has bf16 of its own, bitsandbytes would repack and so round a base that is asked without training."""
    base = base_folder(tmp_path / "base", intermediate_size=128)
    losses = []
    for look in (True, False):
        job = dev_job(tmp_path / str(look), base, "think", {**TRAINING, "logging_steps": 1}, every=0.25, score=16)
        job["settings"] |= {"lora": LORA} if look else {"lora": LORA, "dev": None}
        losses.append(train(job)["final_loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("tied", [True, False])
def test_qlora_merges_into_the_base_as_it_was_before_it_was_quantised(
    tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a quantisation that changes nothing the student is that of plain LoRA; runs without bitsandbytes."""
    base = base_folder(tmp_path / "base", tied=tied)
    train_tiny(tmp_path / "plain", base, lora={"r": 4, "alpha": 8})
    with monkeypatch.context() as patch:
        patch.setattr("sft.student._four_bit", lambda: None)
        train_tiny(tmp_path / "quantised", base, lora={"r": 4, "alpha": 8, "bits": 4})
    plain = weights(tmp_path / "plain" / "students" / "think")
    for name, tensor in weights(tmp_path / "quantised" / "students" / "think").items():
        assert torch.equal(tensor, plain[name]), name


def test_qlora_without_its_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
    with pytest.raises(ConfigError, match=r"sft.lora.bits: 4 needs the package bitsandbytes"):
        train_tiny(tmp_path, base_folder(tmp_path / "base"), lora={"r": 4, "bits": 4})
