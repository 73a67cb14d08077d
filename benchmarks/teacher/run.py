"""The figures of the teacher: how near to the ideal, at what CPU and memory, and what a kill or faults cost.

    python benchmarks/teacher/run.py [steady tail stress memory resume faults] [--repeat 5] [--busy 1] [--out FILE.json]

Each case has its own server process (server.py). `ratio` is the time from the first request to the last answer, over
the ideal: the same latencies, first in first out, on as many slots as may be in flight. On a busy machine the ratio of
`stress` says little by itself: it is to be read beside the peer's, which is run before and after it. `--busy N` keeps N
processes computing all the while. `--scale 0.1` asks a tenth, to see that everything works. Every case prints a line of
JSON and whether it reached its bounds, and with `--repeat` the median and the range of each bounded figure; the exit
status is 1 when a bound was missed.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parent)]
from chaos import journalled, log_of, server  # noqa: E402

CAP = 256
CASES = ("steady", "tail", "stress", "memory", "resume", "faults")
MIX = ("429", "500", "reset", "broken", "malformed")  # what the neighbouring tools were given, hanging ones apart
EVERY = (*MIX, "429bare", "502", "503", "empty", "length", "context", "filter", "bad")
BOUNDS = {
    "steady": {"ratio": 1.05},
    "tail": {"ratio": 1.02},
    "stress": {"ratio_to_peer": 1.0, "cpu_to_peer": 1.1},
    "memory": {"driver_growth": 1.05, "worker_growth": 1.05},
    "resume": {"asked_again": CAP, "beyond_ray_s": 3.0},
    "faults": {"to_clean": 1.5, "every_kind_to_clean": 1.5, "lost": 0},
}


def drive(url: str, folder: Path, count: int, deadline_s: float) -> None:
    """Ask `count` prompts through the stage, and note this process's and the worker's CPU and memory by the second."""
    import psutil
    from peer_asyncio import prompt

    from distill.records import make_pair
    from teacher.settings import TeacherSettings
    from teacher.stage import trace

    samples: list[tuple[float, ...]] = []
    me, over = psutil.Process(), threading.Event()

    def watch() -> None:
        worker = None
        while not over.wait(0.2):
            try:
                if worker is None:
                    family = me.children(recursive=True)
                    worker = next((c for c in family if "ray::Worker" in " ".join(c.cmdline())), None)
                    continue
                times = [sum(p.cpu_times()[:2]) for p in (me, worker)]
                samples.append((time.time(), *times, *(p.memory_info().rss for p in (me, worker))))
            except psutil.Error:
                worker = None

    pairs = (make_pair(f"q{n}", f"d{n}", f"query number {n}", prompt(n)) for n in range(count))
    values = {"endpoints": [{"base_url": url, "model": "bench"}], "concurrency": CAP, "deadline_s": deadline_s}
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        counts = trace(pairs, TeacherSettings.model_validate(values), folder / "traces", quiet=True)
    finally:
        over.set()
        thread.join()
    (folder / "counts.json").write_text(json.dumps({**counts, "samples": samples}))


def ideal(log: list[tuple[float, float, str, str]]) -> float:
    """Seconds that the same latencies take on CAP slots, first in first out."""
    slots, end = [0.0] * CAP, 0.0
    for _, seconds, _, kind in sorted(log):
        if kind == "answer":
            done = heapq.heappop(slots) + seconds
            heapq.heappush(slots, done)
            end = max(end, done)
    return end


def measure(log: list[tuple[float, float, str, str]]) -> dict[str, float]:
    """First request to last answer, against the ideal; the preflight is not a request."""
    log = sorted(log)[1:] if len(log) > 1 and log[1][0] - log[0][0] > 0.5 else log
    span = max(at + seconds for at, seconds, _, kind in log if kind == "answer") - min(at for at, *_ in log)
    best = ideal(log)
    return {"span_s": round(span, 2), "ideal_s": round(best, 2), "ratio": round(span / best, 3)}


def ours(count: int, *arguments: str, deadline_s: float = 60.0, tokens: int = 350) -> dict[str, Any]:
    """One run of the stage against a fresh server."""
    with tempfile.TemporaryDirectory() as folder, server(*arguments, "--tokens", str(tokens)) as url:
        began = time.time()
        subprocess.run([sys.executable, str(HERE), "--drive", url, folder, str(count), str(deadline_s)], check=True)
        wall = time.time() - began
        log = log_of(url)
        counts = json.loads((Path(folder) / "counts.json").read_text())
    found = {"count": count, **measure(log), "wall_s": round(wall, 2), "answered": counts["answered"]}
    first, last = sorted(log)[1][0], max(at + seconds for at, seconds, _, kind in log if kind == "answer")
    samples = counts["samples"]
    begin = max((s for s in samples if s[0] <= first), default=samples[0])
    end = min((s for s in samples if s[0] >= last), default=samples[-1])
    found["cpu_s_per_1000"] = round((end[1] - begin[1] + end[2] - begin[2]) / count * 1000, 3)
    found["rss_mb"] = [[round(s[0] - first, 1), s[3] / 1e6, s[4] / 1e6] for s in samples if first <= s[0] <= last]
    return {**found, "failed": counts["failed"], "faults": counts["faults"], "rows": counts["rows"]}


def peer(count: int, *arguments: str) -> dict[str, Any]:
    """One run of the 45-line script against a fresh server."""
    with tempfile.TemporaryDirectory() as folder, server(*arguments) as url:
        command = [sys.executable, str(HERE.parent / "peer_asyncio.py"), url, str(count), str(CAP), f"{folder}/o.jsonl"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        log = log_of(url)
    cpu = json.loads(done.stdout)["cpu_s"]
    return {"count": count, **measure(log), "cpu_s_per_1000": round(cpu / count * 1000, 3)}


def resume(count: int) -> dict[str, Any]:
    """Kill the driver at half of `count`, and go on."""
    with tempfile.TemporaryDirectory() as folder, server("--mean", "0.2") as url:
        command = [sys.executable, str(HERE), "--drive", url, folder, str(count), "60"]
        first = subprocess.Popen(command)
        while len(journalled_lines(Path(folder))) < count // 2:
            time.sleep(0.25)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        time.sleep(2.0)
        held, before = len(journalled(Path(folder))), len(log_of(url))
        began = time.time()
        subprocess.run(command, check=True)
        log = log_of(url)
        rows = json.loads((Path(folder) / "counts.json").read_text())["rows"]
    again = sorted(log)[before:]
    extra = len(log) - 2 - rows  # two preflights
    bare = ray_start()
    started = again[1][0] - began
    return {
        "count": count, "journalled": held, "rows": rows, "asked_again": extra, "to_first_request_s": round(started, 2),
        "ray_and_imports_s": round(bare, 2), "beyond_ray_s": round(started - bare, 2),
    }  # fmt: skip


def journalled_lines(folder: Path) -> list[int]:
    """One entry a line, quickly."""
    return [0] * sum(p.read_bytes().count(b"\n") for p in (folder / "traces" / "journal").glob("*.jsonl"))


def ray_start() -> float:
    """Seconds until Ray alone has an actor that answers, in a process of its own."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom distill.ray_cluster import connect\nconnect(1)\nimport ray\n"
        "class A:\n async def f(self): return 1\nray.get(ray.remote(A).remote().f.remote())\nprint('up', flush=True)"
    )
    began = time.time()
    process = subprocess.Popen([sys.executable, "-c", code, str(HERE.parents[2])], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    took = time.time() - began
    process.communicate()
    return took


def flatness(found: dict[str, Any]) -> dict[str, Any]:
    """Mean memory of the second and the last tenth of a run, driver and worker."""
    rss = found.pop("rss_mb")
    tenth = max(1, len(rss) // 10)
    result = {}
    for name, column in (("driver", 1), ("worker", 2)):
        second = statistics.mean(r[column] for r in rss[tenth : 2 * tenth])
        last = statistics.mean(r[column] for r in rss[-tenth:])
        result |= {f"{name}_mb": [round(second, 1), round(last, 1)], f"{name}_growth": round(last / second, 3)}
    return {**found, **result}


def stress(count: int) -> dict[str, Any]:
    """Where the client's CPU decides: the peer, ours, the peer again."""
    one, mine, two = peer(count, "--mean", "0.2"), ours(count, "--mean", "0.2"), peer(count, "--mean", "0.2")
    ratio, cpu = (statistics.mean(p[key] for p in (one, two)) for key in ("ratio", "cpu_s_per_1000"))
    beside = {"peer_ratio": round(ratio, 3), "peer_cpu_s_per_1000": round(cpu, 3)}
    to_peer = {"ratio_to_peer": mine["ratio"] / ratio, "cpu_to_peer": mine["cpu_s_per_1000"] / cpu}
    return {**mine, **beside, **{key: round(value, 3) for key, value in to_peer.items()}}


def faults(count: int) -> dict[str, Any]:
    """5 % of each kind: those that the neighbouring tools were given, these with hanging requests, all there are."""

    def mixed(kinds: tuple[str, ...], deadline_s: float = 60.0) -> dict[str, Any]:
        found = ours(count, "--mean", "0.5", "--faults", ",".join(f"{k}=0.05" for k in kinds), deadline_s=deadline_s)
        return {**found, "lost": count - found["rows"]}

    clean = ours(count, "--mean", "0.5")
    usual, hanging, every = mixed(MIX), mixed((*MIX, "hang"), deadline_s=5), mixed(EVERY)
    keys = ("span_s", "answered", "failed", "faults")
    return {
        "count": count, "clean_s": clean["span_s"], **{key: usual[key] for key in keys},
        "to_clean": round(usual["span_s"] / clean["span_s"], 3),
        "with_hangs": {**{key: hanging[key] for key in keys}, "deadline_s": 5},
        "every_kind": {key: every[key] for key in keys},
        "every_kind_to_clean": round(every["span_s"] / clean["span_s"], 3),
        "lost": usual["lost"] + hanging["lost"] + every["lost"],
    }  # fmt: skip


def case(name: str, scale: float) -> dict[str, Any]:
    """One case, once."""
    if name == "steady":
        return ours(round(20_000 * scale), "--mean", "0.5")
    if name == "tail":
        return ours(round(2_000 * scale), "--mean", "4", "--sigma", "0.8", deadline_s=600)
    if name == "stress":
        return stress(round(5_000 * scale))
    if name == "memory":
        return flatness(ours(round(200_000 * scale), "--mean", "0.2"))
    if name == "resume":
        return resume(round(20_000 * scale))
    return faults(round(8_000 * scale))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute until the context ends."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def spread(results: list[dict[str, Any]], keys: Iterable[str]) -> dict[str, list[float]]:
    """Of each figure its least, median and greatest value over the repetitions."""
    columns = {key: sorted(result[key] for result in results) for key in keys}
    return {key: [values[0], statistics.median(values), values[-1]] for key, values in columns.items()}


def machine() -> dict[str, Any]:
    """What it ran on."""
    import openai
    import ray

    return {
        "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "system": platform.platform(),
        "ray": ray.__version__, "openai": openai.__version__, "load_before": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"), "command": " ".join(["python benchmarks/teacher/run.py", *sys.argv[1:]]),
    }  # fmt: skip


def main() -> int:
    """The command; returns 1 when a bound was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute all the while")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--out", type=Path, help="written after each case; cases of other calls in it are kept")
    parser.add_argument("--drive", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        url, folder, count, deadline_s = given.drive
        drive(url, Path(folder), int(count), float(deadline_s))
        return 0
    found: dict[str, Any] = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    missed = 0
    for name in given.cases:
        results = []
        for _ in range(given.repeat):
            with busy(given.busy):
                result = case(name, given.scale)
            result.pop("rss_mb", None)
            over = {key: most for key, most in BOUNDS[name].items() if result[key] > most}
            missed += bool(over)
            print(name, "missed" if over else "reached", json.dumps({"bounds": BOUNDS[name], **result}), flush=True)
            results.append(result)
        ranges = spread(results, BOUNDS[name])
        print(name, "least, median, greatest:", json.dumps(ranges), flush=True)
        key = f"{name}_busy" if given.busy else name
        found[key] = {"bounds": BOUNDS[name], "spread": ranges, "results": results, "machine": machine()}
        if given.out:
            given.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
