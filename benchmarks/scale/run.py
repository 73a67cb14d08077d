"""Memory and time of every stage by the number of pairs: `python benchmarks/scale/run.py [--sizes 50000 200000] ...`.

Each stage is a `distill` command in a process of its own, over synthetic pairs of which two in five have a trace
(`data.py`). Measured are its seconds and the peak memory of its largest process (VmHWM), next to what importing torch
costs alone; `all_mb` is the most that it and its children held together. JSON goes to --json, a Markdown table to
standard output.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from data import BASE_PAIRS, config, write_data

from distill.stages import BY_NAME

STAGES = ("pairs", "trace", "filter", "dataset", "sft", "evaluate", "report")
SIZES = (50_000, 200_000, 1_000_000)
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """One stage at one size. `peak_mb` is of the largest process, `all_mb` of all that lived at the same time."""

    pairs: int
    stage: str
    seconds: float
    peak_mb: int
    all_mb: int


class Memory(threading.Thread):
    """Watches a process and its children until it ends."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process, self._over = process, threading.Event()
        self.peaks: dict[int, int] = {}  # process -> its VmHWM in kB
        self.together = 0
        self.start()

    def run(self) -> None:
        while not self._over.wait(POLL_S):
            held = 0
            for process in _family(self._process):
                status = _status(process)
                self.peaks[process] = max(self.peaks.get(process, 0), status.get("VmHWM", 0))
                held += status.get("VmRSS", 0)
            self.together = max(self.together, held)

    def stop(self) -> None:
        """To be called before the process is waited for."""
        self._over.set()
        self.join()


def _family(process: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [process, *(each for child in children for each in _family(child))]


def _status(process: int) -> dict[str, int]:
    """The kB of a process's memory, by the kernel's names."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


def measure(command: Sequence[str], log: Path, limit_gb: float | None = None) -> tuple[float, int, int]:
    """(seconds, MB of the largest process, MB of all together) of a command. Raises SystemExit where it fails.

    `limit_gb` bounds the address space of each of its processes.
    """
    started = time.monotonic()
    with open(log, "a") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=_limited(limit_gb))
        memory = Memory(process.pid)
        status = process.wait()
        memory.stop()
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}; see {log}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - started, max(memory.peaks.values()) // 1024, memory.together // 1024


def _limited(limit_gb: float | None) -> Callable[[], None] | None:
    if limit_gb is None:
        return None
    bound = int(limit_gb * 2**30)
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def command(stage: str, configuration: Path, run: Path) -> list[str]:
    """The command of a stage."""
    return [sys.executable, "-m", "distill.cli", stage, str(configuration), "--out", str(run)]


def make_base(folder: Path) -> str:
    """A small untrained base with a tokenizer of 8,192 tokens, made by a run of `base: scratch`."""
    run = folder / "base-run"
    if not (run / "students" / "untrained" / "manifest.json").exists():
        write_data(folder / "base-data", BASE_PAIRS)
        (folder / "base.yaml").write_text(config(folder / "base-data", "scratch"))
        for stage in STAGES[:5]:
            measure(command(stage, folder / "base.yaml", run), folder / "base.log")
    return str(run / "students" / "untrained")


def run_size(folder: Path, base: str, pairs: int, stages: Sequence[str], limit_gb: float | None) -> list[Measured]:
    """Measure the stages at one size, in their order; those before the first one are taken from an earlier call.

    What an earlier call made of them and of those after them is removed.
    """
    data, run, log = folder / f"data-{pairs}", folder / f"run-{pairs}", folder / f"{pairs}.log"
    write_data(data, pairs)
    configuration = folder / f"{pairs}.yaml"
    configuration.write_text(config(data, base))
    if stages[0] == STAGES[0]:
        shutil.rmtree(run, ignore_errors=True)
        log.unlink(missing_ok=True)
    for stage in STAGES[STAGES.index(stages[0]) : -1]:
        shutil.rmtree(run / BY_NAME[stage].folder, ignore_errors=True)
    measured = []
    for stage in stages:
        seconds, peak, together = measure(command(stage, configuration, run), log, limit_gb)
        measured.append(Measured(pairs, stage, round(seconds, 1), peak, together))
        print(f"{pairs:,} {stage}: {seconds:.1f} s, {peak:,} MB, {together:,} MB together", file=sys.stderr)
    return measured


def table(measured: Sequence[Measured], fixed_mb: int) -> str:
    """A Markdown table: a row a stage; seconds and MB by size, and the growth of memory between the last two sizes."""
    sizes = sorted({each.pairs for each in measured})
    found = {(each.stage, each.pairs): each for each in measured}
    head = ["stage", *(f"{size:,}: s" for size in sizes), *(f"{size:,}: MB" for size in sizes), "growth"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for stage in dict.fromkeys(each.stage for each in measured):
        there = [found[stage, size] for size in sizes if (stage, size) in found]
        growth = f"{there[-1].peak_mb / there[-2].peak_mb:.2f}" if len(there) > 1 else ""
        seconds = [f"{found[stage, size].seconds:,}" if (stage, size) in found else "" for size in sizes]
        memory = [f"{found[stage, size].peak_mb:,}" if (stage, size) in found else "" for size in sizes]
        rows.append([stage, *seconds, *memory, growth])
    rows.append(["importing torch alone", *[""] * len(sizes), *[f"{fixed_mb:,}"] * len(sizes), ""])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="numbers of pairs")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--folder", type=Path, help="where data and runs lie; what is there is used again")
    parser.add_argument("--limit-gb", type=float, help="bound the address space of every process")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    stages = [stage for stage in STAGES if stage in given.stages]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        _, fixed, _ = measure([sys.executable, "-c", "import torch, time; time.sleep(0.5)"], folder / "torch.log")
        base = make_base(folder)
        measured: list[Measured] = []
        for size in given.sizes:
            measured += run_size(folder, base, size, stages, given.limit_gb)
            if given.json:
                figures = {"import_torch_mb": fixed, "limit_gb": given.limit_gb, "stages": list(map(asdict, measured))}
                given.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(table(measured, fixed))


if __name__ == "__main__":
    main()
