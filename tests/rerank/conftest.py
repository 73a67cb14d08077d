"""A tiny student on disk, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.prompts import END_THINK, rank1_prompt
from distill.records import Pair, make_pair
from sft.scratch import ScratchSettings, new_model, train_tokenizer
from tests.rerank.tiny_students import make_student

TEXTS = ["the red fox runs. it is quick! yes", "a lazy dog sleeps. is it old? no"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights and a tokenizer; head size 32, which vLLM's CPU build needs."""
    path = tmp_path_factory.mktemp("student")
    tokenizer = train_tokenizer([rank1_prompt(*TEXTS), *TEXTS], 400)
    shape = ScratchSettings(
        vocab_size=400, layers=2, width=64, heads=2, kv_heads=2, ffn=64, max_positions=256, init_std=0.3
    )
    new_model(tokenizer, shape).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def ending(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same student, but one that likes to end: after some steps by </think>, now and then by an end of text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = tmp_path_factory.mktemp("ending")
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head[tokenizer.convert_tokens_to_ids(END_THINK)] *= 2.5
        head[tokenizer.eos_token_id] *= 1.7
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def few_pairs() -> list[Pair]:
    """Pairs of several queries and lengths, one with an instruction."""
    made = [
        make_pair(f"q{i % 5}", f"d{i}", f"red fox {'very ' * (i % 4)}", f"dog {i} " * (i % 7 + 1)) for i in range(23)
    ]
    return [*made, make_pair("q9", "d0", "red fox", "dog sleeps", "quick only")]


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Tiny students by what `make_student` takes, each made once."""
    made: dict[tuple[object, ...], Path] = {}

    def student(*key: Any) -> Path:
        if key not in made:
            made[key] = make_student(tmp_path_factory.mktemp("student"), *key)
        return made[key]

    return student
