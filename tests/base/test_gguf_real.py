"""The conversion of real GGUF files: their tokenizers encode as llama.cpp does. Needs `make real-base`."""

from __future__ import annotations

import json
import unicodedata
import urllib.request
from pathlib import Path

import pytest

from distill.gguf_base import AWKWARD, describe, read
from tests.llama_server import llama_server

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"smollm2-135m": ("llama", "Q4_1", 134_515_008), "qwen-0.5b": ("qwen2", "Q4_K_M", 494_032_768)}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_awkward_texts_are_encoded_as_by_llama_cpp(name: str) -> None:
    from transformers import AutoTokenizer

    file, folder = ROOT / "models" / f"{name}.gguf", ROOT / "models" / name
    if not (file.is_file() and folder.is_dir()):
        pytest.skip(f"needs the real base at {folder} (make real-base)")
    model = describe(read(file))
    assert (model.architecture, model.quantisation, model.parameters) == MODELS[name]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with llama_server(file) as url:
        for text in AWKWARD:
            # Qwen's own tokenizer composes accents first, llama.cpp does not.
            given = unicodedata.normalize("NFC", text) if name.startswith("qwen") else text
            body = json.dumps({"content": given, "add_special": False, "parse_special": False}).encode()
            request = urllib.request.Request(
                url.removesuffix("/v1") + "/tokenize", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                expected = json.load(answer)["tokens"]
            assert tokenizer.encode(text, add_special_tokens=False) == expected, text
