"""The model and tokenizer of a student: loaded or made, given the think tags, adapted, merged and saved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distill.errors import ConfigError
from distill.prompts import END_THINK, THINK
from sft.settings import LoraSettings, SftSettings


def make_scratch(settings: SftSettings, texts: Iterable[str], seed: int, folder: Path) -> None:
    """Write a small random model and its tokenizer, trained on `texts`, to `folder` (the `untrained` student)."""
    from transformers.utils import logging

    from sft.scratch import new_model, train_tokenizer

    logging.disable_progress_bar()
    shape = settings.scratch.model_copy(update={"seed": seed})
    tokenizer = train_tokenizer(texts, shape.vocab_size)
    model = new_model(tokenizer, shape)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_base(base: str, settings: SftSettings) -> tuple[Any, Any]:
    """(model, tokenizer) of the base, tags added where the settings say so. Raises ConfigError naming the remedy.

    Added tags are `special=False`, so that no reader drops them when it decodes; a tokenizer that already has them is
    left as it is.
    """
    import torch
    from transformers import AddedToken, AutoModelForCausalLM, AutoTokenizer

    dtype = settings.training.get("model_init_kwargs", {}).get("dtype") or (
        torch.bfloat16 if torch.cuda.is_available() else torch.float32
    )
    extra = {k: v for k, v in settings.training.get("model_init_kwargs", {}).items() if k != "dtype"}
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, revision=settings.revision)
        model = AutoModelForCausalLM.from_pretrained(base, revision=settings.revision, dtype=dtype, **extra)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"sft.base: {base!r} could not be loaded as a causal language model ({first})") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.eos_token is None:
        raise ConfigError(f"sft.base: the tokenizer of {base!r} has no end-of-text token; choose another base")
    if settings.think_tokens == "added":
        known = tokenizer.get_vocab()
        new = [AddedToken(tag, special=False, normalized=False) for tag in (THINK, END_THINK) if tag not in known]
        if new:
            tokenizer.add_tokens(new)
        if len(tokenizer) > model.config.get_text_config().vocab_size:
            model.resize_token_embeddings(len(tokenizer))
    return model, tokenizer


def lora_config(lora: LoraSettings, model: Any, tags_added: bool) -> Any:
    """The PEFT configuration; with added tags the embedding rows are trained too.

    With tied embeddings only `modules_to_save=["embed_tokens"]` and `ensure_weight_tying` keeps them tied (measured on
    PEFT 0.21: `trainable_token_indices` crashes there, `modules_to_save` alone silently unties).
    """
    from peft import LoraConfig

    tied = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))
    embeddings: dict[str, Any] = {}
    if tags_added:
        embeddings = {"modules_to_save": ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]}
        if tied:
            embeddings["ensure_weight_tying"] = True
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        use_dora=lora.dora,
        task_type="CAUSAL_LM",
        **embeddings,
    )


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Merge an adapter if there is one, and write safetensors and tokenizer."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
