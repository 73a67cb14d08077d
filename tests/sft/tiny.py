"""Tiny models and data that several tests of this room share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill import store
from distill.prompts import PROMPT_NAME
from distill.records import Example, Pair, Trace, make_pair
from sft.settings import SftSettings
from sft.train import train as train_job
from tests.sft.kept import examples

WORDS = ("red", "green", "blue", "old", "new", "large", "small", "round", "cheap", "quiet")
TRAINING: dict[str, Any] = {
    "max_steps": 6, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1, "save_steps": 2,
}  # fmt: skip


def world(count: int, grades: int = 1) -> tuple[dict[str, Pair], list[Trace]]:
    """Pairs of which a passage says whether it is what the query asks for; four passages a query, traces that tell."""
    pairs: dict[str, Pair] = {}
    traces = []
    for i in range(count):
        wanted, found = WORDS[i // 4 % len(WORDS)], WORDS[(i // 4 + (i % 2) * (1 + i % 5)) % len(WORDS)]
        right = wanted == found
        query, passage = f"a {wanted} thing number {i // 4}", f"thing {i} is {found} and {'long ' * (i % 4)}here"
        pair = make_pair(f"q{i // 4}", f"d{i}", query, passage, label=int(right), label_origin="judged")
        pairs[pair.pair_id] = pair
        reasoning = f"we want {wanted} and see {found}, so {'it fits' if right else 'it does not'}" + " indeed" * (
            i % 3
        )
        verdict = grades if right else 0
        traces.append(Trace(pair.pair_id, 0, "r", reasoning, "", verdict, "stop", 1, 1, 0.0, 0.0, "{}"))
    return pairs, sorted(traces, key=lambda trace: trace.pair_id)


def base_folder(folder: Path, tied: bool = True, heads: int = 2, layers: int = 2, seed: int = 0, **shape: Any) -> Path:
    """A Qwen2 with the modules of the real ones (tied as 1.5B is, untied as 7B is), narrow, without the tags."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from sft.scratch import train_tokenizer

    pairs, traces = world(200)
    texts = [row.prompt + row.completion for row in examples(pairs, traces, "think")]
    tokenizer = train_tokenizer(texts, 420, tags=())
    values = {
        "vocab_size": 448, "hidden_size": 32 * heads, "intermediate_size": 96, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": 1, "max_position_embeddings": 1024,
        "tie_word_embeddings": tied, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None, "initializer_range": 0.06,
    }  # fmt: skip
    torch.manual_seed(seed)
    Qwen2ForCausalLM(Qwen2Config(**{**values, **shape})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def job_of(folder: Path, base: Path, target: str = "think", count: int = 40, **settings: Any) -> dict[str, Any]:
    """A training process's job, its data written."""
    pairs, traces = world(count)
    values = SftSettings.model_validate({"base": str(base), "training": TRAINING, **settings})
    rows = examples(pairs, traces, target, values.prompt or PROMPT_NAME)
    store.write_rows(folder / "dataset" / target, rows, Example)
    out = folder / "students" / target
    out.mkdir(parents=True, exist_ok=True)
    return {
        "name": target, "target": target, "base": str(base), "examples": str(folder / "dataset" / target),
        "dev": str(folder / "dataset" / "dev"), "out": str(out), "seed": 0, "threads": 1,
        "settings": values.model_dump(mode="json"),
    }  # fmt: skip


def train_tiny(folder: Path, base: Path, target: str = "think", count: int = 40, **settings: Any) -> dict[str, Any]:
    """Train one student in this process; its folder is `folder`/students/TARGET."""
    return train_job(job_of(folder, base, target, count, **settings))


def weights(folder: Path) -> dict[str, Any]:
    """The tensors of a student's safetensors."""
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def apart(one: dict[str, Any], two: dict[str, Any], start: dict[str, Any]) -> float:
    """How far two students of one base ended from one another, as a share of the way that the first one went.

    All weights together: AdamW moves a weight whose gradient is rounding noise as far as any other, so single weights
    of equal trainings may differ by whole steps. Rows that were added to the base's embeddings are left out.
    """
    gap = way = 0.0
    for name, first in start.items():
        rows = slice(0, first.shape[0])
        gap += float((one[name][rows] - two[name][rows]).norm()) ** 2
        way += float((one[name][rows] - first).norm()) ** 2
    return (gap / way) ** 0.5
