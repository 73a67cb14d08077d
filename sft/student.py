"""The model and tokenizer of a student: loaded or made, given the think tags, adapted, merged and saved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distill.errors import ConfigError, DistillError, InputError, first_line
from distill.prompts import PROMPTS, control_tokens
from distill.store import write_json
from distill.weights import check_files, load_causal_lm
from sft.settings import SftSettings
from sft.student_settings import LoraSettings


def make_scratch(settings: SftSettings, texts: Iterable[str], seed: int, folder: Path) -> None:
    """Write a small random model and its tokenizer, trained on `texts`, to `folder` (the `untrained` student)."""
    from transformers.utils import logging

    from sft.scratch import new_model, train_tokenizer

    logging.disable_progress_bar()
    shape = settings.scratch.model_copy(update={"seed": seed})
    tokenizer = train_tokenizer(
        texts, shape.vocab_size, control_tokens(settings.prompt), PROMPTS[settings.prompt].verdicts
    )
    model = new_model(tokenizer, shape)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "distill.json", {"prompt": settings.prompt})


def load_base(base: str, settings: SftSettings, quantized: bool = True) -> tuple[Any, Any]:
    """(model, tokenizer) of the base, tags added where the settings say so. Raises ConfigError naming the remedy.

    Added tags are `special=False`, so that no reader drops them when it decodes; a tokenizer that already has them is
    left as it is. With `lora.bits` the base is loaded in 4 bits, unless `quantized` is false.
    """
    import torch

    tokenizer = load_tokenizer(base, settings)
    given = settings.training.get("model_init_kwargs") or {}
    # LoRA leaves the base as it is, so bf16 is enough; trained themselves, bf16 weights lose small updates.
    narrow = torch.cuda.is_available() and settings.lora is not None
    dtype = given.get("dtype") or (torch.bfloat16 if narrow else torch.float32)
    extra = {k: v for k, v in given.items() if k != "dtype"}
    if quantized and settings.lora is not None and settings.lora.bits:
        extra["quantization_config"] = _four_bit()
    try:
        model = load_causal_lm(base, settings.revision, dtype=dtype, **extra)
    except InputError as error:
        raise ConfigError(f"sft.base: {error}") from None
    if "quantization_config" in extra:
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):  # else a look at held-out pairs rounds the base once more
                vars(module)["support_avx512bf16_for_cpu"] = False
    if len(tokenizer) > model.config.get_text_config().vocab_size:
        model.resize_token_embeddings(len(tokenizer))
    return model, tokenizer


def load_tokenizer(base: str, settings: SftSettings) -> Any:
    """The base's tokenizer, tags added where the settings say so. Raises ConfigError naming the remedy."""
    from transformers import AddedToken, AutoTokenizer

    try:
        check_files(base)
    except InputError as error:
        raise ConfigError(f"sft.base: {error}") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(base, revision=settings.revision)
    except Exception as error:  # of a damaged file tokenizers raises just that
        raise ConfigError(f"sft.base: the tokenizer of {base!r} could not be loaded ({first_line(error)})") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.eos_token is None:
        raise ConfigError(f"sft.base: the tokenizer of {base!r} has no end-of-text token; choose another base")
    if settings.think_tokens == "added":
        known = tokenizer.get_vocab()
        new = [
            AddedToken(tag, special=False, normalized=False)
            for tag in control_tokens(settings.prompt)
            if tag not in known
        ]
        if new:
            tokenizer.add_tokens(new)
    return tokenizer


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


def _four_bit() -> Any:
    """QLoRA's base: NF4, constants quantised too, computing in bf16 (arXiv 2305.14314)."""
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "sft.lora.bits: 4 needs the package bitsandbytes; pip install 'rerank-distill[qlora]', or leave bits out"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def save(trainer: Any, tokenizer: Any, folder: Path, base: str, settings: SftSettings) -> int:
    """Merge an adapter if there is one, and write safetensors, generation settings and tokenizer to `folder`.

    Returns how many parameters were written. What several workers hold in parts is gathered, and the first writes;
    every worker has to call this. An adapter of a 4-bit base is merged into the base as it was before it was quantised.
    """
    model = trainer.model
    four_bit = settings.lora is not None and settings.lora.bits is not None
    if trainer.is_fsdp_enabled:
        state = _gathered(trainer.model_wrapped, settings.lora is not None)
        if not trainer.is_world_process_zero():
            return 0
        model = _whole(base, settings, state)
    elif not trainer.is_world_process_zero():
        return 0
    elif four_bit:
        model = _whole(base, settings, {name: v for name, v in model.state_dict().items() if _is_adapter(name)})
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.generation_config.do_sample = False  # students are read greedily, as Rank1's are
    model.generation_config.temperature = model.generation_config.top_p = model.generation_config.top_k = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def _gathered(model: Any, adapter_only: bool) -> dict[str, Any]:
    """The weights that several workers hold in parts, whole and on the CPU of the first; the others get none.

    Every worker has to call this. accelerate's own way leaves tied embeddings in parts (1.15).
    """
    import torch
    from torch.distributed.tensor import DTensor

    first = torch.distributed.get_rank() == 0
    state = {}
    for name, value in model.state_dict().items():
        if adapter_only and not _is_adapter(name):
            continue
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if first:
            state[name] = whole.cpu()
    return state


def _is_adapter(name: str) -> bool:
    return "lora_" in name or "modules_to_save" in name


def _whole(base: str, settings: SftSettings, state: dict[str, Any]) -> Any:
    """The base again, unsharded and unquantised on the CPU, with the trained `state` in it."""
    from peft import get_peft_model

    model, _ = load_base(base, settings, quantized=False)
    if settings.lora is not None:
        model = get_peft_model(model, lora_config(settings.lora, model, settings.think_tokens == "added"))
    missing, unexpected = model.load_state_dict(state, strict=False)
    lost = [name for name in missing if _is_adapter(name)] + list(unexpected)
    if lost:
        raise DistillError(f"the trained weights do not fit the base any more: {', '.join(lost[:3])}")
    return model
