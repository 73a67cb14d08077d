"""A student that is trained on nodes which do not see the driver's disk: what travels, and what a lost node costs.

The driver's files are reached without Ray here; tests/test_ray_job.py has the cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from distill import driver_files
from distill.driver_files import as_seen
from sft import node_folder
from sft.node_folder import NodeFolder
from sft.together import COMPLETE
from sft.train import train
from tests.sft.tiny import base_folder, job_of, train_tiny, weights

Node = Callable[..., NodeFolder]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """The folder of a student on a node, by the node's name and the student's folder with the driver."""
    monkeypatch.setattr(driver_files, "_serving", Mock())

    def make(name: str, out: Path, *, first: bool = True, whole: bool = False) -> NodeFolder:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return NodeFolder(as_seen(out), True, first, whole)

    return make


class Lost(Exception):
    """The end of a node."""


def test_a_lost_node_costs_the_steps_since_the_last_checkpoint_and_another_ends_the_training(
    node: Node, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base")
    train_tiny(tmp_path / "whole", base)
    job: Any = job_of(tmp_path / "apart", base)
    out = Path(job["out"])
    sent = {**job, "out": as_seen(out), "base": as_seen(base), "examples": as_seen(job["examples"])}
    first, kept = node("one", out), []

    def keep(checkpoint: Path) -> None:
        first.keep(checkpoint)
        kept.append(checkpoint.name)
        if len(kept) == 2:
            raise Lost

    with pytest.raises(Lost):
        train(first.begin(sent), keep)
    assert kept == ["checkpoint-2", "checkpoint-4"]
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == kept
    assert not (out / "model.safetensors").exists()

    second = node("two", out)
    given = second.begin(sent)
    assert Path(given["out"]).is_relative_to(tmp_path / "two")
    result = train(given, second.keep)
    assert result["resumed"] and result["steps"] == 6
    second.hand_over()
    assert not (out / "checkpoints").exists() and not Path(given["out"]).exists()
    whole = weights(tmp_path / "whole" / "students" / "think")
    assert all(float((tensor - whole[name]).abs().max()) < 1e-6 for name, tensor in weights(out).items())
    alike = {path.name for path in (tmp_path / "whole" / "students" / "think").iterdir()}
    assert {path.name for path in out.iterdir()} == alike


def written(folder: NodeFolder, step: int, **files: str) -> Path:
    """A checkpoint of which this node has written these files."""
    checkpoint = folder.path / "checkpoints" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for name, text in files.items():
        (checkpoint / name).write_text(text)
    return checkpoint


@pytest.mark.parametrize("whole", [False, True])
def test_a_checkpoint_in_parts_is_put_together_by_the_driver(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    out = tmp_path / "student"
    one, two = node("one", out, whole=whole), node("two", out, first=False, whole=whole)
    together = threading.Barrier(2)
    monkeypatch.setattr(node_folder, "barrier", lambda: together.wait(60))

    def keep(step: int, drops: str | None = None) -> None:
        ends: list[BaseException] = []
        mine = written(one, step, part_0="a", **{COMPLETE: f"mark {step}"}), written(two, step, part_1="b")
        if drops:
            node_folder._remove(one.path / "checkpoints" / drops)

        def of(folder: NodeFolder, checkpoint: Path) -> None:
            try:
                folder.keep(checkpoint)
            except BaseException as error:
                ends.append(error)

        threads = [threading.Thread(target=of, args=each) for each in zip((one, two), mine, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not ends

    keep(5)
    keep(10, drops="checkpoint-5")
    there = out / "checkpoints"
    assert [path.name for path in there.iterdir()] == ["checkpoint-10"]
    assert {path.name: path.read_text() for path in (there / "checkpoint-10").iterdir()} == {
        "part_0": "a", "part_1": "b", COMPLETE: "mark 10",
    }  # fmt: skip
    here = {path.name: sorted(part.name for part in path.iterdir()) for path in (two.path / "checkpoints").iterdir()}
    assert here == {"checkpoint-10": [COMPLETE, "part_0", "part_1"] if whole else ["part_1"]}


def test_what_is_half_copied_or_of_another_training_is_not_taken_up(node: Node, tmp_path: Path) -> None:
    out = tmp_path / "student"
    for step, files in ((2, {"weights": "new", COMPLETE: "mark"}), (4, {"weights": "half"})):
        folder = out / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    one = node("one", out)
    written(one, 2, weights="old", **{COMPLETE: "another mark"})
    written(one, 6, weights="old", **{COMPLETE: "another mark"})
    (one.path / "left.txt").write_text("over")
    one.begin({"out": str(out)})  # type: ignore[typeddict-item]
    assert {path.name for path in one.path.iterdir()} == {"checkpoints"}
    assert [path.name for path in (one.path / "checkpoints").iterdir()] == ["checkpoint-2"]
    assert (one.path / "checkpoints" / "checkpoint-2" / "weights").read_text() == "new"
