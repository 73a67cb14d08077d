"""In which processes students judge, and with how many threads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from distill.records import make_pair
from distill.rerank import workers
from distill.rerank.jobs import Student
from distill.rerank.settings import ScoringSettings
from distill.rerank.workers import FEW, Here, in_this_process, on_this_machine


class Started:
    """Stands for a process: its threads and GPUs."""

    def __init__(self, threads: int, gpus: list[int] | tuple[()] = ()) -> None:
        self.threads = threads


def wide(tiny: Path, folder: Path) -> Student:
    """A student of hidden size 256 with random weights."""
    config = AutoConfig.from_pretrained(tiny)
    config.update({"hidden_size": 256})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return Student(str(folder), "direct", ScoringSettings(backend="transformers"), device="cpu")


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
