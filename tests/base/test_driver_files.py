"""URLs of the driver's disk: in the driver itself here, where they are files; by Ray in tests/test_ray_job.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from distill import driver_files
from distill.driver_files import as_seen, model_as_seen
from distill.driver_filesystem import PIECE
from distill.inputs import named, on_this_node
from distill.records import Pair, make_pair
from distill.store import file_hash, filesystem, read_json, read_rows, write_json, write_rows


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a driver; calls go to the disk."""
    monkeypatch.setattr(driver_files, "_serving", Mock())
    yield


def test_without_a_cluster_a_path_is_a_path(tmp_path: Path) -> None:
    assert as_seen(tmp_path) == str(tmp_path) and on_this_node(str(tmp_path)) == str(tmp_path)


@pytest.mark.usefixtures("served")
def test_a_path_is_reached_by_its_url_and_messages_name_the_path(tmp_path: Path) -> None:
    url = as_seen(tmp_path / "run")
    assert url == f"driver://{tmp_path}/run"
    assert on_this_node(url) == str(tmp_path / "run") and named(f"{url}: broken") == f"{tmp_path}/run: broken"
    assert (
        model_as_seen(str(tmp_path)) == f"driver://{tmp_path}"
        and model_as_seen("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"
    )


@pytest.mark.usefixtures("served")
def test_rows_and_json_are_written_and_read(tmp_path: Path) -> None:
    rows = [make_pair(f"q{n}", f"d{n}", "query", "text") for n in range(5)]
    there, here = (write_rows(folder, rows, Pair) for folder in (as_seen(tmp_path / "there"), tmp_path / "here"))
    assert there == here
    assert list(read_rows(as_seen(tmp_path / "there"), Pair)) == list(read_rows(tmp_path / "here", Pair))
    write_json(f"{as_seen(tmp_path)}/one.json", {"a": 1})
    assert read_json(tmp_path / "one.json") == {"a": 1} == read_json(f"{as_seen(tmp_path)}/one.json")
    assert read_json(f"{as_seen(tmp_path)}/none.json") is None


@pytest.mark.usefixtures("served")
def test_large_files_travel_in_pieces_and_are_there_whole_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(2 * PIECE + 12345))
    fs, inner = filesystem(as_seen(tmp_path))
    sizes = []
    write = driver_files.DiskAccess.write

    def seen(self: driver_files.DiskAccess, path: str, at: int, data: bytes) -> None:
        sizes.append(len(data))
        assert not (tmp_path / "deep" / "copy.bin").exists()
        write(self, path, at, data)

    monkeypatch.setattr(driver_files.DiskAccess, "write", seen)
    fs.put_file(str(big), f"{inner}/deep/copy.bin")
    assert max(sizes) <= PIECE and sum(sizes) == big.stat().st_size
    assert (
        file_hash(tmp_path / "deep" / "copy.bin") == file_hash(big) == file_hash(f"{as_seen(tmp_path)}/deep/copy.bin")
    )
    fs.get_file(f"{inner}/deep/copy.bin", str(tmp_path / "back.bin"))
    assert file_hash(tmp_path / "back.bin") == file_hash(big)
    assert os.listdir(tmp_path / "deep") == ["copy.bin"]


@pytest.mark.usefixtures("served")
def test_lines_are_appended_and_folders_are_listed_and_removed(tmp_path: Path) -> None:
    fs, inner = filesystem(as_seen(tmp_path))
    for line in (b"one\n", b"two\n"):
        with fs.open(f"{inner}/run/log.jsonl", "ab") as out:
            out.write(line)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == b"one\ntwo\n"
    (tmp_path / "run" / "deep").mkdir()
    (tmp_path / "run" / "deep" / "x").write_text("x")
    assert fs.find(inner) == [f"{tmp_path}/run/deep/x", f"{tmp_path}/run/log.jsonl"]
    with pytest.raises(FileNotFoundError):
        fs.info(f"{inner}/none")
    fs.rm(f"{inner}/run/deep", recursive=True)
    assert fs.ls(f"{inner}/run", detail=False) == [f"{tmp_path}/run/log.jsonl"]
