"""Ray Train with one and with two workers: a lost worker is survived, and split weights train like whole ones."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from distill.errors import InputError
from sft.ray_train import train_on_ray
from sft.settings import RaySettings
from tests.sft import test_encoder, test_retriever
from tests.sft.tiny import apart, base_folder, job_of, weights

pytestmark = pytest.mark.slow
STEPS = {
    "max_steps": 30, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1, "save_steps": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("base"))


def workers_of_this_process() -> list[int]:
    """Process ids of Ray Train's workers among the descendants of this test."""
    import psutil

    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()) + child.name():
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


def kill_one_after(checkpoints: Path, killed: list[int]) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if list(checkpoints.glob("checkpoint-*/complete")) and (found := workers_of_this_process()):
            os.kill(found[-1], signal.SIGKILL)
            killed.append(found[-1])
            return
        time.sleep(0.02)


@pytest.mark.parametrize("shard", [False, True])
def test_a_lost_worker_is_replaced_and_the_training_goes_on(
    shard: bool, base: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With whole weights (DDP) and with split ones (FSDP2), whose checkpoints are in parts too."""
    if shard:
        request.getfixturevalue("split")
    ray = {"workers": 2, "shard": shard}
    whole = train_on_ray(job_of(tmp_path / "whole", base, count=80, training=STEPS, ray=ray))
    assert whole["steps"] == 30 and not whole["resumed"]
    job = job_of(tmp_path / "killed", base, count=80, training=STEPS, ray=ray)
    killed: list[int] = []
    watcher = threading.Thread(target=kill_one_after, args=(Path(job["out"]) / "checkpoints", killed), daemon=True)
    watcher.start()
    result = train_on_ray(job)
    watcher.join()
    assert killed, "a worker was killed"
    assert result["resumed"] and result["steps"] == 30
    undisturbed = weights(Path(tmp_path / "whole" / "students" / "think"))
    for name, tensor in weights(Path(job["out"])).items():
        assert float((tensor - undisturbed[name]).abs().max()) < 1e-6, name


def test_one_worker_trains_the_student_that_a_process_trains(base: Path, tmp_path: Path) -> None:
    """As on a cluster, where a student has one worker: bit for bit, and each of its lines is handed on."""
    from sft.train import train

    steps = {**STEPS, "max_steps": 6}
    train(job_of(tmp_path / "process", base, training=steps))
    said: list[dict[str, Any]] = []
    result = train_on_ray(job_of(tmp_path / "ray", base, training=steps, ray={"workers": 1}), said.append)
    assert result["steps"] == 6 and [line["step"] for line in said] == [1, 2, 3, 4, 5, 6]
    process, worker = (
        weights(tmp_path / "process" / "students" / "think"),
        weights(tmp_path / "ray" / "students" / "think"),
    )
    assert all(process[name].equal(tensor) for name, tensor in worker.items()) and set(process) == set(worker)


@pytest.mark.parametrize("target", ["encoder", "retriever"])
def test_one_worker_trains_the_student_that_writes_nothing_too(target: str, tmp_path: Path) -> None:
    from sft.training_job import train

    module = {"encoder": test_encoder, "retriever": test_retriever}[target]
    jobs = {}
    for place in ("process", "ray"):
        if target == "encoder":
            (tmp_path / place).mkdir()
        jobs[place] = module.job_in(tmp_path / place)
    jobs["ray"]["settings"]["ray"] = RaySettings(workers=1).model_dump(mode="json")
    assert train(jobs["process"])["steps"] == train_on_ray(jobs["ray"])["steps"] == 8
    process, worker = (weights(tmp_path / place / "student") for place in jobs)
    assert set(process) == set(worker)
    for name, tensor in worker.items():  # Adam makes steps of 1e-3 of gradients that only rounding tells from 0
        assert float((tensor - process[name]).abs().max()) < 1e-3, name


def splitting_worker(job: dict[str, Any]) -> None:
    """A worker that splits weights on a CPU too, which FSDP2 can; accelerate offers it on GPUs only.

    Notes in `split.txt` how many of the trained weights are in parts before they are saved.
    """
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType
    from torch.distributed.tensor import DTensor

    import sft.train
    from sft.ray_train import _worker

    begin, save = AcceleratorState.__init__, sft.train.save

    def with_fsdp(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        if kwargs.get("fsdp_plugin") is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, kwargs["fsdp_plugin"]

    def note(trainer: Any, tokenizer: Any, folder: Path, *rest: Any) -> int:
        trained = [p for p in trainer.model.parameters() if p.requires_grad]
        (folder / "split.txt").write_text(f"{sum(isinstance(p.data, DTensor) for p in trained)} of {len(trained)}")
        return save(trainer, tokenizer, folder, *rest)

    AcceleratorState.__init__, sft.train.save = with_fsdp, note
    _worker(job)


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers split weights on this CPU."""
    import cloudpickle

    import sft.ray_train

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    monkeypatch.setattr(sft.ray_train, "_worker", splitting_worker)


KINDS: dict[str, Any] = {"full": None, "lora": {"r": 4, "alpha": 8}}


@pytest.mark.parametrize(("kind", "tied"), [("full", False), ("lora", True)])
def test_split_weights_train_like_whole_ones(kind: str, tied: bool, tmp_path: Path, split: None) -> None:
    """FSDP2 on two workers against one process with the same batches: to a hundredth of the way of six AdamW steps."""
    from sft.train import train

    base = base_folder(tmp_path / "base", tied=tied)
    steps = {**STEPS, "max_steps": 6, "save_strategy": "no"}
    train(job_of(tmp_path / "one", base, training={**steps, "per_device_train_batch_size": 8}, lora=KINDS[kind]))
    job = job_of(tmp_path / "split", base, training=steps, lora=KINDS[kind], ray={"workers": 2, "shard": True})
    result = train_on_ray(job)
    assert result["steps"] == 6
    there, _, all_of_them = (Path(job["out"]) / "split.txt").read_text().partition(" of ")
    assert there == all_of_them != "0", "every trained weight was in parts"
    one, two = weights(tmp_path / "one" / "students" / "think"), weights(Path(job["out"]))
    assert set(one) == set(two)
    assert result["parameters"] == sum(tensor.numel() for tensor in two.values())
    assert apart(one, two, weights(base)) < 0.01


def test_weights_are_not_silently_left_whole(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sft.ray.shard: weights are split over several GPUs, and here are none"):
        train_on_ray(job_of(tmp_path, base, training=STEPS, ray={"workers": 2, "shard": True}))


def test_the_users_fault_is_told_once_and_not_tried_again(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no example is left to train think on") as caught:
        train_on_ray(job_of(tmp_path, base, max_length=16, ray={"workers": 2}))
    assert caught.value.exit_code == 2
