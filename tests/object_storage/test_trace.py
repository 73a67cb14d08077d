"""Asking the teacher with the journal on S3, over real HTTP: killed, and taken up from another folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distill.errors import RunFolderError
from teacher.session import Session
from teacher.stage import trace
from tests.teacher.conftest import _ray_of_all, ray_here, serve  # noqa: F401  (fixtures)
from tests.teacher.helpers import Server, make_pairs, settings_for

Serve = Callable[..., Server]
COUNT, IN_FLIGHT, ANSWER_S = 600, 16, 0.4
DRIVER = """
import sys
from pathlib import Path
from distill import url_lease
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, settings_for
url, journal, folder = sys.argv[1:]
url_lease.RENEW_S = 0.5
settings = settings_for(Server(url), journal=journal, concurrency={flight})
trace(make_pairs({count}), settings, Path(folder))
"""


@pytest.fixture
def killed_drivers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Drivers that are killed after the test, if they live."""
    drivers: list[subprocess.Popen[bytes]] = []
    yield drivers
    for driver in drivers:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_killed_driver_is_taken_up_from_another_folder(
    serve: Serve,  # noqa: F811
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_drivers: list[subprocess.Popen[bytes]],
) -> None:
    server, journal = serve(mean=ANSWER_S), f"{bucket}/runs/one/journal"
    code = DRIVER.format(count=COUNT, flight=IN_FLIGHT)
    driver = subprocess.Popen(
        [sys.executable, "-c", code, server.url, journal, str(tmp_path / "a")],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        start_new_session=True,
    )
    killed_drivers.append(driver)
    while len(server.answers()) < COUNT // 6:
        assert driver.poll() is None
        time.sleep(0.05)
    with pytest.raises(RunFolderError, match=rf"{journal}: in use by process {driver.pid} on "):
        trace(make_pairs(COUNT), settings_for(server, journal=journal), tmp_path / "second")
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    monkeypatch.setattr("distill.url_lease.LEASE_S", 1.0)  # of the owner, that is: it was killed just now
    before = sum(server.answers().values())
    counts = trace(make_pairs(COUNT), settings_for(server, journal=journal, concurrency=IN_FLIGHT), tmp_path / "b")
    assert counts["answered"] == COUNT
    answers = server.answers()
    lost = sum(answers.values()) - COUNT  # in flight, or answered within the last flush before the kill
    assert before < COUNT and lost <= IN_FLIGHT + int(IN_FLIGHT / ANSWER_S * 1.5)
    again = trace(make_pairs(COUNT), settings_for(server, journal=journal), tmp_path / "c")
    assert again["asked_now"] == 0 and again["answered"] == COUNT


def test_two_runs_with_one_journal_in_a_local_folder_are_refused_too(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    settings = settings_for(serve(), journal=str(tmp_path / "journal"))
    with (
        Session(settings, tmp_path / "a"),
        pytest.raises(RunFolderError, match=r"journal: in use by process \d+"),
        Session(settings, tmp_path / "b"),
    ):
        pass
