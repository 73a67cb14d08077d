"""The figures of the teacher: how near to the ideal, at what CPU and memory, and what a kill or faults cost.

    python benchmarks/teacher/run.py [steady tail stress memory resume faults] [--repeat 3] [--out FILE.json]

Each case has its own server process (server.py). `ratio` is the time from the first request to the last answer, over
the ideal: the same latencies, first in first out, on as many slots as may be in flight. On a busy machine the ratio of
`stress` says little by itself: it is to be read beside the peer's, which is run before and after it.
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
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parent)]
from chaos import journalled, log_of, server  # noqa: E402

CAP = 256
CASES = ("steady", "tail", "stress", "memory", "resume", "faults")
MIX = ("429", "500", "reset", "broken", "malformed")


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
        while not over.wait(0.5 if worker is None else 1.0):
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
    last = max(at + seconds for at, seconds, _, kind in log if kind == "answer")
    samples = [s for s in counts["samples"] if sorted(log)[1][0] - 1.0 <= s[0] <= last + 1.0] or counts["samples"]
    found = {"count": count, **measure(log), "wall_s": round(wall, 2), "answered": counts["answered"]}
    if samples:
        cpu = (samples[-1][1] - samples[0][1]) + (samples[-1][2] - samples[0][2])
        share = (samples[-1][0] - samples[0][0]) / max(found["span_s"], 1e-9)
        found["cpu_s_per_1000"] = round(cpu / count * 1000 / min(max(share, 0.2), 1.0), 3)
        found["rss_mb"] = [[round(s[0] - samples[0][0]), round(s[3] / 1e6), round(s[4] / 1e6)] for s in samples]
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
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom teacher.crew import connect\nconnect(1)\nimport ray\n"
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
        result[f"{name}_mb"] = [round(second), round(last), round(last / second, 3)]
    return {**found, **result}


def case(name: str) -> dict[str, Any]:
    """One case, once."""
    if name == "steady":
        return ours(20_000, "--mean", "0.5")
    if name == "tail":
        return ours(2_000, "--mean", "4", "--sigma", "0.8", deadline_s=600)
    if name == "stress":
        beside = [peer(5_000, "--mean", "0.2"), ours(5_000, "--mean", "0.2"), peer(5_000, "--mean", "0.2")]
        around = statistics.mean(p["cpu_s_per_1000"] for p in (beside[0], beside[2]))
        mean = statistics.mean(p["ratio"] for p in (beside[0], beside[2]))
        cpu = round(beside[1]["cpu_s_per_1000"] / around, 3)
        return {**beside[1], "peer_ratio": round(mean, 3), "peer_cpu_s_per_1000": round(around, 3), "cpu_to_peer": cpu}
    if name == "memory":
        return flatness(ours(200_000, "--mean", "0.2"))
    if name == "resume":
        return resume(20_000)
    clean = ours(8_000, "--mean", "0.5")
    passing = ",".join(f"{kind}=0.05" for kind in MIX)
    mixed = ours(8_000, "--mean", "0.5", "--faults", passing)
    hanging = ours(8_000, "--mean", "0.5", "--faults", f"{passing},hang=0.05", deadline_s=5)
    times = {"clean_s": clean["span_s"], "to_clean": round(mixed["span_s"] / clean["span_s"], 3)}
    keys = ("span_s", "answered", "failed", "faults")
    return {**mixed, **times, "with_hangs": {**{key: hanging[key] for key in keys}, "deadline_s": 5}}


def machine() -> dict[str, Any]:
    """What it ran on."""
    import openai
    import ray

    return {
        "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "system": platform.platform(),
        "ray": ray.__version__, "openai": openai.__version__, "load_before": os.getloadavg(),
    }  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--drive", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        url, folder, count, deadline_s = given.drive
        return drive(url, Path(folder), int(count), float(deadline_s))
    found: dict[str, Any] = {"machine": machine(), "cases": {}}
    for name in given.cases:
        for _ in range(given.repeat):
            result = case(name)
            result.pop("rss_mb", None)
            print(name, json.dumps(result), flush=True)
            found["cases"].setdefault(name, []).append(result)
            if given.out:
                given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
