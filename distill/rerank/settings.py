"""What a configuration may say under `scoring`: how students are run where many pairs are judged."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from distill.config import Settings
from distill.rerank.backends import BACKENDS
from distill.rerank.repetition import Loops

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class ScoringSettings(Settings):
    """How students judge many pairs: by which engine, in how many processes or Ray actors, on what.

    Only `backend`, `dtype`, `loops`, `base_url` and `engine` can change a score, and they belong to a judgement's
    identity.
    """

    backend: str = Field(
        "auto",
        description="auto (openai where base_url is given, vllm where it is installed and there is a GPU, else "
        "transformers), transformers, vllm, openai or FILE.py:Class",
    )
    actors: int | None = Field(
        None,
        ge=1,
        description="so many Ray actors on a cluster (RAY_ADDRESS), else processes of this machine, which share "
        "its cores; default: one a GPU; without a GPU one for a wide student, which takes all cores, else one a core",
    )
    gpus_per_actor: int = Field(1, ge=1, description="GPUs of one actor; above 1 vllm runs tensor parallel on them")
    batch: int | None = Field(None, ge=1, description="rows in one batch (default: evaluation.batch)")
    dtype: Dtype = Field("auto", description="of the weights; auto: the backend's own choice for this machine")
    loops: Loops = Field(
        "stop", description="stop: a text that repeats itself is ended and its verdict forced; run: it is let run"
    )
    base_url: str | None = Field(
        None, description="backend openai: the server, such as http://127.0.0.1:8000/v1; default: none"
    )
    api_key_env: str | None = Field(
        None, description="backend openai: the variable that holds the key; default: no key is sent"
    )
    engine: dict[str, Any] = Field(
        {}, description="arguments of vllm.LLM; backend openai: served (the model's name there) and timeout_s"
    )

    @field_validator("backend")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        return name if name == "auto" else BACKENDS.resolved(name, (info.context or {}).get("base"))

    @model_validator(mode="after")
    def _possible(self) -> ScoringSettings:
        if self.gpus_per_actor > 1 and self.backend in ("transformers", "openai"):
            raise ValueError(f"gpus_per_actor {self.gpus_per_actor} needs backend vllm, which splits a student")
        if self.backend == "openai" and not self.base_url:
            raise ValueError("backend openai needs base_url, the server's address")
        return self
