"""A retriever as queries and passages see it: sentence-transformers' models, loaded, named by their files, and run.

Called by `distill.retrieval.index`, the dense miner, evaluation's first stage, `distill index` and `distill search`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from distill.errors import ConfigError, first_line
from distill.weights import bf16_pays, check_files

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

BATCH = 32  # texts that go through the model together; they are sorted by length, so few positions are padding
SIMILARITIES = ("cosine", "dot")


class TextEncoder(Protocol):
    """What is needed of sentence-transformers: two methods, each an array of (texts, dimensions)."""

    def encode_query(self, texts: list[str]) -> np.ndarray: ...
    def encode_document(self, texts: list[str]) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Encoder:
    """Vectors whose dot product is the model's own similarity: of length 1 where that is the cosine.

    `identity` is a hash of the model's files, or its name and revision on a hub: what an index is tied to. `name` is
    the folder or hub name that it was loaded from.
    """

    encoder: TextEncoder
    identity: str
    name: str = ""
    unit: bool = True

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """float32, (texts, dimensions)."""
        return self._vectors(self.encoder.encode_query(list(texts)))

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        """float32, (texts, dimensions)."""
        return self._vectors(self.encoder.encode_document(list(texts)))

    def _vectors(self, encoded: np.ndarray) -> np.ndarray:
        import numpy as np

        rows = np.asarray(encoded, np.float32)
        if not np.isfinite(rows).all():
            raise ConfigError("the retriever's vectors hold NaN or infinity; train or merge it again")
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) if self.unit else rows


class SortedEncoder:
    """sentence-transformers' model in bfloat16 where the processor computes it faster, else in float32."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model

    def encode_query(self, texts: list[str]) -> np.ndarray:
        """With the model's own prompt for queries, such as `query: `."""
        return self.model.encode_query(texts, batch_size=BATCH, show_progress_bar=False)

    def encode_document(self, texts: list[str]) -> np.ndarray:
        """With the model's own prompt for passages, such as `passage: `."""
        return self.model.encode_document(texts, batch_size=BATCH, show_progress_bar=False)


def load_encoder(model: str, base: Path = Path(), key: str = "model") -> Encoder:
    """The retriever of a folder, relative to `base`, or a hub name; `key` is named in errors.

    Raises ConfigError where sentence-transformers or the model is missing, and for a similarity that is no dot product.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ConfigError(
            f'{key}: a retriever needs sentence-transformers: pip install "rerank-distill[dense]"'
        ) from None
    folder = base / model
    name = str(folder) if folder.is_dir() else model
    check_files(name)
    try:
        loaded = SentenceTransformer(name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}: the model {name!r} cannot be loaded ({first_line(error)})") from None
    if loaded.similarity_fn_name not in SIMILARITIES:
        raise ConfigError(
            f"{key}: {name!r} compares by {loaded.similarity_fn_name}; only {' and '.join(SIMILARITIES)} are searched"
        )
    transformer = loaded.transformers_model
    if loaded.device.type == "cpu" and transformer is not None and bf16_pays(transformer.config):
        loaded.bfloat16()
    return Encoder(
        SortedEncoder(loaded),
        identity_of(name),
        str(folder.resolve()) if folder.is_dir() else model,
        loaded.similarity_fn_name == "cosine",
    )


def identity_of(model: str) -> str:
    """A hash of the files of a model's folder, checkpoints and cards apart; of a hub name the name and its commit."""
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{_commit(model)}"
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors", ".bin", ".txt", ".model") and _decides(path):
            total.update(str(path.relative_to(folder)).encode())
            with open(path, "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _decides(path: Path) -> bool:
    """Whether a file of a model's folder decides its vectors; what a run writes next to a student does not."""
    return path.name not in (
        "manifest.json",
        "job.json",
        "result.json",
        "rejected.json",
        "calibration.json",
        "stderr.txt",
    )


def _commit(model: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model, "config.json")
    return Path(cached).parent.name if isinstance(cached, str) else "unknown"
