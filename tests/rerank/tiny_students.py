"""Tiny random students of several prompts and architectures, and code of a page as a module, for tests of exports."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from distill import store
from distill.prompts import PROMPTS, control_tokens, student_prompt
from sft.scratch import train_tokenizer

ROPE = {"rope_type": "default", "rope_theta": 5e3}
SCALED: dict[str, tuple[str, dict[str, Any]]] = {  # an architecture whose rotary positions are scaled
    "llama3": ("llama", {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }),
    "linear": ("qwen2", {"rope_type": "linear", "factor": 4.0}),
}  # fmt: skip
TEXTS = ["the red fox runs. it is quick! yes", "a lazy dog sleeps. is it old? no", "only this"]


def make_student(
    folder: Path,
    prompt: str = "rank1",
    target: str | None = "direct",
    tied: bool = True,
    padded: int = 0,
    kind: str = "qwen2",
) -> Path:
    """A student of a prompt, target and architecture, its head tied or not, and longer than the tokenizer by `padded`
    rows."""
    texts = [student_prompt(TEXTS[0], TEXTS[1], TEXTS[2], prompt), *TEXTS, *PROMPTS[prompt].verdicts]
    tokenizer = train_tokenizer(texts, 420, control_tokens(prompt), PROMPTS[prompt].verdicts)
    model = tiny_model(kind, tokenizer)
    if padded:
        model.resize_token_embeddings(model.config.vocab_size + padded)
    if not tied:
        untie(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    store.write_json(folder / "distill.json", {"prompt": prompt, **({"target": target} if target else {})})
    return folder


def tiny_model(kind: str, tokenizer: Any) -> Any:
    """A random model of an architecture or of SCALED; four heads share two keys. Qwen3 has heads of 128, the others
    of 32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, scaling = SCALED.get(kind, (kind, {}))
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=128 if kind == "qwen3" else 32, intermediate_size=96, tie_word_embeddings=True,
        max_position_embeddings=1024, initializer_range=0.1, rope_parameters=ROPE | scaling,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def untie(model: Any) -> None:
    """Give the head weights of its own."""
    import torch

    model.config.tie_word_embeddings = False
    head = torch.randn(model.get_input_embeddings().weight.shape, generator=torch.Generator().manual_seed(1))
    model.lm_head.weight = torch.nn.Parameter(0.2 * head)


def load_file(file: Path) -> Any:
    """The file as a module."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
