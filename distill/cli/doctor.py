"""`distill doctor`: what this machine has, and with a configuration what a run of it would stop at, before it does."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distill.commands import FILE, PLACE, Command
from distill.errors import ConfigError, DiskFull, InputError, Stopped
from distill.tables import counted

if TYPE_CHECKING:
    from distill.pipeline.probe import ProbeResult
    from distill.pipeline.run import Run

FINE, WARN, FAULT = "✓", "!", "✗"
COLOURS = {FINE: "green", WARN: "yellow", FAULT: "red"}
OF_PROBE = ("settings", "key", "pairs", "teacher", "teacher's files")  # what a probe needs; a base is not among it
LEAST_GIB = 5  # free on the disk: a small student and its checkpoints
SHOWN = 600  # characters of a trace


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: a mark, what was looked at, and what was found, with the remedy where it is not fine."""

    mark: str
    name: str
    text: str


@click.command("doctor", cls=Command)
@click.argument("config", type=FILE, required=False, metavar="[CONFIG]", help="a YAML file to check as `run` does")
@click.argument("overrides", nargs=-1, metavar="[key.path=value]...", help="settings on top")
@click.option("--out", type=PLACE, metavar="DIR", help="the run folder, or a URL (default: runs/NAME)")
@click.option(
    "--probe", type=click.IntRange(1), metavar="N", help="ask about N pairs for real: traces, agreement, price"
)
def doctor(config: Path | None, overrides: tuple[str, ...], out: Path | str | None, probe: int | None) -> int:
    """Look at this machine, and at a configuration: keys, endpoints, base, data, memory. Exit status 2 on a fault.

    With a CONFIG each endpoint gets one tiny request. The answers of --probe go into the journal of the run's folder,
    so `distill run` does not pay for them again.
    """
    if probe is not None and config is None:
        raise ConfigError("--probe needs a CONFIG: its teacher is asked about its pairs")
    marks = {_say(finding) for finding in _machine(out)}
    if config is not None:
        from distill.pipeline.execute import configured

        run = configured(config, overrides, out)
        findings = []
        for finding in _configuration(run):
            findings.append(finding)
            marks.add(_say(finding))
        stops = [finding.name for finding in findings if finding.mark == FAULT and finding.name in OF_PROBE]
        if probe is not None and stops:
            _say(Finding(FAULT, "probe", f"not asked: mend {', '.join(dict.fromkeys(stops))} above first"))
        elif probe is not None:
            from distill.pipeline.probe import probe as ask

            marks |= {_say(finding) for finding in _probed(run, ask(run, probe))}
    return 2 if FAULT in marks else 0


def _say(finding: Finding) -> str:
    mark = click.style(finding.mark, fg=COLOURS[finding.mark])
    first, *more = finding.text.splitlines() or [""]
    click.echo(f"{mark} {finding.name:<15} {first}")
    for line in more:
        click.echo(f"  {'':<15} {line}")
    return finding.mark


def _machine(out: Path | str | None) -> Iterator[Finding]:
    """Python, torch, GPU, memory, disk, Ray, vLLM and the extras."""
    from distill.disk import existing
    from sft.estimate.shapes import device_of

    yield Finding(FINE, "Python", f"{platform.python_version()} ({sys.executable})")
    device, torch = device_of(None), _version("torch")
    gpu = device.name != "cpu"
    if torch is None:
        yield Finding(FAULT, "torch", "not installed; pip install torch")
    elif gpu and "+cpu" in torch:
        yield Finding(
            FAULT, "torch", f"{torch} is a CPU build, and there is a GPU; pip install --force-reinstall torch"
        )
    else:
        yield Finding(FINE, "torch", f"{torch}, transformers {_version('transformers')}, trl {_version('trl')}")
    if gpu:
        yield Finding(FINE, "GPU", f"{device.name}, {device.memory_gib:.0f} GiB")
    else:
        yield Finding(WARN, "GPU", "none is found: students above 0.5 billion parameters train for days")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding(
        FINE if memory >= 7.5 else WARN, "memory", f"{memory:.0f} GiB, {counted(os.cpu_count() or 1, 'core')}"
    )
    place = existing(out if isinstance(out, Path) else Path("runs"))
    free = shutil.disk_usage(place).free / 2**30
    remedy = "" if free >= LEAST_GIB else "; free some, or name another disk with --out"
    yield Finding(WARN if remedy else FINE, "disk", f"{free:.0f} GiB free at {place.resolve()}{remedy}")
    cluster = os.environ.get("RAY_ADDRESS")
    ray = _version("ray")
    where = f"RAY_ADDRESS is {cluster}" if cluster else "on this machine, RAY_ADDRESS is not set"
    yield Finding(FINE, "Ray", f"{ray}, {where}") if ray else Finding(FAULT, "Ray", "not installed; pip install ray")
    vllm = _version("vllm")
    yield Finding(
        FINE, "vLLM", vllm or "not installed; needed for teacher.source: vllm and scoring.backend: vllm alone"
    )
    has, lacks = _extras()
    yield Finding(
        FINE, "extras", f"installed: {', '.join(has) or 'none'}" + (f"; not: {', '.join(lacks)}" if lacks else "")
    )


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # slow to load, for all commands

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extras() -> tuple[list[str], list[str]]:
    """(extras of the project of which all packages are installed, the others), as the installed metadata names them."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    try:
        needs = [Requirement(text) for text in requires("rerank-distill") or ()]
    except PackageNotFoundError:
        return [], []
    packages: dict[str, list[str]] = {}
    for need in needs:
        extra = str(need.marker).partition('extra == "')[2].partition('"')[0] if need.marker else ""
        if extra and extra != "dev" and extra != "vllm":
            packages.setdefault(extra, []).append(need.name)
    has = [extra for extra, names in packages.items() if all(map(_version, names))]
    return has, [extra for extra in packages if extra not in has]


def _configuration(run: Run) -> Iterator[Finding]:
    """What `run` checks at its start, each fault a line; one real request to each endpoint."""
    from distill.pipeline.check import check_settings, looks
    from distill.pipeline.stage import plan
    from distill.pipeline.stages import stages_of

    yield _looked("settings", lambda: check_settings(run), f"{run.origin} is sound")
    due = {stage for stage, is_due in plan(run, stages_of(run.config)) if is_due}
    if not due:
        yield Finding(FINE, "stages", f"all are done in {run.folder}: nothing would be made")
    keys = True
    for look in looks(run, due):
        finding = _pairs(run) if look.name == "pairs" else _looked(look.name, look.call)
        keys = keys and not (look.name == "key" and finding.mark == FAULT)
        yield finding
    endpoints = run.config.teacher.endpoints
    if endpoints and run.config.teacher.asks and keys and due & {"pairs", "trace"}:
        yield _looked("teacher", lambda: _ask_once(run), f"{', '.join(e.host for e in endpoints)} answers")
    elif run.config.teacher.embedded:
        yield Finding(FINE, "teacher", "the embedded one, which knows only the example's world")


def _pairs(run: Run) -> Finding:
    """What the stage `pairs` would make, by its own reader, and what is odd in the labels."""
    from distill.pipeline.check import read_pairs

    try:
        text, notes = read_pairs(run)
    except (InputError, DiskFull, Stopped) as error:
        return Finding(FAULT, "pairs", str(error))
    return Finding(WARN if notes else FINE, "pairs", "\n".join([text, *notes]))


def _looked(name: str, look: Callable[[], object], fine: str = "fine") -> Finding:
    try:
        look()
    except (InputError, DiskFull, Stopped) as error:
        return Finding(FAULT, name, str(error))
    return Finding(FINE, name, fine)


def _ask_once(run: Run) -> None:
    from teacher.preflight import preflight

    teacher = run.config.teacher
    keys = [endpoint.secret(number) for number, endpoint in enumerate(teacher.endpoints)]
    say = click.echo if teacher.reasoning is not None else None
    endpoints = [each.with_secrets(number) for number, each in enumerate(teacher.asked_at(teacher.endpoints))]
    preflight(endpoints, keys, teacher.deadline_s, teacher.sampling(0), say=say)


def _probed(run: Run, result: ProbeResult) -> Iterator[Finding]:
    """Traces to read, agreement, and price and time of the whole by what these answers took."""
    from teacher.agreement import LEAST

    failed = [row.answer.error for row in result.rows if row.answer.error is not None]
    answered = [row for row in result.rows if row.answer.error is None]
    for row in sorted(answered, key=lambda row: row.agrees is not False)[:3]:  # those that disagree come first
        label = "no label" if row.pair.label is None else f"label {row.pair.label:g}"
        says = {None: "no verdict that can be read", True: "relevant", False: "not relevant"}[row.says]
        click.echo(f"\n{label}, the teacher says: {says}\n  query     {row.pair.query}\n"
                   f"  passage   {_cut(row.pair.passage)}\n  reasoning {_cut(row.answer.reasoning)}")  # fmt: skip
    click.echo("")
    if failed:
        yield Finding(FAULT, "answers", f"{counted(len(failed), 'request')} failed, such as: {failed[0]}")
    unreadable = sum(row.says is None for row in answered)
    if unreadable:
        text = f"{unreadable} of {len(answered)} have no verdict that can be read; raise teacher.max_tokens"
        yield Finding(WARN if 2 * unreadable < len(answered) else FAULT, "verdicts", text)
    judged = [row for row in answered if row.agrees is not None]
    if judged:
        alike = sum(bool(row.agrees) for row in judged)
        sides = [[row for row in judged if row.pair.relevant is wanted] for wanted in (True, False)]
        parts = [f"{sum(bool(r.agrees) for r in side)} of {len(side)}" for side in sides]
        text = f"{alike} of {len(judged)} agree with the labels (relevant {parts[0]}, not relevant {parts[1]})"
        low = alike < LEAST * len(judged)
        more = "; fewer than 6 in 10: read the traces before spending more" if low else ""
        yield Finding(WARN if low else FINE, "agreement", text + more)
    whole = result.whole
    if isinstance(whole, str):
        yield Finding(FINE, "whole", whole)
        return
    usd = whole["basis"]["cost_usd"] if whole["cost_usd"] is None else f"about {whole['cost_usd']:,.2f} USD more"
    in_flight = counted(run.config.teacher.concurrency, "request")
    hours = f"{max(whole['seconds'] / 3600, 0.1):,.1f} h with {in_flight} in flight"
    paid = f"{whole['spent_usd']:,.4g} USD spent so far, kept in {run.traces / 'journal'}"
    yield Finding(FINE, "whole", f"{counted(whole['to_ask'], 'answer')} left: {usd}, {hours}; {paid}")


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."
