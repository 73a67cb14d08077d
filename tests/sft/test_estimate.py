"""The dry run: shapes as transformers builds them, memory as tensors are counted, recipes with nothing at hand."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.cli import main
from sft.estimate import cpu
from sft.estimate.estimate import TrainingData, assumed_data, describe, estimate, estimates
from sft.estimate.lengths import RowLengths, assumed, packed, padded
from sft.estimate.shapes import Device, Shape, device_of, known_models, shape_of
from sft.estimate.training_memory import TrainingPlan, layer_bytes, memory_by_part, trainable
from sft.settings import SftSettings

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ("rank1-7b", "rank1-1.5b", "custom-domain", "laptop")
# Parameters that the makers' model cards state, in billions.
STATED = {
    "Qwen/Qwen2.5-0.5B": 0.49, "Qwen/Qwen2.5-1.5B": 1.54, "Qwen/Qwen2.5-3B": 3.09, "Qwen/Qwen2.5-7B": 7.61,
    "Qwen/Qwen2.5-14B": 14.7, "Qwen/Qwen2.5-32B": 32.5, "Qwen/Qwen3-0.6B-Base": 0.6, "Qwen/Qwen3-1.7B-Base": 1.7,
    "Qwen/Qwen3-4B-Base": 4.0, "Qwen/Qwen3-8B-Base": 8.2, "meta-llama/Llama-3.2-1B": 1.23,
    "meta-llama/Llama-3.2-3B": 3.21, "meta-llama/Llama-3.1-8B": 8.03,
}  # fmt: skip


def test_the_table_has_the_parameters_that_the_makers_state() -> None:
    assert set(STATED) == set(known_models())
    for name, billions in STATED.items():
        shape = shape_of(name)
        assert shape is not None and shape.parameters / 1e9 == pytest.approx(billions, rel=0.015), name


def config_of(shape: Shape) -> Any:
    import transformers

    kind = {"qwen2": "Qwen2Config", "qwen3": "Qwen3Config", "llama": "LlamaConfig"}[shape.family]
    return getattr(transformers, kind)(
        vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim, tie_word_embeddings=shape.tied, use_cache=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-7B", "Qwen/Qwen3-0.6B-Base", "meta-llama/Llama-3.2-1B"]
)
def test_the_count_is_that_of_the_model_which_transformers_builds(name: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shape = shape_of(name)
    assert shape is not None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(shape))
        assert sum(p.numel() for p in model.parameters()) == shape.parameters
        adapted = get_peft_model(model, LoraConfig(r=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == shape.lora(32)


def saved_bytes(shape: Shape, lora: bool, tokens: int) -> int:
    """Bytes that autograd keeps of one forward pass under bf16 autocast, parameters aside."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_config(config_of(shape)).to(torch.bfloat16 if lora else torch.float32)
    body = model.model
    if lora:
        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
        body = model.get_base_model().model
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = body(input_ids=torch.randint(0, shape.vocab, (1, tokens))).last_hidden_state
    assert hidden.requires_grad
    return sum(t.untyped_storage().nbytes() for t in kept.values())


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.parametrize(("hidden", "ffn", "kv_heads"), [(128, 256, 2), (256, 1024, 8), (96, 640, 1)])
def test_the_bytes_a_layer_keeps_are_those_that_autograd_keeps(
    lora: bool, hidden: int, ffn: int, kv_heads: int
) -> None:
    found = {}
    for layers in (1, 3):
        shape = Shape("qwen2", hidden, layers, hidden // 32, kv_heads, 32, ffn, 300, tied=True)
        found[layers] = (saved_bytes(shape, lora, 320) - saved_bytes(shape, lora, 64)) / 256
    plan = TrainingPlan(shape, "lora" if lora else "full", 8, False, False, 1, 1, 1.0, False, False)
    assert layer_bytes(plan) == pytest.approx((found[3] - found[1]) / 2, rel=0.03)


def test_memory_by_part_follows_what_is_trained() -> None:
    shape = shape_of("Qwen/Qwen2.5-7B")
    assert shape is not None
    lora = TrainingPlan(shape, "lora", 32, True, False, 2500, 2500, 0.7, False, True)
    full = TrainingPlan(shape, "full", 0, True, False, 2500, 2500, 0.7, False, True)
    assert trainable(full) == shape.parameters
    assert trainable(lora) == shape.lora(32) + 2 * shape.embedding
    assert sum(memory_by_part(full).values()) > 2 * sum(memory_by_part(lora).values())
    assert memory_by_part(full)["optimiser"] == pytest.approx(8 * shape.parameters / 2**30)
    import dataclasses

    checkpointed = memory_by_part(dataclasses.replace(lora, checkpointing=True))
    assert checkpointed["activations"] < memory_by_part(lora)["activations"] / 10
    assert memory_by_part(dataclasses.replace(lora, four_bit=True))["weights"] < memory_by_part(lora)["weights"] / 2
    for plan in (lora, full):
        split, whole = memory_by_part(dataclasses.replace(plan, shards=4)), memory_by_part(plan)
        assert split["weights"] <= whole["weights"] / 4 and split["activations"] == whole["activations"]
        assert split["optimiser"] == pytest.approx(whole["optimiser"] / 4)


def test_best_fit_packing_loses_no_token_and_fills_its_rows() -> None:
    lengths = [row.whole for row in assumed(4000, "think")]
    rows = packed(lengths, 2500)
    assert sum(rows) == sum(lengths) and max(rows) <= 2500
    assert sum(rows) / (len(rows) * 2500) > 0.97
    assert packed([5, 5, 3, 7], 10) == [10, 10]


def test_padding_counts_the_longest_of_each_batch() -> None:
    rows = [RowLengths(1, 1), RowLengths(2, 8), RowLengths(2, 1), RowLengths(9, 1)]
    assert padded(rows, batch=2) == 2 * 3 + 2 * 10
    assert padded(rows, batch=2, order_by="prompt") == 2 * 10 + 2 * 10
    assert padded([RowLengths(3, 1)] * 5, batch=2) == 20


def test_the_histogram_has_the_means_that_it_states() -> None:
    rows = assumed(20_000, "think")
    assert sum(row.prompt for row in rows) / len(rows) == pytest.approx(118, abs=3)
    assert sum(row.completion for row in rows) / len(rows) == pytest.approx(275, abs=4)
    scaled = assumed(20_000, "direct", prompt=300)
    assert sum(row.prompt for row in scaled) / len(scaled) == pytest.approx(300, rel=0.01)


def the(base: str, training: dict[str, Any], **settings: Any) -> Any:
    values = SftSettings.model_validate({"base": base, "training": training, **settings})
    shape = shape_of(base)
    assert shape is not None
    return estimate(values, values.targets[0], TrainingData(10_000, {}, "test"), shape, device_of("H100-80GB"))


def test_flops_are_those_of_the_bound_that_the_benchmarks_use() -> None:
    """4 N a token with LoRA, 6 N in full training, N without the input embedding; attention comes on top."""
    plain = {"gradient_checkpointing": False, "max_steps": 10, "per_device_train_batch_size": 8}
    for base, n in (("Qwen/Qwen2.5-7B", 7.07e9), ("Qwen/Qwen2.5-1.5B", 1.543e9)):
        lora = the(base, plain, lora={})
        full = the(base, plain)
        assert lora.flop / lora.tokens == pytest.approx(4 * n, rel=0.06)
        assert full.flop / full.tokens == pytest.approx(6 * n, rel=0.06)
        again = the(base, {**plain, "gradient_checkpointing": True}, lora={})
        assert again.flop / again.tokens == pytest.approx(6 * n, rel=0.09)


def test_steps_follow_rows_batch_and_epochs() -> None:
    found = the("Qwen/Qwen2.5-7B", {"num_train_epochs": 2, "per_device_train_batch_size": 4, "packing": False})
    assert found.steps == 5000 and found.epochs == pytest.approx(2)
    several = the("Qwen/Qwen2.5-7B", {"num_train_epochs": 2, "per_device_train_batch_size": 4}, assume={"devices": 4})
    assert several.steps == 1250
    cut = the("Qwen/Qwen2.5-7B", {"max_steps": 7}, max_length=300)
    assert cut.steps == 7 and cut.rejected > 1000


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_passes_a_dry_run_with_nothing_at_hand(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    out = tmp_path / "run"
    assert main(["run", str(ROOT / "configs" / f"{name}.yaml"), "--out", str(out), "--dry-run", "--json"]) == 0
    said = capsys.readouterr()
    plan = json.loads(said.out)
    lines = plan["sft"]
    trace = next(row for row in plan["stages"] if row["stage"] == "trace")
    assert trace["usd"] is not None and trace["seconds"] > 0 and trace["sent_to"], "README promises a cost without data"
    assert any("GiB at the peak (estimated" in line and "fits in" in line for line in lines)
    assert any("steps of" in line for line in lines) and any("USD (estimated)" in line for line in lines)
    assert ("DEEPSEEK_API_KEY" in said.err) == (name != "laptop")
    assert not out.exists()


def test_a_real_run_still_wants_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    assert main(["run", str(ROOT / "configs" / "custom-domain.yaml"), "--out", str(tmp_path / "run")]) == 2


def test_what_does_not_fit_is_said_with_the_remedy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = str(ROOT / "configs" / "rank1-7b.yaml")
    changes = ["sft.assume.device=L4", "sft.lora=null", "sft.pack_length=null"]
    assert main(["sft", recipe, "--out", str(tmp_path / "run"), "--dry-run", "--json", *changes]) == 0
    said = "\n".join(json.loads(capsys.readouterr().out)["sft"])
    assert "DOES NOT FIT in 22 GiB" in said and "sft.lora: {r: 32, alpha: 64}" in said
    assert main(["sft", recipe, "--out", str(tmp_path / "run"), "--dry-run", *changes]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "DOES NOT FIT" in line)
    nearest = line.partition("fits with ")[2]
    words = shlex.split(nearest.replace("={", "='{").replace("64}", "64}'"))
    assert main(["sft", recipe, "--out", str(tmp_path / "run"), "--dry-run", *changes, *words]) == 0
    assert "DOES NOT FIT" not in capsys.readouterr().out, "what is named as the nearest that fits, fits"


def test_every_device_names_its_source_and_a_rent_that_nobody_told_is_called_rough(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from sft.estimate.shapes import known_devices

    sources = json.loads((ROOT / "sft" / "estimate" / "shapes.json").read_text(encoding="utf-8"))["sources"]
    assert set(sources) == set(known_devices()) and all(sources.values())
    recipe, out = str(ROOT / "configs" / "rank1-7b.yaml"), str(tmp_path / "run")
    assert main(["sft", recipe, "--out", out, "--dry-run", "--json", "sft.assume.device=H200"]) == 0
    assert "by a rough rent of 3.5 USD an hour and device as of November 2026" in capsys.readouterr().out
    assert main(["sft", recipe, "--out", out, "--dry-run", "--json", "sft.assume.usd_per_hour=2"]) == 0
    assert "rough rent" not in capsys.readouterr().out


def test_an_unknown_base_and_an_unknown_device_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = str(ROOT / "configs" / "laptop.yaml")
    assert main(["sft", recipe, "--out", str(tmp_path / "run"), "--dry-run", "sft.base=some/thing"]) == 0
    assert "no estimate: the shape of 'some/thing' is in no table here" in capsys.readouterr().out
    assert main(["sft", recipe, "--out", str(tmp_path / "run"), "--dry-run", "sft.assume.device=H1000"]) == 2
    assert "'H1000' is not in the table" in capsys.readouterr().err


def test_a_dry_run_for_a_gpu_imports_no_torch() -> None:
    code = (
        "import sys; from distill.cli import main\n"
        f"main(['sft', {str(ROOT / 'configs' / 'rank1-1.5b.yaml')!r}, '--out', '/nonexistent/run', '--dry-run'])\n"
        "sys.exit(bool({'torch', 'transformers', 'trl'} & set(sys.modules)))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False).returncode == 0
    )


def test_a_cpus_speed_is_that_of_the_type_that_it_would_train_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "layer_seconds", lambda dtype: 0.02 if dtype == torch.bfloat16 else 0.01)
    monkeypatch.setattr(cpu, "cores", lambda: 3)
    cpu._seconds.cache_clear()
    wide, narrow = shape_of("Qwen/Qwen2.5-1.5B"), shape_of("scratch")
    one, gpu = Device("cpu", 16, 0.3, 0, "no GPU found"), device_of("H100-80GB")
    assert cpu.timed(one, wide, bf16=False).tflops == pytest.approx(3 * 2 * 512 * 384 * 1536 / 0.01 / 1e12)
    assert cpu.timed(one, wide, bf16=True).tflops == pytest.approx(cpu.timed(one, wide, bf16=None).tflops / 2)
    assert "GFLOP/s" in cpu.timed(one, wide, bf16=None).how
    assert [cpu.timed(one, narrow, None), cpu.timed(gpu, wide, None)] == [one, gpu]
    monkeypatch.setattr(cpu, "on_cluster", lambda: True)  # where other machines train
    assert cpu.timed(one, wide, None) == one
    cpu._seconds.cache_clear()


def test_the_lines_say_the_speed_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU is timed for both."""
    monkeypatch.setattr(cpu, "_seconds", lambda bf16: 0.01)
    settings = SftSettings.model_validate({"base": "Qwen/Qwen2.5-0.5B", "assume": {"device": "cpu"}})
    data = assumed_data(settings, 100, "a test")
    shape = shape_of(settings.base)
    wanted = estimates(settings, data, shape, cpu.timed(device_of("cpu"), shape, None))[0].tokens_per_s
    assert any(f"at {wanted:,.0f} tokens/s" in line for line in describe(settings, data))
