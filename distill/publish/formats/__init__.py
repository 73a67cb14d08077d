"""One file a format: each writes a run's kept rows as another tool reads them.

A format is a module with `write(kept, out, name) -> Written`.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

FORMATS = {
    "dataset": "Parquet by split with every column (the default)",
    "trl": "prompt and completion for `trl sft --config`",
    "trl-grpo": "prompts with their grades for `trl grpo --config`, and the rewards",
    "trl-distillation": "prompts for `trl distillation --config`, with a teacher of yours",
    "llama-factory": "ShareGPT conversations and dataset_info.json",
    "messages": "chat messages with the reasoning in a field of its own",
    "rank1": "instruction, input, output, as Rank1's published training data",
    "sentence-transformers": "pairs with a score, and triplets",
    "beir": "corpus, queries and qrels with the labels as they now are",
}


def load(name: str) -> ModuleType:
    """The module of a format. Raises KeyError for an unknown one."""
    if name not in FORMATS:
        raise KeyError(name)
    return import_module(f"{__name__}.{name.replace('-', '_')}")
