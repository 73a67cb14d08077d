"""Memory and time of every stage by the number of pairs: `python benchmarks/scale/run.py [--sizes 50000 200000] ...`.

Each stage is a `distill` command in a process of its own, over synthetic pairs of which two in five have a trace
(`data.py`). Measured are its seconds and the peak memory of its largest process (VmHWM), next to what importing torch
costs alone; `all_mb` is the most that it and its children held together. JSON goes to --json, a Markdown table to
standard output. Where Chromium is on the PATH and playwright installed, the report is opened in it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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


def run_size(folder: Path, base: str, pairs: int, stages: Sequence[str], limit_gb: float | None) -> Iterator[Measured]:
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
    for stage in stages:
        seconds, peak, together = measure(command(stage, configuration, run), log, limit_gb)
        yield Measured(pairs, stage, round(seconds, 1), peak, together)


def opening(report: Path) -> float | None:
    """Seconds until a report is drawn in a new headless Chromium; None without Chromium and playwright."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None or importlib.util.find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--disable-gpu"])
        page = browser.new_page()
        started = time.monotonic()
        page.goto(report.as_uri())
        page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        seconds = time.monotonic() - started
        browser.close()
    return round(seconds, 2)


def machine() -> dict[str, str | float | None]:
    """What the figures depend on."""
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", *sys.argv]),
    }


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
        about = {"machine": machine(), "import_torch_mb": fixed, "limit_gb": given.limit_gb}
        measured: list[Measured] = []
        opened: dict[str, float | None] = {}
        for size in given.sizes:
            for one in run_size(folder, base, size, stages, given.limit_gb):
                measured.append(one)
                if one.stage == "report":
                    opened[str(size)] = opening(folder / f"run-{size}" / "report.html")
                print(f"{one} {opened.get(str(size), '')}", file=sys.stderr)
                if given.json:
                    figures = {**about, "report_opens_s": opened, "stages": list(map(asdict, measured))}
                    given.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(table(measured, fixed))


if __name__ == "__main__":
    main()
