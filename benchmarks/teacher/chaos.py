"""Kill a random process of a run at a random moment, run it again, and count from the server's own log.

    python benchmarks/teacher/chaos.py --runs 25 --seed 0 [--table docs/benchmarks/teacher.md]

Each run has a server and a folder of its own. The victim is the driver, a worker actor, Ray's raylet, or its GCS, and
is ended with SIGKILL. Lost: rows that were in the journal when the blow fell and were asked again after it. Twice:
prompts answered in full more than once, which may be those in flight at that moment and no others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2]))
VICTIMS = ("driver", "worker", "raylet", "gcs_server")
CAP, WORKERS = 64, 2


def drive(url: str, folder: Path, count: int) -> int:
    """The run that is killed: `count` pairs, two samples each; returns the exit status."""
    from distill.errors import DistillError
    from distill.records import make_pair
    from teacher.settings import TeacherSettings
    from teacher.stage import trace

    pairs = sorted(
        (make_pair(f"q{n}", f"d{n}", f"query {n}", f"text {n}") for n in range(count)), key=lambda p: p.pair_id
    )
    endpoint = {"base_url": url, "model": "bench"}
    values = {
        "endpoints": [endpoint],
        "samples": 2,
        "seed": 1,
        "concurrency": CAP,
        "workers": WORKERS,
        "deadline_s": 60,  # nothing hangs here; on a starved machine a shorter one would ask again what was answered
    }
    try:
        counts = trace(pairs, TeacherSettings.model_validate(values), folder / "traces")
    except DistillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    (folder / "counts.json").write_text(json.dumps(counts))
    return 0


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """A server as its own process; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, str(HERE.parent / "server.py"), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


def start(url: str, folder: Path, count: int) -> subprocess.Popen[bytes]:
    """Start the run as its own process."""
    with open(folder / "stderr.txt", "ab") as errors:
        return subprocess.Popen(
            [sys.executable, str(HERE), "--drive", url, str(folder), str(count)], stderr=errors, stdout=errors
        )


def journalled(folder: Path) -> set[str]:
    """Ids of all whole lines of the journal."""
    found = set()
    for part in (folder / "traces" / "journal").glob("*.jsonl"):
        for raw in part.read_bytes().split(b"\n"):
            try:
                found.add(json.loads(raw)["id"])
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
    return found


def pids(driver: int, victim: str) -> list[int]:
    """The processes that play this part under the driver."""
    import psutil

    if victim == "driver":
        return [driver]
    name = "ray::Worker" if victim == "worker" else victim
    found = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if name in (line if victim == "worker" else child.name()):
            found.append(child.pid)
    return found


def log_of(url: str) -> list[tuple[float, float, str, str]]:
    """What the server did."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/log", timeout=30) as page:
        return [tuple(entry) for entry in json.load(page)]


def blow(victim: str, count: int, after: float, folder: Path) -> dict[str, Any]:
    """One run: start, kill `victim` when the share `after` has been answered, resume to the end, count."""
    with server("--mean", "0.4", "--sigma", "0.6", "--tokens", "120") as url:
        process = start(url, folder, count)
        while len(log_of(url)) < after * 2 * count and process.poll() is None:
            time.sleep(0.02)
        targets = pids(process.pid, victim) if process.poll() is None else []
        mine = {child for each in VICTIMS for child in pids(process.pid, each)} if targets else set()
        if targets:
            os.kill(random.choice(targets), signal.SIGKILL)
        held = [(journalled(folder), time.time())]
        status = process.wait(timeout=300)
        resumes = 0
        while status != 0 and resumes < 5:
            held.append((journalled(folder), time.time()))
            status, resumes = start(url, folder, count).wait(timeout=300), resumes + 1
        time.sleep(0.2)
        log = log_of(url)
    result = {"victim": victim, "struck": bool(targets), "status": status, "resumes": resumes}
    return {**result, **count_up(folder, log, held), "left": _alive(mine)}


def count_up(
    folder: Path, log: list[tuple[float, float, str, str]], held: list[tuple[set[str], float]]
) -> dict[str, Any]:
    """Rows, losses and doubles, from the Parquet, the journal and the server's log."""
    from distill.records import Trace
    from distill.store import read_rows

    rows = list(read_rows(folder / "traces", Trace))
    keys = {row.request_id: row.reasoning.rsplit(" ", 1)[-1] for row in rows}  # the server signs its answers
    answered = Counter(key for _, _, key, kind in log if kind == "answer" and key in set(keys.values()))
    lost = set()
    for ids, moment in held:  # what the journal held at that moment must not be asked after it
        after = {key for at, _, key, _ in log if at > moment}
        lost |= {request_id for request_id in ids if keys[request_id] in after}
    return {
        "rows": len(rows),
        "distinct": len({(row.pair_id, row.sample) for row in rows}),
        "unanswered": sum(row.error is not None for row in rows),
        "lost": len(lost),
        "twice": sum(count - 1 for count in answered.values()),
    }


def _alive(processes: set[int]) -> int:
    import psutil

    until = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in processes) and time.monotonic() < until:
        time.sleep(0.1)
    return sum(psutil.pid_exists(pid) for pid in processes)


def main() -> int:
    """The command; returns 1 when a row was lost or stands twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drive", nargs=3, metavar=("URL", "FOLDER", "COUNT"), help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--count", type=int, default=2000, help="pairs a run, two samples each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="write the table between the marks of this Markdown file")
    given = parser.parse_args()
    if given.drive:
        return drive(given.drive[0], Path(given.drive[1]), int(given.drive[2]))
    draw = random.Random(given.seed)
    results = []
    for number in range(given.runs):
        victim, after = VICTIMS[number % len(VICTIMS)], draw.uniform(0.02, 0.95)
        with tempfile.TemporaryDirectory() as folder:
            result = {"run": number + 1, "after": round(after, 2), **blow(victim, given.count, after, Path(folder))}
        print(json.dumps(result), flush=True)
        results.append(result)
    if given.table:
        write_table(given.table, results, given.count)
    bad = [r for r in results if r["lost"] or r["rows"] != 2 * given.count or r["rows"] != r["distinct"] or r["status"]]
    bad += [r for r in results if r["twice"] > CAP]
    print(f"{len(results)} runs, {len(bad)} bad")
    return int(bool(bad))


def write_table(path: Path, results: list[dict[str, Any]], count: int) -> None:
    """Put the table between `<!-- chaos -->` and `<!-- /chaos -->`."""
    lines = [
        "| run | killed | at | resumes | rows | lost | twice | processes left |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        lines.append(
            f"| {r['run']} | {r['victim']} | {r['after']:.0%} | {r['resumes']} | {r['rows']:,} of {2 * count:,} | {r['lost']} | {r['twice']} | {r['left']} |"  # noqa: E501
        )
    text = path.read_text(encoding="utf-8")
    head, tail = text.split("<!-- chaos -->")[0], text.split("<!-- /chaos -->")[1]
    path.write_text(f"{head}<!-- chaos -->\n" + "\n".join(lines) + f"\n<!-- /chaos -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
