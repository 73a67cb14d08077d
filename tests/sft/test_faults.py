"""What ends a training reaches the user in one line, and rows that are left out are told with the remedy."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import torch

from distill.errors import DataError, DistillError, InputError, Stopped
from distill.store import write_json
from sft.faults import ended_without_result, training_fault
from sft.placement import Placement
from sft.processes import TrainingProcesses
from sft.tokens import left_out_text


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), InputError, "per_device_train_batch"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), InputError, "memory ran out"),
        (MemoryError(), InputError, "memory ran out"),
        (ValueError("\nUnknown optimizer adamw_torchh\nmore"), InputError, r": Unknown optimizer adamw_torchh$"),
        (ImportError("You need bitsandbytes"), InputError, r"cannot be trained as configured: You need bitsandbytes$"),
        (DataError("as it was"), DataError, r"^as it was$"),
        (KeyError("token"), DistillError, r"failed \(KeyError: 'token'\); see .*stderr.txt"),
    ],
)
def test_an_exception_becomes_one_line(error: Exception, kind: type, words: str, tmp_path: Path) -> None:
    fault = training_fault("think", error, tmp_path)
    assert type(fault) is kind and "\n" not in str(fault)
    with pytest.raises(kind, match=words):
        raise fault


def test_a_process_that_the_kernel_killed_is_about_memory(tmp_path: Path) -> None:
    fault = ended_without_result("think", -signal.SIGKILL, "", tmp_path)
    assert fault.exit_code == 2 and "killed (signal 9)" in str(fault) and "memory" in str(fault)


def test_a_process_that_crashed_shows_its_last_line(tmp_path: Path) -> None:
    fault = ended_without_result(
        "think", -signal.SIGSEGV, "Loading\nFatal Python error: Segmentation fault\n\n", tmp_path
    )
    assert "signal 11" in str(fault) and "Fatal Python error: Segmentation fault" in str(fault)
    assert "stderr.txt" in str(fault)


def test_what_a_training_process_dies_of_reaches_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for python that is killed as the kernel kills one for memory."""
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nread job\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    write_json(tmp_path / "job.json", {"name": "think"})
    with TrainingProcesses(Placement(1), print) as processes, pytest.raises(InputError, match=r"killed \(signal 9\)"):
        processes.train(tmp_path)


def test_a_student_that_waits_is_not_trained_once_the_stage_is_ended(tmp_path: Path) -> None:
    with TrainingProcesses(Placement(1), print) as processes:
        pass
    with pytest.raises(Stopped, match="think: not trained"):
        processes.train(tmp_path / "think")
    assert not (tmp_path / "think").exists()


def test_rows_left_out_are_told_with_their_share_and_the_remedy() -> None:
    long = [(str(n), f"{140 + n} tokens, more than sft.max_length 130") for n in range(6)]
    assert left_out_text([], 10, 130) is None
    assert left_out_text(long, 10, 130) == (
        "6 of 10 rows (60.0%) are left out of the training: 6 longer than sft.max_length 130 (up to 145 tokens); "
        "raise sft.max_length to 145 to train on them, or filter the long traces"
    )
    few = left_out_text([long[0], ("x", "its text holds the control token '</think>'")], 100, 130)
    assert few == (
        "2 of 100 rows (2.0%) are left out of the training: 1 longer than sft.max_length 130 (up to 140 tokens) and "
        "1 with a control token in their text"
    )
