"""`distill runs`: a table of run folders. `distill compare`: two of them side by side. Added to the group by cli."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distill.commands import FILE, Command
from distill.errors import DataError
from distill.stages import STAGES
from distill.tables import counted

if TYPE_CHECKING:
    from rich.console import Console

    from distill.report.files import RunFiles

WIDTH = 240  # characters, where there is no terminal: one line a row for whoever reads it by a program
VERDICTS = ("unparsable", "verdict_accuracy")
Settings = dict[str, object]
ByMeasure = Mapping[str, Mapping[str, float]]  # {measure: {unit: value}}


@click.command("runs", cls=Command)
@click.argument("folders", nargs=-1, type=FILE, metavar="[FOLDER]...", help="runs, or folders of runs (default: runs)")
def runs(folders: tuple[Path, ...]) -> int:
    """List runs: how far each is, traces kept, its best student with the 95 % interval, the teacher's cost, its age."""
    from rich.table import Column, Table

    there = list(_run_folders(folders or (Path("runs"),)))
    if not there:
        named = ", ".join(map(str, folders or (Path("runs"),)))
        raise DataError(f"{named}: holds no run; `distill run CONFIG` makes one")
    table = Table(
        Column("run", no_wrap=True),
        "state",
        "kept",
        "best student",
        "USD",
        "age",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for folder in there:
        table.add_row(*_row(folder))
    console().print(table)
    return 0


def console() -> Console:
    """Standard output as rich writes it; as wide as `WIDTH` where it is no terminal."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(width=WIDTH, highlight=False)


def _run_folders(places: tuple[Path, ...]) -> Iterator[Path]:
    from distill.config import resolved

    for place in places:
        if not place.is_dir():
            raise DataError(f"{place}: no such folder of runs")
        if resolved(place):
            yield place
        else:
            yield from (path for path in sorted(place.iterdir()) if path.is_dir() and resolved(path))


def _row(folder: Path) -> list[str]:
    from distill.report.files import RunFiles

    files = RunFiles(folder)
    states = [files.state(stage.name) for stage in STAGES]
    done = states.count("done")
    open_stage = next((stage.name for stage, state in zip(STAGES, states, strict=True) if state != "done"), "")
    state = "done" if done == len(STAGES) else f"{done}/{len(STAGES)}, next: {open_stage}"
    later = [stage.folder for stage, reached in zip(STAGES, states, strict=True) if reached != "done"]
    if open_stage == "sft" and not any((folder / name).exists() for name in later):
        state = "dataset ready"
    kept = files.counts("filter").kept
    cost = files.cost_usd
    newest = max((path.stat().st_mtime for path in folder.iterdir()), default=0.0)
    return [
        str(folder), state, "" if kept is None else f"{kept:,}", best_student(files),
        "" if cost is None else f"{cost:,.2f}", _age(time.time() - newest),
    ]  # fmt: skip


def best_student(files: RunFiles) -> str:
    """Such as `think nDCG@10 0.812 [0.770 to 0.851] on test`; "" where nothing was evaluated."""
    from distill.report.evaluated import evaluation_sets
    from distill.report.result import main_set
    from distill.report.words import interval_text, measure

    main = main_set(evaluation_sets(files))
    if main is None:
        return ""
    best, primary = main.students[0], main.primary or ""
    bounds = interval_text(main.interval(best, primary), "to")
    return f"{best} {primary} {measure(main.value(best))}{f' [{bounds}]' if bounds else ''} on {main.name}"


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now"


@click.command("compare", cls=Command)
@click.argument("first", type=FILE, metavar="A", help="a run folder, or the log of a shadow student")
@click.argument("second", type=FILE, required=False, metavar="[B]", help="another run folder")
def compare(first: Path, second: Path | None) -> int:
    """Two runs: the settings that differ, and their measures over the queries that both have, with a paired test.

    Of a log of `distill serve --shadow-log`: how far the two students agree on order and scores, and where not.
    """
    from distill.cli.shadow import compare_log
    from distill.config import resolved

    if second is None:
        return compare_log(first, console())
    configs = [resolved(folder) for folder in (first, second)]
    for folder, config in zip((first, second), configs, strict=True):
        if config is None:
            raise DataError(f"{folder}: is no run folder: it has no config.yaml of a run")
    _settings(*(dict(_flat(_with_defaults(config or {}))) for config in configs))
    _measures(first, second)
    return 0


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """The settings, with defaults for those that an older version lacked; as they are where they do not load."""
    from pydantic import ValidationError

    from distill.errors import DistillError
    from distill.pipeline.config import RunConfig

    try:
        return RunConfig.model_validate(config).model_dump(mode="json", exclude_none=True)
    except (ValidationError, DistillError):
        return config


def _flat(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """(key path, value) of every setting; the items of a list of mappings by their names."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, inner in enumerate(value):
            name, settings = _named(inner)
            yield from _flat(settings, f"{path}.{name or number}")
    else:
        yield path, value


def _named(item: object) -> tuple[str, object]:
    """(the name of a list's item, its settings): its `name`, `target` or `base_url`, or its only key, as filters have.

    An item that is a word has its name alone, and is "on".
    """
    if not isinstance(item, Mapping):
        return str(item), "on"
    if len(item) == 1:
        ((name, settings),) = item.items()
        return str(name), settings or "on"
    own = next((key for key in ("name", "target", "base_url") if item.get(key)), "")
    return str(item.get(own, "")), {key: value for key, value in item.items() if key != own}


def _settings(first: Settings, second: Settings) -> None:
    from rich.table import Table

    table = Table("setting", "A", "B", box=None, pad_edge=False, header_style="bold")
    keys = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key) and key != "name"]
    for key in keys:
        table.add_row(key, *("–" if key not in side else str(side[key]) for side in (first, second)))
    console().print(table if keys else "The settings are the same.", markup=False)


def _measures(first: Path, second: Path) -> None:
    """A table a set. Raises DataError where the runs share no set, system or query."""
    from rich.table import Table

    from distill.evaluation.evaluate import summarise
    from distill.evaluation.seeds import details
    from distill.report.words import measure, signed
    from distill.statistics.significance import holm

    a, b = details(first), details(second)
    compared = tested = 0
    for name in (name for name in a if name in b):
        _check_queries(first, second, name)
        both = {system: _shared(a[name][system], b[name][system]) for system in a[name] if system in b[name]}
        results = {system: summarise(sides, seed=0, baseline="A") for system, sides in both.items() if sides["A"]}
        if not results:
            continue
        compared += 1
        table = Table("measure", "system", "A", "B", "B - A", "95 % interval", "p", box=None, pad_edge=False,
                      header_style="bold")  # fmt: skip
        same: dict[str, list[str]] = {}
        for what in dict.fromkeys(what for result in results.values() for what in result.tests["B"]):
            having = [system for system, result in results.items() if what in result.tests["B"]]
            changed = [system for system in having if both[system]["A"].get(what) != both[system]["B"].get(what)]
            alike = [system for system in having if system not in changed]
            if alike:
                same.setdefault(", ".join(alike) if changed else "all", []).append(what)
            corrected = holm([results[system].tests["B"][what].p_holm for system in changed])
            for system, p in zip(changed, corrected, strict=True):
                result = results[system]
                test, (low, high) = replace(result.tests["B"][what], p_holm=p), result.differences["B"][what]
                table.add_row(
                    what, system, measure(result.measures["A"][what]), measure(result.measures["B"][what]),
                    signed(test.difference), f"{signed(low)} to {signed(high)}",
                    f"{test.p_text}{' *' if test.significant else ''}",
                )  # fmt: skip
        units = {unit for system in results for values in both[system]["A"].values() for unit in values}
        console().print(f"\n{name}: {counted(len(units), 'query')} that both have", markup=False)
        if table.row_count:
            tested += 1
            console().print(table)
        for systems, measures in same.items():
            of = "" if systems == "all" else f", of {systems}"
            console().print(f"the same for every query{of}: {', '.join(measures)}", markup=False, style="dim")
        for row in _of_answers(first, second, name):
            console().print(row, markup=False)
    if not compared:
        raise DataError(f"{first} and {second} share no evaluation set with a system and a query that both have")
    if tested:
        note = "* p < 0.05: paired by query, corrected by Holm's method over the systems of a measure."
        console().print(f"\n{note} Not covered: the spread over seeds.", style="dim")


def _of_answers(first: Path, second: Path, name: str) -> Iterator[str]:
    """A line on each measure of verdicts that differs between the runs, and on each student with few verdicts.

    Such measures have no value by query: each is over all the queries of its run.
    """
    from distill.report.evaluated import evaluation_sets
    from distill.report.files import RunFiles
    from distill.report.notices import without_verdict
    from distill.report.words import measure

    a, b = (
        next((each for each in evaluation_sets(RunFiles(folder)) if each.name == name), None)
        for folder in (first, second)
    )
    if a is None or b is None:
        return
    for what in VERDICTS:
        for system in (system for system in a.measures if system in b.measures):
            left, right = a.value(system, what), b.value(system, what)
            if left is not None and right is not None and left != right:
                yield f"{what} of {system}: A {measure(left)}, B {measure(right)} (all queries of each run)"
    for side, each in (("A", a), ("B", b)):
        yield from (f"{side}, {sentence}" for sentence in without_verdict(each))


def _check_queries(first: Path, second: Path, name: str) -> None:
    """Raises DataError where one id is two queries, as of runs whose example, or whose own set, was another."""
    from distill import store
    from distill.results import SetDetail, read_as

    paths = [folder / "evaluation" / f"{name}.json" for folder in (first, second)]
    a, b = (read_as(SetDetail, store.read_json(path)).queries for path in paths)
    other = [query_id for query_id in a if query_id in b and a[query_id] != b[query_id]]
    if other:
        raise DataError(
            f"{name}: {counted(len(other), 'query')} of {len(a.keys() & b.keys()):,} that both runs have by id "
            f"{'has' if len(other) == 1 else 'have'} another text ({other[0]}: {a[other[0]]!r} in {first}, "
            f"{b[other[0]]!r} in {second}); measures are compared on the same queries: evaluate both runs on one set"
        )


def _shared(first: ByMeasure, second: ByMeasure) -> dict[str, dict[str, dict[str, float]]]:
    """{A and B: {measure: {unit: value}}} of the units that both have."""
    sides: dict[str, dict[str, dict[str, float]]] = {"A": {}, "B": {}}
    for what, left in first.items():
        right = second.get(what, {})
        if units := sorted(left.keys() & right.keys()):
            sides["A"][what] = {unit: left[unit] for unit in units}
            sides["B"][what] = {unit: right[unit] for unit in units}
    return sides
