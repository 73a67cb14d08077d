"""A student's weights loaded onto a device, in the precision that suits both. Used by the transformers backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distill.errors import InputError, first_line
from distill.rerank.student_format import StudentFormat, config_of, form_of
from distill.weights import bf16_pays, load_causal_lm

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")


def load(
    path: str, device: str | None = None, prompt: str | None = None, dtype: str | None = None
) -> tuple[Any, StudentFormat]:
    """(model, form) of a folder or hub name, on the given device or the best there is, `dtype` as `dtype_of` has it.

    Raises InputError where it cannot be loaded or scored, and for layers that are not plain attention.
    """
    from transformers import DynamicCache
    from transformers.utils import logging

    logging.disable_progress_bar()
    form = form_of(path, prompt=prompt)
    where = device_of(device)
    model: Any = load_causal_lm(path, dtype=dtype_of(path, where.type, dtype), attn_implementation="sdpa")
    if any(type(layer).__name__ != "DynamicLayer" for layer in DynamicCache(config=model.config).layers):
        raise InputError(
            f"{path}: has layers that are not full attention, which the transformers backend does not run; use vllm"
        )
    return model.to(where).eval(), form


def device_of(device: str | None) -> torch.device:
    """The device of that name, the best there is for None. Raises InputError where it cannot be used."""
    import torch

    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=device or best).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise InputError(
            f"device {device or best!r} cannot be used here ({first_line(error)}); leave --device out for {best}"
        ) from None


def dtype_of(path: str, device_type: str, dtype: str | None = None) -> str:
    """The precision of the weights of the student at `path`: the one that is named, or of `auto` (or None) bfloat16 on
    a GPU, and on a CPU that multiplies it fast where the student is wide enough to gain; else float32.

    Raises InputError for an unknown name, and where the student's configuration has to be read and cannot be.
    """
    if dtype not in (None, "auto", *DTYPES):
        raise InputError(f"dtype {dtype!r} is none of auto, {', '.join(DTYPES)}")
    if dtype in DTYPES:
        return str(dtype)
    if device_type != "cpu":
        return "bfloat16"
    return "bfloat16" if bf16_pays(config_of(path)) else "float32"
