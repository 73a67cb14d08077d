"""The whole pipeline as a job of a Ray cluster that loses nodes, and what is refused there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from distill import driver_files
from distill.config import load
from distill.driver_files import as_seen
from distill.errors import ConfigError
from distill.pipeline.cluster import files_line, join
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run
from distill.ray_cluster import Node, connect, on_cluster, unseen
from sft.placement import on_nodes
from sft.settings import SftSettings
from tests.teacher.test_cluster import RAY, ROOT, Cluster

SMALL = [
    "pairs.example.queries.test=60", "sft.targets=[think]", "sft.training.max_steps=300", "sft.training.save_steps=20",
    "evaluation.sets.0.depth=10",
]  # fmt: skip
PAIRS = 600
RAYS_OWN = ("Execution plan", "Running Dataset", "Starting execution", "\tINFO ", "(raylet)", "TrainController")


@pytest.fixture(params=["mounted", "hidden"])
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A head without CPUs and two nodes of one CPU each, which see the folder `disk` or have an empty one there."""
    made = Cluster(tmp_path, dashboard=True, head_cpus=0)
    (tmp_path / "disk").mkdir()
    if request.param == "hidden":
        made.hide(tmp_path / "disk")
        if subprocess.run([*made.hiding, "true"], capture_output=True).returncode:
            made.close()
            pytest.skip("a small file system cannot be mounted here, by unshare")
    with ThreadPoolExecutor(2) as together:
        list(together.map(lambda _: made.join(), range(2)))
    yield made
    made.close()


class Job:
    """`ray job submit` of a command of `distill`: it follows the job, and ends with it."""

    def __init__(self, cluster: Cluster, log: Path, *command: str) -> None:
        self.log, self.head, self.peak_mib, self._looked = log, cluster.nodes[0].pid, 0, 0.0
        submit = [*RAY, "job", "submit", f"--address=http://127.0.0.1:{cluster.dashboard}", "--working-dir=."]
        excludes = '--runtime-env-json={"excludes": [".git", ".venv", "runs", "/data", "/docs", "/benchmarks"]}'
        submit += [excludes, "--", sys.executable, "-m", "distill.cli", *command]
        while True:
            with open(log, "wb") as out, open(log.with_suffix(".err"), "wb") as errors:
                self.process = subprocess.Popen(submit, cwd=ROOT, env=cluster.environment, stdout=out, stderr=errors)
            while self.process.poll() is None and "submitted successfully" not in log.read_text():
                time.sleep(0.1)
            if self.process.poll() is None or "No available agent" not in self.said():
                return  # else the head has just started, and takes no job yet

    def waits(self, until: Callable[[], bool]) -> None:
        """Wait until something is so. Fails where the job ends before."""
        while True:
            ended = self.process.poll() is not None
            if until():
                return
            assert not ended, self.said()
            self.look()
            time.sleep(0.05)

    def look(self) -> None:
        """Once a second, how much memory the driver has needed so far."""
        if time.monotonic() - self._looked < 1:
            return
        self._looked = time.monotonic()
        for process in psutil.Process(self.head).children(recursive=True):
            with suppress(psutil.Error, OSError):
                if process.cmdline()[1:3] == ["-m", "distill.cli"]:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    self.peak_mib = max(self.peak_mib, int(status.partition("VmHWM:")[2].split()[0]) // 1024)

    def said(self) -> str:
        """What the job printed, with its end."""
        return self.log.read_text() + self.log.with_suffix(".err").read_text()[-2000:]


def node_that_runs(word: str, cluster: Cluster) -> subprocess.Popen[bytes] | None:
    """The node one of whose processes has this word in its title."""
    for node in cluster.nodes[1:]:
        if node.poll() is not None:
            continue
        for process in psutil.Process(node.pid).children(recursive=True):
            try:
                if word in " ".join(process.cmdline()) + process.name():
                    return node
            except psutil.Error:
                continue
    return None


def lines(path: Path) -> int:
    """The lines of a file, 0 where it is not there."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_job_loses_a_node_in_training_and_one_in_evaluation(cluster: Cluster, tmp_path: Path) -> None:
    """As an autoscaler does, another node comes for each that is lost. Where the nodes do not see the run's folder, all
    goes by Ray, and two of them train together."""
    run, hidden = tmp_path / "disk" / "run", bool(cluster.hiding)
    together = ["sft.ray.workers=2"] if hidden else []
    checkpoints, journal = run / "students" / "think" / "checkpoints", run / "evaluation" / "journal.jsonl"

    def lose(node: subprocess.Popen[bytes] | None) -> None:
        assert node is not None
        cluster.end(node)
        cluster.join()

    job = Job(cluster, tmp_path / "job.txt", "run", "configs/tiny.yaml", *SMALL, *together, "--out", str(run))
    job.waits(lambda: bool(list(checkpoints.glob("checkpoint-*/complete"))))
    lose(node_that_runs("RayTrainWorker", cluster))
    job.waits(lambda: lines(journal) > 10)
    lose(node_that_runs("ray::Worker", cluster))
    job.waits(lambda: job.process.poll() is not None)
    assert job.process.returncode == 0, job.said()
    assert 0 < job.peak_mib < 2048, "the driver needs little memory"

    stages = json.loads((run / "metrics.json").read_text())["stages"]
    student = stages["sft"]["students"]["think"]
    assert student["steps"] == 300 and student["resumed"], "the training went on from a checkpoint"
    assert all(lines(run / "evaluation" / f"test.{name}.trec") == PAIRS for name in ("untrained", "think"))
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    judged = Counter((row["student"], row["pair_id"]) for row in rows if "pair_id" in row)
    assert set(judged.values()) == {1} and len(judged) == 2 * PAIRS, "each is in the journal once"
    assert (run / "report.html").stat().st_size > 10_000
    said = job.log.read_text().partition("Running entrypoint")[2]
    how = f"{run} is not seen on the nodes" if hidden else f"{run} is seen by every node"
    assert f"cluster: {how}" in said and "2 nodes of 1 CPU" in said
    if hidden:
        for node in cluster.nodes[1:]:
            if node.poll() is None:
                assert not os.listdir(f"/proc/{node.pid}/root{tmp_path}/disk"), "nothing is written where it is hidden"
    assert not [line for line in said.splitlines() if any(own in line for own in RAYS_OWN)]


OWN = """
from filters.base import RowFilter


class Own(RowFilter):
    def __call__(self, pair, trace):
        return None
"""


@pytest.mark.slow
def test_what_a_node_does_not_see_is_known_by_name_and_own_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that only this process has open under that path, as on a node that has no mount."""
    import ray

    here, config = tmp_path / "here", ROOT / "configs" / "tiny.yaml"
    here.mkdir()
    opened = os.open(tmp_path, os.O_RDONLY)
    hidden = Path("/proc/self/fd/900")
    started = connect(1)
    try:
        assert unseen(here, [tmp_path]) == {}
        os.dup2(opened, 900)
        assert list(unseen(hidden / "here")) == [hidden / "here"]
        assert list(unseen(here, [tmp_path / "base"])) == [tmp_path / "base"]
        assert not os.listdir(here)
        (tmp_path / "own.py").write_text(OWN)
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        run = Run(load(RunConfig, config, [f"filters=[{hidden}/own.py:Own]"]), here, config, quiet=True)
        join(run, ["trace"])
        plain = Run(load(RunConfig, config), here, config, quiet=True)
        assert files_line(plain) == f"places: files: {here} is seen by every node"
        with pytest.raises(ConfigError, match=r"^/proc/self/fd/900/own.py: is not seen on the nodes [0-9.]+, where it"):
            join(run, ["filter"])
        monkeypatch.setattr(driver_files, "_serving", None)
        driver_files.look(here)
        assert as_seen(here) == str(here)
        driver_files.look(hidden / "here")
        (here / "large.bin").write_bytes(os.urandom(20_000_000))

        def copy(url: str) -> str:
            from distill.store import filesystem

            fs, inner = filesystem(url)
            fs.get_file(f"{inner}/large.bin", f"{inner}/here.bin")
            fs.put_file(f"{inner}/here.bin", f"{inner}/back.bin")
            return str(type(fs).__name__)

        assert ray.get(ray.remote(copy).remote(as_seen(here))) == "DriverFiles"
        assert (here / "back.bin").read_bytes() == (here / "large.bin").read_bytes()
    finally:
        os.close(opened)
        if started:
            ray.shutdown()


HEAD = Node("h", "10.0.0.1", 0, 0, 8.0, head=True)


def test_students_train_on_gpus_where_there_are_any() -> None:
    settings = SftSettings(targets=["direct", "think", "mixed"])
    workers = [Node(f"g{n}", f"10.0.1.{n}", 8, 1, 32.0, "H100") for n in range(2)]
    placement = on_nodes(settings, [HEAD, Node("c", "10.0.0.2", 64, 0, 64.0), *workers])
    assert placement.text() == "2 students at a time, each on 1 Ray Train worker of 1 CPU and 1 GPU"


def test_students_share_the_cpus_of_nodes_without_gpus() -> None:
    nodes = [HEAD, *(Node(f"c{n}", f"10.0.0.{n}", 8, 0, 16.0) for n in (2, 3))]
    four = on_nodes(SftSettings(targets=["direct", "think", "verdict_first", "mixed"]), nodes)
    assert four.text() == "4 students at a time, each on 1 Ray Train worker of 4 CPUs"
    one = on_nodes(SftSettings(targets=["think"]), nodes)
    assert one.text() == "1 student at a time, each on 1 Ray Train worker of 8 CPUs"


def test_workers_that_no_node_holds_are_waited_for_with_a_word() -> None:
    settings = SftSettings(targets=["think"], ray={"workers": 4, "gpus_per_worker": 1})
    placement = on_nodes(settings, [HEAD, Node("g", "10.0.0.2", 8, 2, 32.0)])
    assert placement.at_a_time == 1
    assert placement.text().endswith("; the nodes of now hold 2 of these workers: it waits for more")


def test_the_address_for_jobs_is_no_cluster_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ConfigError, match="is where jobs are submitted to; unset it here, or submit this command"):
        on_cluster()
