"""A tokenizer and a model from nothing."""

from pathlib import Path

import pytest

from distill.config import validate
from distill.errors import ConfigError
from distill.prompts import rank1_prompt, verdict_ids
from sft.scratch import ScratchSettings, new_model, train_tokenizer
from sft.settings import SftSettings

TEXTS = [rank1_prompt("trail in Orsa with lake", f"A trail in Orsa. The tour takes {n} hours.") for n in range(30)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 400)


def test_verdicts_are_single_tokens_after_the_end_of_thought(tokenizer):
    false, true = verdict_ids(tokenizer)
    assert true != false
    for text in ("\nso it is.\n</think> true", "\n</think> false"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids[-1] in (true, false) and ids[-2] == tokenizer.convert_tokens_to_ids("</think>")


def test_tags_are_tokens_that_decoding_keeps(tokenizer):
    ids = tokenizer.encode(TEXTS[0] + "\nhm\n</think> true", add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == TEXTS[0] + "\nhm\n</think> true"
    assert tokenizer.encode("<|endoftext|>", add_special_tokens=False) == [tokenizer.eos_token_id]
    assert tokenizer.decode([tokenizer.eos_token_id], skip_special_tokens=True) == ""


@pytest.mark.parametrize("text", ["12 km", "  two  spaces\n\n\ttab", "中文 žluťoučký 🦥", "it's o'clock", ""])
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_digits_stand_alone(tokenizer):
    assert len(tokenizer.encode("2026", add_special_tokens=False)) == 4


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS).input_ids == tokenizer(TEXTS).input_ids
    assert (again.eos_token, again.pad_token) == (tokenizer.eos_token, tokenizer.pad_token)
    verdict_ids(again)


def test_texts_without_the_verdicts_get_them_all_the_same():
    verdict_ids(train_tokenizer(["nothing of the sort"] * 3, 300))


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match="vocab_size"):
        train_tokenizer(TEXTS, 260)


def test_the_model_is_tied_small_and_repeatable(tokenizer):
    import torch

    settings = ScratchSettings(layers=1, width=64, heads=2, kv_heads=2, ffn=96, seed=4)
    state = torch.get_rng_state()
    model, twin = new_model(tokenizer, settings), new_model(tokenizer, settings)
    assert torch.equal(state, torch.get_rng_state())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.dtype == torch.float32 and model.config.vocab_size == len(tokenizer)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    other = new_model(tokenizer, settings.model_copy(update={"seed": 5}))
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_a_width_that_does_not_fit_the_heads_is_refused(tokenizer):
    with pytest.raises(ValueError, match="32 times"):
        new_model(tokenizer, ScratchSettings(width=128, heads=2))


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"width": 32, "heads": 2}, "width 32 with heads 2: the width must be 32 times the heads"),
        ({"width": 64, "heads": 2}, "heads 2 with kv_heads 4: heads must be a multiple of kv_heads"),
    ],
)
def test_a_shape_that_cannot_be_made_is_refused_by_the_settings(shape: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError, match=f"my.yaml: scratch: .*{told}"):
        validate(SftSettings, {"scratch": shape}, Path("my.yaml"))
