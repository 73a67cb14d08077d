"""The teacher's side at scale: thousands of requests in flight over many endpoints, which only sleep.

    python benchmarks/teacher/scale.py [--in-flight 10000] [--endpoints 50] [--count 20000] [--mean 15] [--workers 2]

The endpoints are ports of one server process (server.py); latencies are log-normal with a long tail. It asks through
the stage `trace`, Ray included, and prints a line of JSON: requests a second, CPU seconds, memory and open files of the
driver and its workers, and what the journal takes. At most 60,000 requests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parent)]
from chaos import log_of  # noqa: E402

MOST = 60_000
Sample = dict[str, float]


@contextmanager
def servers(endpoints: int, mean: float, sigma: float, tokens: int) -> Iterator[list[str]]:
    """The URLs of so many endpoints of one process."""
    command = [sys.executable, str(HERE.parent / "server.py"), "--ports", str(endpoints)]
    command += ["--mean", str(mean), "--sigma", str(sigma), "--tokens", str(tokens)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield [f"http://127.0.0.1:{port}/v1" for port in process.stdout.readline().split()]
    finally:
        process.kill()
        process.wait()


def drive(urls: list[str], folder: Path, count: int, in_flight: int, workers: int) -> None:
    """Ask `count` prompts; write what the driver and its workers use, by the second, to `samples.json`."""
    import psutil
    from peer_asyncio import prompt

    from distill.records import make_pair
    from teacher.settings import TeacherSettings
    from teacher.stage import trace

    samples: list[Sample] = []
    driver, over = psutil.Process(), threading.Event()

    def watch() -> None:
        asking: list[psutil.Process] = []
        while not over.wait(1.0):
            try:
                if len(asking) < workers:
                    family = driver.children(recursive=True)
                    asking = [child for child in family if "ray::Worker" in " ".join(child.cmdline())]
                samples.append(
                    {
                        "time": time.time(),
                        "driver_cpu": sum(driver.cpu_times()[:2]),
                        "worker_cpu": sum(sum(process.cpu_times()[:2]) for process in asking),
                        "driver_mb": driver.memory_info().rss / 1e6,
                        "worker_mb": max([process.memory_info().rss / 1e6 for process in asking], default=0.0),
                        "worker_files": max([process.num_fds() for process in asking], default=0),
                        "driver_files": driver.num_fds(),
                        "journal": sum(p.stat().st_size for p in (folder / "traces" / "journal").glob("*.jsonl")),
                    }
                )
            except psutil.Error:
                asking = []

    pairs = (make_pair(f"q{n}", f"d{n}", f"query number {n}", prompt(n)) for n in range(count))
    values = {
        "endpoints": [{"base_url": url, "model": "bench"} for url in urls],
        "concurrency": in_flight,
        "workers": workers,
        "actor": {"num_cpus": 0},
    }
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        counts = trace(pairs, TeacherSettings.model_validate(values), folder / "traces", quiet=True)
    finally:
        over.set()
        thread.join()
    (folder / "samples.json").write_text(json.dumps({"counts": counts, "samples": samples}))


def measure(log: list[tuple[float, float, str, str]], samples: list[Sample]) -> dict[str, float]:
    """The figures of one run, from the server's log and the samples between the first request and the last answer."""
    log = sorted(log)
    first = log[len(log) // 100][0]  # the checks before the run are earlier
    arrivals = [at for at, *_ in log if at >= first - 1.0]
    begin, end = arrivals[0], max(at + seconds for at, seconds, _, kind in log if kind == "answer")
    changes = sorted([(at, 1) for at, *_ in log] + [(at + seconds, -1) for at, seconds, *_ in log])
    running = peak = 0
    for _, change in changes:
        running += change
        peak = max(peak, running)
    # From the first sample on that has the workers, when they have imported what they need.
    before = next(s for s in samples if s["worker_cpu"] and s["time"] >= begin)
    after = min((s for s in samples if s["time"] >= end), key=lambda s: s["time"], default=samples[-1])
    last_start = arrivals[-1]
    cpu = {who: after[f"{who}_cpu"] - before[f"{who}_cpu"] for who in ("driver", "worker")}
    measured = sum(at >= before["time"] for at in arrivals)
    return {
        "requests": len(log),
        "peak_in_flight": peak,
        "seconds": round(end - begin, 1),
        "requests_per_s": round(len(arrivals) / (end - begin), 1),
        "seconds_until_last_start": round(last_start - begin, 1),
        "driver_cpu_ms": round(cpu["driver"] / measured * 1e3, 3),
        "worker_cpu_ms": round(cpu["worker"] / measured * 1e3, 3),
        **{key: round(max(s[key] for s in samples)) for key in ("driver_mb", "worker_mb", "driver_files")},
        "worker_files": round(max(s["worker_files"] for s in samples)),
        "journal_mb": round(after["journal"] / 1e6, 1),
        "journal_kb_per_s": round(after["journal"] / (end - begin) / 1e3),
        "journal_bytes_per_answer": round(after["journal"] / len(log)),
    }


def main() -> int:
    """The command; returns 1 when a row was not answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=50)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--mean", type=float, default=15.0, help="mean latency in seconds")
    parser.add_argument("--sigma", type=float, default=0.5, help="of the log-normal latencies")
    parser.add_argument("--tokens", type=int, default=350)
    parser.add_argument("--drive", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        folder, *urls = given.drive
        drive(urls, Path(folder), given.count, given.in_flight, given.workers)
        return 0
    if given.count > MOST:
        parser.error(f"--count: at most {MOST:,}")
    with (
        tempfile.TemporaryDirectory() as folder,
        servers(given.endpoints, given.mean, given.sigma, given.tokens) as urls,
    ):
        sizes = ["--count", str(given.count), "--in-flight", str(given.in_flight), "--workers", str(given.workers)]
        subprocess.run([sys.executable, str(HERE), *sizes, "--drive", folder, *urls], check=True)
        log = log_of(urls[0])
        found = json.loads((Path(folder) / "samples.json").read_text())
    counts = found["counts"]
    result = {"in_flight": given.in_flight, "endpoints": given.endpoints, **measure(log, found["samples"])}
    print(json.dumps({**result, "answered": counts["answered"], "faults": counts["faults"]}))
    return int(counts["answered"] != given.count)


if __name__ == "__main__":
    sys.exit(main())
