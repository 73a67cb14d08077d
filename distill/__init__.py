"""Distil reasoning rerankers from an R1-class teacher: pairs in, traces kept, students and a report out."""

import importlib

__version__ = "0.1.0"
__all__ = [
    "Overrides",
    "Rows",
    "Run",
    "Student",
    "ask_teacher",
    "evaluate",
    "filter_traces",
    "make_dataset",
    "make_pairs",
    "run",
    "train",
    "write_report",
]


def __getattr__(name: str) -> object:
    """The names of `distill.api`, loaded when one is used; their types are in __init__.pyi."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("distill.api"), name)
