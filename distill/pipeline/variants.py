"""The variants that `ablate` names: every combination of values that settings take. Used by ablation and the cli."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill import config, store
from distill.errors import ConfigError
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run

LEAVE_ONE_OUT = "leave_one_out"
TARGETS, SIZES = "sft.targets", "sft.train_size"


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination: `label` for people, `name` for its folder, `changes` {key.path: value}."""

    label: str
    name: str
    changes: dict[str, Any]


def variants(settings: RunConfig) -> list[Variant]:
    """Every combination that `ablate` names; several grids side by side where it is a list.

    `sft.targets` and `sft.train_size` become students of one variant, since students of equal data can share
    everything else. Raises ConfigError for values that make no combination.
    """
    found: dict[str, Variant] = {}
    for grid in settings.ablate:
        values = {key: _values(settings, key, given) for key, given in grid.items() if key not in (TARGETS, SIZES)}
        students = _students(settings, grid)
        for combination in itertools.product(*values.values()):
            labels = [label for label, _ in combination]
            changes = {key: value for key, (_, value) in zip(values, combination, strict=True)}
            if students is not None:
                labels, changes = [*labels, "students"], {**changes, TARGETS: students}
            label = ", ".join(labels)
            slug = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-").lower()[:48]
            variant = Variant(label, f"{slug}-{store.fingerprint(changes)[:6]}", changes)
            found.setdefault(variant.name, variant)
    return list(found.values())


def _values(settings: RunConfig, key: str, given: Any) -> list[tuple[str, Any]]:
    """[(label, value)] of one key."""
    if key == "filters" and given == LEAVE_ONE_OUT:
        chain = settings.model_dump(mode="json")["filters"]
        names = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in chain]
        return [(f"without {name}", chain[:at] + chain[at + 1 :]) for at, name in enumerate(names)]
    if not isinstance(given, list) or not given:
        more = f", or {LEAVE_ONE_OUT}" if key == "filters" else ""
        raise ConfigError(f"ablate.{key}: is a list of the values that the setting takes{more}")
    return [(f"{key.rpartition('.')[2]} {_short(value, at)}", value) for at, value in enumerate(given, 1)]


def _short(value: Any, at: int) -> str:
    if isinstance(value, dict):
        text = " ".join(f"{key} {each}" for key, each in value.items() if not isinstance(each, dict | list))
    else:
        text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if text and len(text) <= 60 else f"#{at}"


def _students(settings: RunConfig, grid: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The students of a grid: every target in every size."""
    if TARGETS not in grid and SIZES not in grid:
        return None
    own = [student.model_dump(mode="json", exclude_none=True) for student in settings.sft.targets]
    targets = [{"target": each} if isinstance(each, str) else dict(each) for each in grid.get(TARGETS, own)]
    sizes = grid.get(SIZES, [None])
    if not all(size is None or (isinstance(size, int) and size > 0) for size in sizes):
        raise ConfigError(f"ablate.{SIZES}: is a list of numbers of pairs, null for all of them")
    found = []
    for target, size in itertools.product(targets, sizes):
        name = target.get("name") or target.get("target", "")
        found.append({**target, "name": f"{name}_{size}", "train_size": size} if size else {**target, "name": name})
    return found


def configured(run: Run, variant: Variant, overrides: Sequence[str]) -> Run:
    """The variant as a run. Raises ConfigError, with the variant's name, where its settings are impossible."""
    raw = config.apply_overrides(config.read_yaml(run.origin), overrides)
    raw.pop("ablate", None)
    config.apply_overrides(raw, (f"{key}={json.dumps(value)}" for key, value in variant.changes.items()))
    teacher = raw.setdefault("teacher", {})
    if teacher.get("source") != "import":
        teacher.setdefault("journal", run.config.teacher.journal or str((run.traces / "journal").resolve()))
    settings = config.validate(RunConfig, raw, f"{run.origin}, ablate, {variant.label}")
    variant_run = Run(settings, run.folder / "ablation" / variant.name, run.origin, run.quiet)
    variant_run.mirror = run.mirror
    return variant_run
