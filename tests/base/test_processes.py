"""Children end with their parent, also with one that is killed before they look."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PARENT = """
import multiprocessing, os, sys, time
from pathlib import Path


def child(place):
    while os.getppid() == multiprocessing.parent_process().pid:
        time.sleep(0.01)  # until the parent is gone
    from distill.processes import die_with_parent

    Path(place).write_text("the parent is gone")
    die_with_parent(0.01)
    time.sleep(60)
    Path(place).write_text("the child went on")


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child, args=(sys.argv[1],))
    process.start()
    os._exit(0)
"""


def test_a_child_that_begins_after_its_parent_was_killed_ends(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    place = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(tmp_path / "parent.py"), str(place)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.read()  # ends when the child, which holds it too, is gone
    assert place.read_text() == "the parent is gone"
