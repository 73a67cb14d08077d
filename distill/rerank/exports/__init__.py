"""A student in the formats that other servers load, one file a format, each checked against the student itself.

`distill.cli.export` uses it; what a format is, `base.Format` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.rerank.exports.base import Format

FORMATS = {
    "seq-cls": "a classifier of one logit, for vLLM's /rerank and /score, Infinity, transformers",
    "cross-encoder": "a reranker for sentence-transformers' CrossEncoder, from 5.4 on",
    "gguf": "16 bits, for llama.cpp",
    "gguf-q8_0": "8 bits, for llama.cpp",
    "onnx": "a graph from token ids to the log-odds, for onnxruntime",
}


def load(name: str) -> Format:
    """The format of that name. Raises KeyError for an unknown one."""
    from distill.rerank.exports import cross_encoder, gguf, onnx, seq_cls

    formats: dict[str, Format] = {
        "seq-cls": seq_cls.SeqCls(),
        "cross-encoder": cross_encoder.CrossEncoder(),
        "gguf": gguf.Gguf("F16"),
        "gguf-q8_0": gguf.Gguf("Q8_0"),
        "onnx": onnx.Onnx(),
    }
    return formats[name]
