"""An encoder's and a retriever's training killed by SIGKILL in a process of its own, and gone on with in another."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sft.training_job import TrainingJob
from tests.sft import test_encoder, test_retriever

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from sft.callbacks import ProgressCallback
from sft.training_job import train

job = json.loads(Path(sys.argv[1]).read_text())
begun = 0

def on_step_begin(self, *_, **__):
    global begun
    begun += 1
    if str(begun) == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

ProgressCallback.on_step_begin = on_step_begin
print("resumed", train(job)["resumed"])
"""


def trained(job: TrainingJob, folder: Path, die_before: int = 0) -> subprocess.CompletedProcess[str]:
    """The job done in a process, which kills itself before that step."""
    (folder / "job.json").write_text(json.dumps(job))
    words = [sys.executable, "-c", PROGRAM, str(folder / "job.json"), str(die_before)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["encoder", "retriever"])
def test_a_training_that_is_killed_ends_with_the_weights_of_one_that_was_not(target: str, tmp_path: Path) -> None:
    jobs: dict[str, TrainingJob] = {}
    for name in ("whole", "killed"):
        if target == "encoder":
            (tmp_path / name).mkdir()
            jobs[name] = test_encoder.job_in(tmp_path / name, save_steps=3)
        else:
            jobs[name] = test_retriever.job_in(tmp_path / name, save_steps=3)
    whole = trained(jobs["whole"], tmp_path / "whole")
    assert whole.returncode == 0 and "resumed False" in whole.stdout, whole.stderr
    killed = trained(jobs["killed"], tmp_path / "killed", die_before=5)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    student = tmp_path / "killed" / "student"
    assert (student / "checkpoints/checkpoint-3/complete").is_file() and not list(student.glob("*.safetensors"))
    again = trained(jobs["killed"], tmp_path / "killed")
    assert again.returncode == 0 and "resumed True" in again.stdout, again.stderr
    first, second = (load_file(str(tmp_path / name / "student/model.safetensors")) for name in jobs)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert float((tensor - second[name]).abs().max()) < 1e-6, name
