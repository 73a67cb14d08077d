"""In which processes and actors students judge, and with how many threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from distill.ray_cluster import Node
from distill.records import make_pair
from distill.rerank import workers
from distill.rerank.jobs import Student
from distill.rerank.ray_workers import placed
from distill.rerank.settings import ScoringSettings
from distill.rerank.workers import FEW, Here, in_this_process, on_this_machine
from tests.teacher.test_cluster import Cluster


class Started:
    """Stands for a process: its threads and GPUs."""

    def __init__(self, threads: int, gpus: list[int] | tuple[()] = ()) -> None:
        self.threads = threads


def wide(tiny: Path, folder: Path, actors: int | None = None) -> Student:
    """A student of hidden size 256 with random weights."""
    config = AutoConfig.from_pretrained(tiny)
    config.update({"hidden_size": 256})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return Student(str(folder), "direct", ScoringSettings(backend="transformers", actors=actors), device="cpu")


@pytest.mark.parametrize(("cores", "threads"), [(2, [1, 1]), (4, [1] * 4)])
def test_a_narrow_student_has_a_process_a_core(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, cores: int, threads: list[int]
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: cores)
    monkeypatch.setattr(workers, "Process", Started)
    student = Student(str(tiny), "direct", device="cpu")
    assert in_this_process(student, FEW) and not in_this_process(student, FEW + 1)
    assert [each.threads for each in on_this_machine(student, 99)] == threads


@pytest.mark.parametrize(("cores", "threads"), [(2, None), (8, None), (12, [12]), (16, [8, 8]), (20, [10, 10])])
def test_a_wide_student_has_all_cores_in_few_processes(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, threads: list[int] | None
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: cores)
    monkeypatch.setattr(workers, "Process", Started)
    student = wide(tiny, tmp_path)
    assert in_this_process(student, 16)
    assert in_this_process(student, 10_000) == (threads is None)
    if threads:
        assert [each.threads for each in on_this_machine(student, 99)] == threads


def test_actors_that_are_named_are_processes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 6)
    monkeypatch.setattr(workers, "Process", Started)
    student = Student(str(tiny), "direct", ScoringSettings(actors=2), device="cpu")
    assert not in_this_process(student, 1)
    assert [each.threads for each in on_this_machine(student, 99)] == [3, 3]
    assert [each.threads for each in on_this_machine(student, 1)] == [6]


def test_threads_are_those_of_the_cores_and_given_back(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever OMP_NUM_THREADS says, which make sets to 1 for students of the embedded example."""
    before = torch.get_num_threads()
    monkeypatch.setattr(workers, "cores", lambda: before + 1)
    pair = (0, make_pair("q", "d", "red fox", "lazy dog"))
    here = Here()
    narrow = Student(str(tiny), "direct", ScoringSettings(backend="transformers"), device="cpu")
    for student, threads in ((narrow, before), (wide(tiny, tmp_path), before + 1), (narrow, before)):
        assert here.exchange(student, [pair]).result().judged
        assert torch.get_num_threads() == threads
    here.exchange(wide(tiny, tmp_path), []).result()
    here.close()
    assert torch.get_num_threads() == before


NODES = [Node("head", "h", 0, 0, 8.0, head=True), Node("small", "s", 4, 0, 8.0), Node("large", "l", 20, 0, 64.0)]


@pytest.mark.parametrize(
    ("actors", "free", "expected"),
    [
        (None, {}, [("large", 10), ("large", 10), ("small", 4)]),
        (None, {"small": 3, "large": 7}, [("large", 7), ("small", 3)]),  # others have the rest
        (1, {}, [("large", 20)]),
        (5, {}, [("large", 5)] * 4 + [("small", 4)]),
        (40, {}, [(None, 1)] * 40),  # more than there are CPUs for: they wait for nodes
    ],
)
def test_actors_of_a_wide_student_have_the_cpus_of_their_nodes(
    tiny: Path, tmp_path: Path, actors: int | None, free: dict[str, int], expected: list[tuple[str | None, int]]
) -> None:
    student = wide(tiny, tmp_path, actors)
    assert placed(student, NODES, free, 99) == expected
    assert placed(student, NODES, free, 1) == expected[:1]


def test_actors_of_a_narrow_student_have_a_cpu_each_anywhere(tiny: Path) -> None:
    assert placed(Student(str(tiny), "direct", device="cpu"), NODES, {}, 99) == [(None, 1)] * 24
    assert placed(Student(str(tiny), "direct", device="cpu"), NODES[:1], {}, 99) == [(None, 1)]  # a node may join


ON_THE_CLUSTER = """
import sys
from distill.records import make_pair
from distill.rerank.jobs import Student
from distill.rerank.ray_workers import on_the_cluster
from distill.rerank.settings import ScoringSettings

student = Student(sys.argv[1], "direct", ScoringSettings(backend=sys.argv[2]), device="cpu")
actors = on_the_cluster(student, 99)
again = actors[0].again()
for actor in (again, *actors[1:]):
    report = actor.exchange(student, [(0, make_pair("q", "d", "red fox", "lazy dog"))]).result(120)
    while not report.judged:
        report = actor.exchange(student, []).result(120)
"""
THREADS = """
import os, torch
from distill.rerank.backends.transformers import TransformersBackend


class Threads(TransformersBackend):
    name = "threads"

    def step(self):
        done = super().step()
        with open(__file__ + ".txt", "a") as out:
            out.write(f"{torch.get_num_threads()} {os.getpid()}\\n" if done else "")
        return done
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of a node with one CPU and one with three; ended after the test."""
    made = Cluster(tmp_path)
    made.start(f"--address=127.0.0.1:{made.port}", cpus=3)
    yield made
    made.close()


@pytest.mark.slow
def test_on_a_cluster_torch_has_as_many_threads_as_the_actor_has_cpus(
    tiny: Path, tmp_path: Path, cluster: Cluster
) -> None:
    """An actor that takes the place of another one has as many."""
    (tmp_path / "threads.py").write_text(THREADS)
    student = wide(tiny, tmp_path / "student")
    subprocess.run(
        [sys.executable, "-c", ON_THE_CLUSTER, student.model, f"{tmp_path}/threads.py:Threads"],
        env=cluster.environment, check=True, timeout=240,
    )  # fmt: skip
    lines = [line.split() for line in (tmp_path / "threads.py.txt").read_text().splitlines()]
    assert sorted({process: int(threads) for threads, process in lines}.values()) == [1, 3]
