"""A real cluster of two nodes on this machine, and a real `ray job submit`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.teacher.helpers import SERVER, Server

pytestmark = pytest.mark.slow
Serve = Callable[..., Server]
CHAOS = SERVER.parent / "chaos.py"
ROOT = SERVER.parents[2]
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Nodes started by `ray start --block`, ended by their own process ids only.

    Each has a session folder of its own, as on machines of their own: of two nodes in one folder the second unpacks the
    job's working directory again, and for that removes the driver's. So too a port of its own for the agent that takes
    jobs: where another Ray of this machine has the usual one, the agent goes on without it, and no job is taken.
    """

    def __init__(self, folder: Path, *, dashboard: bool = False, head_cpus: int = 1) -> None:
        self.port, self.dashboard = free_port(), free_port()
        token = folder / "token"
        token.write_text("0123456789abcdef" * 4)
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ADDRESS": f"127.0.0.1:{self.port}",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_DISABLE_USAGE_STATS": "1",
            "RAY_memory_monitor_refresh_ms": "0",  # else it ends workers when other programs use up the memory
        }
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.hiding: list[str] = []
        self.folders: list[str] = []
        board = (
            ["--include-dashboard=true", f"--dashboard-port={self.dashboard}"]
            if dashboard
            else ["--include-dashboard=false"]
        )
        self.start("--head", f"--port={self.port}", *board, cpus=head_cpus)

    def join(self) -> subprocess.Popen[bytes]:
        """Start another node."""
        return self.start(f"--address=127.0.0.1:{self.port}", before=self.hiding)

    def hide(self, folder: Path) -> None:
        """Let nodes that join from now on see an empty folder in its place, as machines of their own do."""
        self.hiding = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(folder)]

    def start(self, *arguments: str, cpus: int = 1, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a node with so many CPUs, and a cache of its own; `before` is a command that executes the node's."""
        environment = {k: v for k, v in self.environment.items() if k != "RAY_ADDRESS"}
        self.folders.append(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets lie in it
        environment["XDG_CACHE_HOME"] = f"{self.folders[-1]}/cache"
        command = [
            *before, *RAY, "start", "--block", f"--num-cpus={cpus}", "--object-store-memory=100000000",
            f"--temp-dir={self.folders[-1]}", f"--dashboard-agent-listen-port={free_port()}", *arguments,
        ]  # fmt: skip
        node = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert node.stdout is not None
        for line in node.stdout:
            if b"Ray runtime started" in line:
                break
        self.nodes.append(node)
        return node

    def end(self, node: subprocess.Popen[bytes]) -> None:
        """SIGKILL a node, all of it."""
        import psutil

        family = (
            [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
            if node.poll() is None
            else []
        )
        for process in family:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
        node.wait()
        assert node.stdout is not None
        node.stdout.close()

    def close(self) -> None:
        """End every node."""
        for node in reversed(self.nodes):
            self.end(node)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Make clusters; ended after the test."""
    made: list[Cluster] = []

    def make(dashboard: bool = False) -> Cluster:
        made.append(Cluster(tmp_path, dashboard=dashboard))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_node_killed_half_way_costs_no_row(serve: Serve, cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    server = serve(mean=0.2)
    nodes = cluster()
    second = nodes.join()
    count = 1500
    with open(tmp_path / "driver.txt", "wb") as output:
        driver = subprocess.Popen(
            [sys.executable, str(CHAOS), "--drive", server.url, str(tmp_path), str(count)],
            env=nodes.environment, stdout=output, stderr=output,
        )  # fmt: skip
        while sum(server.answers().values()) < count and driver.poll() is None:
            time.sleep(0.1)
        busy = server.get("/stats")["peak"]
        killed = time.time()
        nodes.end(second)
        assert driver.wait(timeout=180) == 0, (tmp_path / "driver.txt").read_text()[-2000:]
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert (counts["rows"], counts["answered"]) == (2 * count, 2 * count)
    assert busy > 32  # both nodes' workers were at it: one alone has half of 64 in flight
    log, answers = server.get("/log"), server.answers()
    twice = {key: [(at - killed, s, kind) for at, s, k, kind in log if k == key] for key in answers if answers[key] > 1}
    said = (tmp_path / "driver.txt").read_text()[-2000:]
    assert counts["faults"]["worker_lost"] == 1, said
    assert sum(answers[key] - 1 for key in twice) <= 32, (counts["faults"], twice, said)


def test_a_submitted_job_runs_and_a_second_submission_resumes(
    serve: Serve, cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    server = serve(mean=0.02)
    nodes = cluster(dashboard=True)
    shared = tmp_path / "shared"
    shared.mkdir()

    def submit(folder: str, count: int) -> str:
        entry = [sys.executable, "benchmarks/teacher/chaos.py", "--drive", server.url, folder, str(count)]
        command = [*RAY, "job", "submit", f"--address=http://127.0.0.1:{nodes.dashboard}", "--working-dir=."]
        excludes = '--runtime-env-json={"excludes": [".git", ".venv", "runs", "/data"]}'
        done = subprocess.run(
            [*command, excludes, "--", *entry],
            cwd=ROOT,
            env=nodes.environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        return done.stdout + done.stderr

    said = submit(str(shared), 100)
    assert json.loads((shared / "counts.json").read_text())["asked_now"] == 200, said[-3000:]
    submit(str(shared), 150)
    assert json.loads((shared / "counts.json").read_text())["asked_now"] == 100
    refused = submit("runs/relative", 10)
    assert re.search(r"runs/relative.*temporary copy of the working directory", refused), refused[-3000:]
