"""A dataset made here trains with `trl sft --config`, unchanged, on the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.publish.export import export
from distill.publish.rows import Kept
from sft.scratch import ScratchSettings, new_model, train_tokenizer

CHAT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"
CHAT += "{% if add_generation_prompt %}assistant: {% endif %}"
QUICK = (
    "--max_steps 2 --logging_steps 1 --use_cpu true --bf16 false --save_strategy no --gradient_checkpointing false "
    "--per_device_train_batch_size 2 --gradient_accumulation_steps 1"
)


@pytest.fixture
def model(run: Path, tmp_path: Path) -> str:
    tokenizer = train_tokenizer((row.prompt + row.completion for row in Kept(run).rows()), 512)
    tokenizer.chat_template = CHAT
    shape = ScratchSettings(vocab_size=512, layers=1, width=64, heads=2, kv_heads=2, ffn=128)
    new_model(tokenizer, shape).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def train(folder: Path, arguments: str, trainer: str = "sft") -> str:
    """Run a trainer of `trl` in the folder; returns what it printed."""
    command = [str(Path(sys.executable).with_name("trl")), trainer, *arguments.split(), *QUICK.split()]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(folder / ".c")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_trl_export_trains_as_it_is(run: Path, model: str) -> None:
    folder = Path(export(run, "trl", run / "out")["folder"])
    said = train(folder, f"--config sft.yaml --model_name_or_path {model}")
    assert (folder / "student" / "model.safetensors").exists() and "'loss'" in said
    train(folder, f"--config sft.yaml --model_name_or_path {model} --dataset_name chat")


@pytest.mark.slow
def test_the_exports_for_after_sft_train_as_they_are(run: Path, model: str) -> None:
    folder = Path(export(run, "trl-grpo", run / "grpo")["folder"])
    short = f"--model_name_or_path {model} --max_completion_length 8"
    said = train(folder, f"--config grpo.yaml {short} --num_generations 2", "grpo")
    assert "beta: 0.0" in (folder / "grpo.yaml").read_text()
    assert "rewards/verdict/mean" in said and (folder / "student" / "model.safetensors").exists()
    folder = Path(export(run, "trl-distillation", run / "distillation")["folder"])
    train(folder, f"--config distillation.yaml {short} --teacher_model_name_or_path {model}", "distillation")
    assert (folder / "student" / "model.safetensors").exists()


@pytest.mark.slow
def test_the_dataset_itself_trains(run: Path, model: str) -> None:
    folder = Path(export(run, "dataset", run / "out")["folder"])
    train(run, f"--dataset_name {folder.name} --model_name_or_path {model} --output_dir student --max_length 500")
    assert (run / "student" / "model.safetensors").exists()


def test_the_loss_is_on_the_completion_and_keeps_the_verdict(run: Path, model: str) -> None:
    """What TRL makes of the export's rows: every label is the completion's, and the verdict is among them."""
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    folder = Path(export(run, "trl", run / "out")["folder"])
    tokenizer = AutoTokenizer.from_pretrained(model)
    settings = SFTConfig(output_dir=str(folder / "s"), max_length=2500, use_cpu=True, bf16=False, report_to="none")
    for name in ("plain", "chat"):
        rows = load_dataset(str(folder), name, split="train")
        trainer = SFTTrainer(model=model, args=settings, train_dataset=rows, processing_class=tokenizer)
        for made, row in zip(trainer.train_dataset, rows, strict=True):
            learnt = tokenizer.decode([token for token in made["labels"] if token != -100])
            completion = row["completion"] if name == "plain" else row["completion"][0]["content"]
            assert learnt.removesuffix(tokenizer.eos_token).strip() == completion.strip()
            assert completion.endswith(("</think> true", "</think> false"))
