"""Training speed on one GPU, lever by lever: Qwen2.5-7B and 1.5B with their exact shapes and random weights.

    python benchmarks/sft/gpu.py --shape 7b,1.5b --seconds 540 --json gpu.json      # one call, at most ten minutes
    python benchmarks/sft/gpu.py --shape tiny                                       # on a CPU: does the script work

Nothing is fetched: weights are made on the device, rows have the lengths of sft/estimate/lengths.json (Rank1's), the
ids are random. Each line is a process of its own, so that one that runs out of memory leaves the others; what the time
does not
reach is said. Real tokens a second, padding not counted; the bound is 790 TFLOP/s over 4 N FLOP a token with LoRA and
6 N in full training (N without the input embedding), as an H200 reaches in large bf16 matrix products.

Where pip reaches no index, carry the wheels: on a machine that does, `pip download --no-deps -d wheels trl datasets
multiprocess dill xxhash pyarrow pydantic pydantic-core annotated-types typing-inspection` for the GPU machine's Python
(`--python-version 3.12 --only-binary=:all:`), some 60 MB, most of it pyarrow; there `pip install --no-index
--find-links wheels --no-deps trl datasets …`. torch, transformers, peft and accelerate have to be there already.
Ray is not needed. The folder of wheels does not belong into the repository.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout need not be installed

from measure import assumed_rows, dataset, found_by, tokens_per_second

BOUND_TFLOPS = 790.0
SHAPES: dict[str, dict[str, Any]] = {
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 2, "vocab_size": 1024, "tie_word_embeddings": True},
}  # fmt: skip
OURS = {"gradient_checkpointing": False, "bf16": True, "packing": True, "per_device_train_batch_size": 1, "row": 8192}
# (name, shapes, levers): each differs from `ours` in what its name says; the first two are the peers.
LEVERS: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("TRL's defaults, LoRA", ("7b", "1.5b", "tiny"), {"trl": True}),
    ("TRL, packing, else defaults", ("7b", "1.5b", "tiny"), {"trl": True, "packing": True, "row": 1024}),
    ("ours", ("7b", "1.5b", "tiny"), {}),
    ("ours, full training", ("1.5b", "tiny"), {"full": True}),
    ("rows of 2,500 tokens", ("7b", "1.5b", "tiny"), {"row": 2500}),
    ("rows of 16,384 tokens", ("1.5b",), {"row": 16384}),
    ("gradient checkpointing", ("7b", "1.5b", "tiny"), {"gradient_checkpointing": True}),
    ("flash_attention_2", ("7b", "1.5b"), {"attention": "flash_attention_2"}),
    ("padded batches of 8, no packing", ("7b", "1.5b", "tiny"), {"packing": False, "per_device_train_batch_size": 8}),
    ("adapters in bf16", ("7b", "1.5b", "tiny"), {"bf16_adapters": True}),
    ("torch.compile", ("7b", "1.5b"), {"compile": True}),
    ("tags not trained", ("7b", "1.5b", "tiny"), {"tags": False}),
    ("base in fp32", ("1.5b", "tiny"), {"fp32": True}),
    ("eager attention", ("1.5b", "tiny"), {"attention": "eager", "row": 2500}),
    ("selective checkpointing", ("7b",), {"gradient_checkpointing": True, "selective": True}),
]


def random_model(shape: str, dtype: Any, attention: str | None = None, **more: Any) -> Any:
    """A Qwen2 of a shape (`more` says what else is in its configuration) with random weights, made on the device."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**{**SHAPES[shape], "max_position_embeddings": 32768, **more})
    if attention:
        config._attn_implementation = attention
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        torch.set_default_dtype(dtype)
        model = Qwen2ForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    return model


def one(shape: str, levers: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Train for `seconds` after two warm-up steps; tokens a second, share of the bound, peak and estimated memory."""
    import torch
    from datasets import disable_progress_bars
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from sft.scratch import train_tokenizer
    from sft.student import lora_config
    from sft.student_settings import LoraSettings
    from sft.trainer import StudentTrainer

    disable_progress_bars()
    cuda = torch.cuda.is_available()
    given = {**({} if levers.get("trl") else OURS), **levers}
    full, own = bool(given.get("full")), not given.get("trl")
    torch.manual_seed(0)
    dtype = torch.float32 if full or given.get("fp32") or not cuda else torch.bfloat16
    model = random_model(shape, dtype, given.get("attention"), use_cache=False)
    config = model.config
    tokenizer = train_tokenizer([f"some words {i * 7919}" for i in range(500)], 600)
    rows = assumed_rows(400 if shape == "tiny" else 6000, 600)
    lengths = [len(ids) for ids, _ in rows]
    keys = ("packing", "per_device_train_batch_size", "gradient_checkpointing", "bf16")
    arguments: dict[str, Any] = {key: given[key] for key in keys if key in given}
    if given.get("selective"):
        arguments["gradient_checkpointing_kwargs"] = {"selective": True}
    if given.get("compile"):
        arguments["torch_compile"] = True
    settings = SFTConfig(
        output_dir="/tmp/sft-gpu", max_length=int(given.get("row", 1024)), report_to="none", disable_tqdm=True,
        save_strategy="no", logging_steps=1, use_cpu=not cuda, learning_rate=1e-4, **arguments,
    )  # fmt: skip
    lora = None
    if not full:
        lora = lora_config(LoraSettings(), model, own and given.get("tags", True))
        assert isinstance(lora, LoraConfig)
    kinds: dict[str, Any] = {
        "model": model,
        "args": settings,
        "train_dataset": dataset(rows),
        "processing_class": tokenizer,
    }
    if own:
        trainer: Any = StudentTrainer(**kinds, peft_config=lora, order_lengths=lengths)
    else:
        trainer = SFTTrainer(**kinds, peft_config=lora)
    if given.get("bf16_adapters"):
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)

    rate = tokens_per_second(trainer, seconds, torch.cuda.synchronize if cuda else lambda: None)
    n = shape_of_config(config).matrices + shape_of_config(config).embedding
    bound = BOUND_TFLOPS * 1e12 / ((6 if full else 4) * n)
    found = {"tokens_per_s": round(rate), "of_bound": round(rate / bound, 3), "bound": round(bound)}
    if cuda:
        found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    found["estimated_gib"] = round(_estimated(config, given, full, rows), 1)
    return found


def shape_of_config(config: Any) -> Any:
    """The shape of a Qwen2's configuration, as the estimates take it."""
    from sft.estimate.shapes import Shape

    heads = config.num_attention_heads
    return Shape(
        "qwen2", config.hidden_size, config.num_hidden_layers, heads, config.num_key_value_heads,
        config.hidden_size // heads, config.intermediate_size, config.vocab_size, config.tie_word_embeddings,
    )  # fmt: skip


def _estimated(config: Any, given: dict[str, Any], full: bool, rows: list[tuple[list[int], int]]) -> float:
    """What sft/estimate/training_memory.py says of the same step."""
    import torch

    from sft.estimate.training_memory import TrainingPlan, memory_by_part

    packing = bool(given.get("packing"))
    batch = int(given.get("per_device_train_batch_size", 8))
    row = int(given.get("row", 1024)) if packing else max(len(ids) for ids, _ in rows)
    scored = 1 - sum(prompt for _, prompt in rows) / sum(len(ids) for ids, _ in rows)
    plan = TrainingPlan(
        shape=shape_of_config(config), kind="full" if full else "lora", r=32,
        tags_added=not given.get("trl"), four_bit=False, tokens=batch * row, row=batch * row, scored=scored,
        checkpointing=bool(given.get("gradient_checkpointing", True)), packed=packing, gpu=torch.cuda.is_available(),
    )  # fmt: skip
    return sum(memory_by_part(plan).values())


def main() -> None:
    """Run the levers of the shapes in turn, as long as the time lasts; print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="7b,1.5b", help="7b, 1.5b, tiny, by commas")
    parser.add_argument("--seconds", type=float, default=540, help="for everything")
    parser.add_argument("--each", type=float, default=8, help="seconds measured a line, after two steps")
    parser.add_argument("--first", type=int, default=0, help="the lever to begin with, from 0, where a call ran out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help="internal: a line's number and shape, such as 3:7b")
    parsed = parser.parse_args()
    if parsed.one:
        number, _, shape = parsed.one.partition(":")
        print("FOUND " + json.dumps(one(shape, LEVERS[int(number)][2], parsed.each)), flush=True)
        return
    began, table = time.monotonic(), []
    print(
        "| shape | way | real tokens/s | of the bound | peak GiB | estimated GiB |\n|---|---|---|---|---|---|",
        flush=True,
    )
    turns = [(number, shape) for number in range(parsed.first, len(LEVERS)) for shape in parsed.shape.split(",")]
    for number, shape in turns:
        name, shapes, _ = LEVERS[number]
        if shape in shapes:
            left = parsed.seconds - (time.monotonic() - began)
            found: dict[str, Any] = {"failed": "not reached in the time"}
            if left > 20:
                found = found_by([__file__, "--one", f"{number}:{shape}", "--each", str(parsed.each)], left)
            table.append({"shape": shape, "way": name, **found})
            cells = [found.get("failed") or f"{found['tokens_per_s']:,}"]
            cells += [str(found.get(key, "")) for key in ("of_bound", "peak_gib", "estimated_gib")]
            print(f"| {shape} | {name} | " + " | ".join(cells) + " |", flush=True)
            if parsed.json:
                parsed.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
