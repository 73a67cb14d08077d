"""Which precision a student runs in, and what it changes: verdicts are read in float32 whatever the weights are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Gemma3TextConfig, GraniteConfig

from distill import weights
from distill.errors import InputError
from distill.records import Pair
from distill.rerank.backends import loading
from distill.rerank.backends.transformers import TransformersBackend
from distill.rerank.reranker import Reranker

SHAPE = {"vocab_size": 400, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}  # fmt: skip


def student(tiny: Path, folder: Path, config: object) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "config",
    [
        Gemma3TextConfig(**SHAPE, head_dim=32, final_logit_softcapping=3.0, layer_types=["full_attention"] * 2),
        GraniteConfig(**SHAPE, logits_scaling=4.0),
    ],
    ids=["soft cap", "scale"],
)
def test_what_a_model_does_after_its_head_counts(
    tiny: Path, tmp_path: Path, few_pairs: list[Pair], config: object
) -> None:
    backend = TransformersBackend(str(student(tiny, tmp_path, config)), dtype="float32")
    found = Reranker(backend, "direct").predict(few_pairs)
    prompts = backend.form.prompts(few_pairs, 8)
    true, false = backend.form.verdicts
    for judgement, prompt in zip(found, prompts, strict=True):
        with torch.inference_mode():
            logits = backend.model(torch.tensor([prompt.rows[0] + backend.form.close])).logits[0, -1]
        assert judgement.margin == pytest.approx(float(logits[true] - logits[false]), abs=1e-4)


def test_in_bfloat16_the_verdicts_are_still_read_in_float32(tiny: Path, few_pairs: list[Pair]) -> None:
    backend = TransformersBackend(str(tiny), dtype="bfloat16")
    assert backend.model.dtype == torch.bfloat16
    true, false = backend.model.get_output_embeddings().weight.detach()[list(backend.form.verdicts)].float()
    for pair, prompt in zip(few_pairs, backend.form.prompts(few_pairs, 8), strict=True):
        ids = torch.tensor([prompt.rows[0] + backend.form.close])
        with torch.inference_mode():
            hidden = backend.model.base_model(ids).last_hidden_state[0, -1].float()
        margin = Reranker(backend, "direct").predict([pair])[0].margin
        assert margin == pytest.approx(float(hidden @ true - hidden @ false), abs=1e-4)


@pytest.mark.parametrize(
    ("fast", "width", "expected"), [(True, 576, "bfloat16"), (True, 64, "float32"), (False, 576, "float32")]
)
def test_a_wide_student_takes_bfloat16_where_the_cpu_is_fast_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, width: int, expected: str
) -> None:
    AutoConfig.for_model("llama", hidden_size=width).save_pretrained(tmp_path)
    monkeypatch.setattr(weights, "_fast_bf16", lambda: fast)
    assert loading.dtype_of(str(tmp_path), "cpu") == expected
    assert loading.dtype_of(str(tmp_path), "cpu", "float32") == "float32"
    assert loading.dtype_of(str(tmp_path), "cuda") == "bfloat16"


@pytest.mark.parametrize(("flag", "seconds", "fast"), [(True, 0.5, True), (True, 2.0, False), (False, 0.5, False)])
def test_bfloat16_is_fast_where_the_cpu_has_it_and_a_layer_is_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, flag: bool, seconds: float, fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": flag}, raising=False)
    monkeypatch.setattr(weights, "layer_seconds", lambda dtype: seconds if dtype == torch.bfloat16 else 1.0)
    assert weights._fast_bf16.__wrapped__() is fast


def test_timing_a_layer_leaves_random_numbers_as_they_are() -> None:
    before = torch.random.get_rng_state()
    assert weights.layer_seconds(torch.float32) > 0
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_unknown_precision_is_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match="dtype 'float15' is none of auto, float32, bfloat16, float16"):
        Reranker(str(tiny), "direct", "transformers", device="cpu", dtype="float15")
