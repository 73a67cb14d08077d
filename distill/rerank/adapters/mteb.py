"""mteb 2: a student as a cross-encoder, in `mteb.evaluate(model, tasks)`.

mteb joins a query and its instruction into one text; the parts are given with it, and those are used, so that the
instruction keeps the channel that the student's prompt has for it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from distill.rerank.adapters import Judge, missing, pairs_of
from distill.rerank.student_format import form_of
from distill.texts import passage_text

UNKNOWN = (
    "release_date", "embed_dim", "license", "open_weights", "public_training_code", "public_training_data",
    "training_datasets", "languages",
)  # fmt: skip
"""The fields of a `ModelMeta` that no student's folder fills."""


class MtebReranker:
    """mteb's `CrossEncoderProtocol`: MtebReranker("runs/mine/students/direct"), or with a Reranker that is there."""

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        device: str | None = None,
        *,
        reranker: Judge | None = None,
        **options: Any,
    ) -> None:
        """`options` are the Reranker's own, such as `mode`. Raises InputError where mteb is missing."""
        self.model_name, self.revision = model_name, revision
        if reranker is None:
            from distill.rerank.reranker import Reranker

            reranker = Reranker(model_name, device=device, **options)
        self.reranker = reranker
        self.mteb_model_meta = meta_of(model_name, revision)  # `ModelMeta.load_model` puts its own here

    def predict(
        self,
        inputs1: Any,
        inputs2: Any,
        *,
        task_metadata: Any = None,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        **ignored: Any,
    ) -> Any:
        """A numpy array of log-odds, one a pair of a query (`inputs1`) and a document (`inputs2`)."""
        import numpy as np

        queries = [
            row for batch in inputs1 for row in zip(batch.get("query", batch["text"]), _notes(batch), strict=True)
        ]
        texts = [text for batch in inputs2 for text in _passages(batch)]
        rows = [(query, text, note) for (query, note), text in zip(queries, texts, strict=True)]
        return np.array([judgement.margin for judgement in self.reranker.predict(pairs_of(rows))])


def _passages(batch: Any) -> list[str]:
    """Title and text joined here: mteb, which joins them as well, leaves the white space between them as it was."""
    if "body" not in batch:
        return list(batch["text"])
    titles = batch.get("title") or [""] * len(batch["body"])
    return [passage_text(title, body) for title, body in zip(titles, batch["body"], strict=True)]


def _notes(batch: Any) -> list[str | None]:
    given = batch.get("instruction")
    return [note or None for note in given] if given is not None else [None] * len(batch["text"])


def meta_of(model_name: str, revision: str | None = None) -> Any:
    """mteb's `ModelMeta` of a student: of a folder also what its files say, None where nobody knows.

    mteb wants ORGANISATION/NAME, so a folder's name is given the organisation `local`.
    """
    try:
        from mteb.models import ModelMeta
    except ImportError as error:
        raise missing("mteb", error) from None
    parts = [part for part in model_name.rstrip("/").split("/") if part]
    hub = len(parts) == 2 and not model_name.startswith((".", "/"))
    return ModelMeta(
        **dict.fromkeys(UNKNOWN),
        **_weights(Path(model_name)),
        loader=MtebReranker,
        name="/".join(parts) if hub else f"local/{parts[-1]}",
        revision=revision or "local",
        framework=["PyTorch", "Transformers", "safetensors"],
        similarity_fn_name=None,
        use_instructions=True,
        model_type=["cross-encoder"],
    )


def _weights(folder: Path) -> dict[str, Any]:
    """How large a student's folder says that it is: parameters, MiB of weights, tokens of context; None if unsaid."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return dict.fromkeys(("n_parameters", "memory_usage_mb", "max_tokens"))
    from safetensors import safe_open

    parameters = 0
    for file in files:
        with safe_open(file, "pt") as weights:
            parameters += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return {
        "n_parameters": parameters,
        "memory_usage_mb": round(sum(file.stat().st_size for file in files) / 2**20, 1),
        "max_tokens": form_of(str(folder)).context,
    }


def load(
    student: str,
    name: str,
    revision: str | None = None,
    device: str | None = None,
    *,
    mode: str,
    first_stage: str | None = None,
    **options: Any,
) -> MtebReranker:
    """What the loader of an exported `model_meta.py` does: the student in a mode as evaluations name it (`budget:64`).

    `first_stage` says whose lists are reranked and changes nothing; the others are the Reranker's own.
    """
    kind, _, tokens = mode.partition(":")
    bound: dict[str, Any] = {"budget": int(tokens)} if tokens else {}
    return MtebReranker(student, revision, device, mode=kind, **bound, **options)
