"""The lease of a URL: of two jobs one gets it, whatever their clocks say; a dead one's is taken over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from distill import url_lease
from distill.errors import RunFolderError, Stopped
from distill.url_lease import UrlLease


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease of little more than a second, renewed four times in it."""
    monkeypatch.setattr(url_lease, "RENEW_S", 0.3)
    monkeypatch.setattr(url_lease, "LEASE_S", 1.2)
    monkeypatch.setattr(url_lease, "LOOK_S", 0.1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Leases that are given back after the test."""
    with ExitStack() as stack:
        yield stack


def killed(url: str, scratch: Path, clock_behind: float = 0.0) -> UrlLease:
    """A lease whose owner was killed: nobody renews it, and nobody gives it back."""
    lease = UrlLease(url, scratch)
    lease._acquire()
    lease._held["expires"] -= clock_behind
    lease._fs.pipe_file(lease._path(lease._number), json.dumps(lease._held).encode())
    return lease


def test_a_living_job_is_named_and_the_second_refused(bucket: str, tmp_path: Path, stack: ExitStack) -> None:
    first = stack.enter_context(UrlLease(f"{bucket}/journal", tmp_path / "a"))
    began = time.monotonic()
    with pytest.raises(RunFolderError, match=r"^s3://.*/journal: in use by process \d+ on .*; wait for it"):
        stack.enter_context(UrlLease(f"{bucket}/journal", tmp_path / "b"))
    assert time.monotonic() - began < 1.2
    time.sleep(1.5)
    first.check()  # renewed in the meantime


def test_given_back_it_is_free_at_once_and_leaves_one_object(bucket: str, s3: Any, tmp_path: Path) -> None:
    for name in "abcd":
        began = time.monotonic()
        with UrlLease(f"{bucket}/journal", tmp_path / name):
            assert time.monotonic() - began < 1.0
    assert [path.rsplit("/", 1)[-1] for path in s3.ls(f"{bucket}/journal", refresh=True)] == ["lease-00000004.json"]


@pytest.mark.parametrize("clock", [-3600.0, 0.0, 300.0])
def test_a_dead_jobs_is_taken_over_when_it_was_silent_long_enough(bucket: str, tmp_path: Path, clock: float) -> None:
    killed(f"{bucket}/journal", tmp_path / "a", clock)
    said: list[str] = []
    began = time.monotonic()
    with UrlLease(f"{bucket}/journal", tmp_path / "b", said.append):
        assert 1.2 <= time.monotonic() - began < 4.0
    assert len(said) == 1 and "looking whether that is alive" in said[0]


def test_one_of_this_folder_or_of_long_ago_is_taken_over_at_once(bucket: str, tmp_path: Path) -> None:
    killed(f"{bucket}/journal", tmp_path / "a")
    killed(f"{bucket}/journal", tmp_path / "a", clock_behind=3600)
    began = time.monotonic()
    with UrlLease(f"{bucket}/journal", tmp_path / "b"):
        assert time.monotonic() - began < 1.0


def test_of_many_that_start_together_one_gets_it(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_lease, "LEASE_S", 20.0)  # more than eight threads keep one another waiting
    killed(f"{bucket}/journal", tmp_path / "a", clock_behind=3600)

    def start(number: int) -> bool:
        lease = UrlLease(f"{bucket}/journal", tmp_path / str(number))
        try:
            lease.__enter__()
        except RunFolderError:
            return False
        time.sleep(1.5)
        lease.check()
        lease.__exit__()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(start, range(8))) == 1


def test_an_owner_that_was_stopped_for_long_finds_that_it_has_lost_it(
    bucket: str, tmp_path: Path, stack: ExitStack
) -> None:
    first = killed(f"{bucket}/journal", tmp_path / "a", clock_behind=3600)
    first._renewed -= 100
    second = stack.enter_context(UrlLease(f"{bucket}/journal", tmp_path / "b"))
    with pytest.raises(Stopped, match=r"journal: process \d+ on .* has taken it over; nothing is lost"):
        first.check()
    time.sleep(0.5)
    second.check()


def test_a_storage_that_went_away_stops_the_owner(
    bucket: str, tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = stack.enter_context(UrlLease(f"{bucket}/journal", tmp_path / "a"))

    def away(*arguments: Any, **more: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(lease, "_write", away)
    lease.check()
    time.sleep(2)
    with pytest.raises(Stopped, match=r"could not be renewed for 1 s \(no route to host\)"):
        lease.check()
