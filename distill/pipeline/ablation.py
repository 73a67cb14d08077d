"""Ablations: `ablate` names settings and the values they take, and every combination becomes a variant of the run.

A variant is a run of its own in `ablation/NAME/`, but nothing is done twice: it shares the run's journal, so what the
teacher has been asked is not asked again; a stage that another variant has made from the same inputs by the same
settings is linked, not made; so is each student. Killed, the same command goes on from there.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill import config, store
from distill.errors import ConfigError
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run
from distill.pipeline.stage import Stage, run_stages

LEAVE_ONE_OUT = "leave_one_out"
TARGETS, SIZES = "sft.targets", "sft.train_size"
BESIDE = {"kept": ("rejected", "changed", "verdicts")}  # folders that a stage writes beside its own
NOT_LINKED = {"journal", ".journal"}  # what stays with the run that grows it


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
    for key, value in variant.changes.items():
        at, (*path, last) = raw, key.split(".")
        for part in path:
            at[part] = at.get(part) if isinstance(at.get(part), dict) else {}
            at = at[part]
        at[last] = value
    teacher = raw.setdefault("teacher", {})
    if teacher.get("source") != "import":
        teacher.setdefault("journal", str((run.folder / "traces" / "journal").resolve()))
    settings = config.validate(RunConfig, raw, f"{run.origin}, ablate, {variant.label}")
    return Run(settings, run.folder / "ablation" / variant.name, run.origin, run.quiet)


def run_variants(run: Run, line_of: Any, overrides: Sequence[str]) -> None:
    """Bring every variant up to date, and write ablation/: the table in Markdown and LaTeX, ablation.json, the curves.

    `line_of` gives a configuration's line of stages. The run itself is done; raises whatever stages raise.
    """
    from distill.pipeline import ablation_table

    planned = variants(run.config)
    if not planned:
        return
    runs = [(variant, configured(run, variant, overrides)) for variant in planned]  # all checked before one is run
    finished_runs = [run]
    linked: dict[str, list[str]] = {}
    for number, (variant, each) in enumerate(runs, 1):
        run.say(f"ablation {number}/{len(runs)}: {variant.label}")
        each.folder.mkdir(parents=True, exist_ok=True)
        each.write_config()
        before = store.read_json(each.folder / "linked.json") or []
        linked[variant.name] = before
        for stage in line_of(each.config):
            taken = reuse_stage(each, stage, finished_runs)
            if taken:
                linked[variant.name] = sorted({*linked[variant.name], *taken})
                store.write_json(each.folder / "linked.json", linked[variant.name])
            run_stages(each, (stage,), (stage.name,))
        finished_runs.append(each)
    if ablation_table.stale(run, runs):
        ablation_table.write(run, runs, linked)
        run.say(f"ablation: {run.folder / 'ablation' / 'table.md'}")


def reuse_stage(run: Run, stage: Stage, finished_runs: Sequence[Run]) -> list[str]:
    """Link the stage's folder from a run that has made the very same, else students that fit; returns what was."""
    if stage.done(run):
        return []
    wanted = store.stage_fingerprint(stage.name, stage.inputs(run), stage.settings(run))
    for donor in finished_runs:
        manifest = store.read_manifest(donor.at(stage.folder))
        if manifest is not None and manifest["fingerprint"] == wanted:
            for folder in (*BESIDE.get(stage.folder, ()), stage.folder):
                _link(donor.at(folder), run.at(folder))
            _counts(donor, run, stage)
            return [stage.name]
    return list(_students_of(run, finished_runs)) if stage.name == "sft" else []


def _students_of(run: Run, finished_runs: Sequence[Run]) -> Iterator[str]:
    """Link each student that another run has trained on the same examples; training looks again whether it fits."""
    manifest = store.read_manifest(run.at("dataset"))
    if manifest is None:
        return
    wanted = {name: {"examples": value} for name, value in manifest["result"]["hashes"].items()}
    wanted["untrained"] = {"texts": run.data_hash("kept")}
    for name, inputs in wanted.items():
        if store.read_manifest(run.at("students") / name) is not None:
            continue
        for donor in finished_runs:
            for folder in sorted(donor.at("students").glob("*/")):
                other = (store.read_manifest(folder) or {}).get("inputs") or {}
                if (folder.name == "untrained") != (name == "untrained"):
                    continue
                if all(other.get(key) == value for key, value in inputs.items()) and _same_sft(run, donor):
                    _link(folder, run.at("students") / name)
                    yield f"sft.{name}"
                    break
            else:
                continue
            break


def _same_sft(run: Run, donor: Run) -> bool:
    """Whether two runs train alike, whatever students they train."""
    excluded = {"targets", "parallel", "assume"}
    mine, other = (each.config.sft.model_dump(mode="json", exclude=excluded) for each in (run, donor))
    return bool(mine == other and run.config.seed == donor.config.seed)


def _counts(donor: Run, run: Run, stage: Stage) -> None:
    """What metrics.json says of a linked stage."""
    theirs, mine = donor.metrics(), run.metrics()
    if stage.name in theirs["stages"]:
        mine["stages"][stage.name] = theirs["stages"][stage.name]
    if stage.name == "evaluate":
        mine["evaluation"], mine["intervals"] = theirs["evaluation"], theirs["intervals"]
    run.write_metrics(mine)


def _link(source: Path, target: Path) -> None:
    """The files of a folder under another name, without a copy where the file system can; the manifest last."""
    if not source.is_dir():
        return
    store.clear(target)
    target.mkdir(parents=True)
    files = [
        p for p in sorted(source.rglob("*")) if p.is_file() and not set(p.relative_to(source).parts) & {*NOT_LINKED}
    ]
    for path in sorted(files, key=lambda p: (p == source / store.MANIFEST, p)):
        to = target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, to)
        except OSError:
            shutil.copy2(path, to)
