"""The targets, one class in one file each. Used by the settings, the dataset, training, evaluation and the estimate.

A built-in one is found by being in this folder; one's own is named `file.py:Class` in `sft.targets`, the path relative
to the configuration's folder, and inherits from `sft.targets.base.Target`.
"""

from __future__ import annotations

from distill.plugins import Kind
from sft.targets.base import Target

TARGETS: Kind[Target] = Kind("target", "sft.targets", Target)  # type: ignore[type-abstract, unused-ignore]


def target_of(name: str) -> Target:
    """The target of that name. Raises ConfigError for an unknown one, or a file that does not hold it."""
    return TARGETS.load(name)()
