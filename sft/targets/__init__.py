"""The targets, one class in one file each. Used by the settings, the dataset, training, evaluation and the estimate.

A built-in one is found by being in this folder; one's own is named `file.py:Class` in `sft.targets`, the path relative
to the configuration's folder, and inherits from `sft.targets.base.Target`.
A built-in one may be a `PairTarget` instead, whose students write nothing.
"""

from __future__ import annotations

from distill.errors import ConfigError
from distill.plugins import Kind
from sft.targets.base import AnyTarget, PairTarget, Target

TARGETS: Kind[AnyTarget] = Kind(
    "target",
    "sft.targets",
    AnyTarget,  # type: ignore[type-abstract, unused-ignore]
    inherit="sft.targets.base.Target",
)


def target_of(name: str) -> AnyTarget:
    """The target of that name. Raises ConfigError for an unknown one, or a file that does not hold it."""
    return TARGETS.load(name)()


def writing_target(name: str) -> Target:
    """The target of that name, whose students write. Raises ConfigError also for one whose students do not."""
    target = target_of(name)
    if not isinstance(target, Target):
        raise ConfigError(f"target {name!r} trains students that write nothing")
    return target


def pair_target(name: str) -> PairTarget | None:
    """The target of that name where its students write nothing, else None. Raises ConfigError for an unknown one."""
    target = target_of(name)
    return target if isinstance(target, PairTarget) else None
