"""A retriever that needs no training: each word has a vector of its own, and a text is their mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

WORDS = [
    "fox",
    "owl",
    "den",
    "wood",
    "night",
    "bee",
    "badger",
    "field",
    "runs",
    "over",
    "mondays",
    "sundays",
    "museum",
    "opens",
]


@pytest.fixture(scope="session")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a retriever."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.eye(len(vocabulary), dtype=np.float32)
    weights[0] = 0
    folder = tmp_path_factory.mktemp("retriever") / "model"
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module]).save(str(folder), create_model_card=False)
    return folder
