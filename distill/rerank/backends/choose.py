"""Which engine runs a student."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from distill.errors import InputError
from distill.rerank.backends.base import Backend

BACKENDS = ("auto", "transformers", "vllm", "openai")


def backend_of(
    model: str,
    name: str,
    batch: int | None,
    prompt: str | None,
    device: str | None,
    base_url: str | None,
    api_key_env: str | None,
    engine: dict[str, Any],
) -> Backend:
    """The engine of that name; `auto` is openai where a base_url is given, vllm where it is installed and there is a
    GPU, else transformers. Raises InputError for an unknown name, or one whose package is missing."""
    if name not in BACKENDS:
        raise InputError(f"backend {name!r} is none of {', '.join(BACKENDS)}")
    if name == "auto":
        name = "openai" if base_url else "vllm" if find_spec("vllm") and _gpu() else "transformers"
    if name == "openai":
        from distill.rerank.backends.openai import OpenAIBackend

        if not base_url:
            raise InputError("backend openai needs the server's address; give base_url (--base-url)")
        return OpenAIBackend(model, base_url, batch, prompt, api_key_env, **engine)
    if name == "vllm":
        if find_spec("vllm") is None:
            raise InputError("backend vllm needs the package vllm, which is not installed; pip install vllm")
        from distill.rerank.backends.vllm import VllmBackend

        return VllmBackend(model, batch=batch, prompt=prompt, **engine)
    from distill.rerank.backends.transformers import TransformersBackend

    return TransformersBackend(model, batch=batch, device=device, prompt=prompt)


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
