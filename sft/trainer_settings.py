"""Settings that go to a trainer by its own names (`sft.training`, a student's `training`): which may be set, and their
types. Used by `sft.settings` and `sft.student_settings`."""

from __future__ import annotations

import difflib
from typing import Any

from sft.trl_fields import TRL_FIELDS

# Set by this package for every student alike; a configuration names them elsewhere or not at all.
OWN = {
    "output_dir": "the run folder decides it",
    "max_length": "set sft.max_length",
    "seed": "set the run's seed, or sft.seed",
    "data_seed": "set the run's seed, or sft.seed",
    "completion_only_loss": "the loss is always on the completion only",
    "assistant_only_loss": "the loss is always on the completion only",
    "packing_strategy": "only 'bfd' keeps documents apart; it is always used with packing: true",
    "truncation_mode": "nothing is ever truncated",
    "dataset_text_field": "the rows are made here",
    "eval_strategy": "sft.dev says what is measured during training, and how often",
    "eval_steps": "set sft.dev.every",
    "load_best_model_at_end": "with sft.dev the best checkpoint is always the student",
    "metric_for_best_model": "set sft.dev.best_by",
    "fsdp": "set sft.ray.shard",
    "remove_unused_columns": "the rows are made here",
}
_CHECKS: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}


def checked_training(training: dict[str, Any]) -> dict[str, Any]:
    """The settings of a trainer, typed. Raises ValueError for an unknown name, and one that is set elsewhere."""
    checked = {}
    for name, value in training.items():
        if name in OWN:
            raise ValueError(f"{name} cannot be set here: {OWN[name]}")
        if name not in TRL_FIELDS:
            near = difflib.get_close_matches(name, TRL_FIELDS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "see the TRL documentation"
            raise ValueError(f"{name} is not a name of TRL's SFTConfig; {hint}")
        checked[name] = _typed(name, TRL_FIELDS[name], value)
    return checked


def _typed(name: str, kind: str, value: Any) -> Any:
    if value is None or kind == "any":
        return value
    if kind == "float" and isinstance(value, str):  # YAML reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{name} is a number (got {value!r})") from None
    if not isinstance(value, _CHECKS[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise ValueError(f"{name} is of type {kind} (got {value!r})")
    return value
