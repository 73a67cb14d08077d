"""Engines that run a student's weights, one class in one file each. Used by `distill.rerank.reranker`.

A built-in one is found by being in this folder; one's own is named `file.py:Class`, the path relative to the working
folder, and inherits from `distill.rerank.backends.base.Backend`.
"""

from __future__ import annotations

from importlib.util import find_spec

from distill.errors import InputError
from distill.plugins import Kind, faulty, is_external, shown
from distill.rerank.backends.base import Backend, EngineSettings
from distill.rerank.student_format import is_encoder, refuse_retriever

BACKENDS: Kind[Backend] = Kind(
    "backend",
    "distill.rerank.backends",
    Backend,
    besides=("head", "loading", "slots"),
    relative_to="the working folder",
)

PREFERRED = ("transformers", "vllm", "openai", "encoder")  # the order in which messages name them


def backend_of(model: str, name: str, settings: EngineSettings) -> Backend:
    """The engine of that name, started. Raises InputError as `backend_name` does, and where its package is missing."""
    made = BACKENDS.load(backend_name(name, settings.base_url, model))
    backend: object = made.start(model, settings)
    if not isinstance(backend, Backend):
        raise InputError(f"{name}: `start` returned {shown(backend)}; return a {made.__name__}")
    if not hasattr(backend, "form"):
        raise faulty(backend, "__init__", "has no `form`", "call super().__init__(form) in `__init__`")
    return backend


def backend_name(name: str, base_url: str | None = None, model: str | None = None) -> str:
    """The name itself; of `auto` openai where a base_url is given, vllm where it is installed and there is a GPU, else
    transformers. A `model` that is a cross-encoder is read by `encoder` in place of transformers and vllm.

    Raises InputError for an unknown name, and for a model that is a retriever."""
    if model is not None and name in ("auto", "transformers", "vllm", "encoder") and not base_url:
        refuse_retriever(model)
        if is_encoder(model):
            return "encoder"
    if name == "auto":
        name = "openai" if base_url else "vllm" if find_spec("vllm") and _gpu() else "transformers"
    known = sorted(BACKENDS.names(), key=lambda backend: (*PREFERRED, backend).index(backend))
    if name not in known and not is_external(name):
        raise InputError(f"backend {name!r} is none of auto, {', '.join(known)}, and no FILE.py:Class")
    return name


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
