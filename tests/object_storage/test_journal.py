"""The journal on S3: from the first start on a prefix that is not there, through kills, to one object a part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.errors import ConfigError, Stopped
from teacher import journal_objects
from teacher.index import JournalIndex
from teacher.journal import Journal
from teacher.journal_objects import JournalObjects

KEYS = [f"{n:032x}" for n in range(40)]


def line(key: str) -> bytes:
    """An answer's line."""
    return json.dumps({"id": key, "content": f"true {key}", "cost_usd": 0.25}).encode()


def write(url: str, scratch: Path, keys: list[str]) -> Journal:
    """A session's journal with a flush for each key, not closed: as a kill leaves it."""
    journal = Journal(url, scratch)
    for key in keys:
        journal.append([line(key)])
        journal.tick(force=True)
    return journal


def known(url: str, scratch: Path, **more: bool) -> list[str]:
    """The keys that a new session in a folder of its own finds, each with its own answer; nothing counted twice."""
    index = JournalIndex(Journal(url, scratch, **more), scratch / "index.sqlite")
    there = [key for key in KEYS if index.has(key)]
    for key in there:
        answer = index.answer(key)
        assert answer is not None and answer.content == f"true {key}"
    assert index.spent_usd == 0.25 * len(there) and index.unusable_usd == 0
    return there


def names(s3: Any, url: str) -> list[str]:
    """The objects of a journal."""
    s3.invalidate_cache()
    return [path.rsplit("/", 1)[-1] for path in s3.find(url)]


def test_the_first_start_finds_nothing_and_a_session_ends_as_one_object(bucket: str, s3: Any, tmp_path: Path) -> None:
    url = f"{bucket}/not/there/yet"
    assert known(url, tmp_path / "look", writes=False) == [] and names(s3, url) == []
    journal = write(url, tmp_path / "a", KEYS[:3])
    assert len(names(s3, url)) == 3
    journal.close()
    (whole,) = names(s3, url)
    assert whole.startswith("00000001-") and known(url, tmp_path / "b") == KEYS[:3]


def test_a_killed_sessions_flushes_are_read_by_another_machine_and_joined(bucket: str, s3: Any, tmp_path: Path) -> None:
    url = f"{bucket}/journal"
    write(url, tmp_path / "a", KEYS[:5])
    assert known(url, tmp_path / "look", writes=False) == KEYS[:5] and len(names(s3, url)) == 5  # a look joins nothing
    assert known(url, tmp_path / "b") == KEYS[:5] and len(names(s3, url)) == 1
    write(url, tmp_path / "b", KEYS[5:7])
    assert known(url, tmp_path / "c") == KEYS[:7] and len(names(s3, url)) == 2


def test_what_a_killed_session_had_not_flushed_reaches_s3_from_its_own_folder(bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/journal"
    write(url, tmp_path / "a", KEYS[:2]).append([line(KEYS[2])])
    assert known(url, tmp_path / "other") == KEYS[:2]  # another machine knows nothing of it, and joins what is there
    write(url, tmp_path / "other", KEYS[3:5])
    assert known(url, tmp_path / "a") == KEYS[:5]
    assert known(url, tmp_path / "third") == KEYS[:5]


def test_killed_between_the_whole_object_and_the_removal_nothing_counts_twice(
    bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/journal"
    journal = write(url, tmp_path / "a", KEYS[:4])
    with monkeypatch.context() as patch:
        patch.setattr(JournalObjects, "_remove_flushes", lambda objects, part: None)
        journal.close()
    assert len(names(s3, url)) == 5
    assert known(url, tmp_path / "b", writes=False) == KEYS[:4]
    assert known(url, tmp_path / "c") == KEYS[:4] and len(names(s3, url)) == 1


def test_what_an_owner_flushes_after_another_has_joined_its_part_is_read(bucket: str, s3: Any, tmp_path: Path) -> None:
    url = f"{bucket}/journal"
    late = write(url, tmp_path / "a", KEYS[:2])
    assert known(url, tmp_path / "b") == KEYS[:2]  # took it for dead, and joined
    late.append([line(KEYS[2])])
    late.tick(force=True)
    assert known(url, tmp_path / "c", writes=False) == KEYS[:3]
    assert known(url, tmp_path / "d") == KEYS[:3] and len(names(s3, url)) == 1


def test_a_fetch_that_was_killed_is_completed(bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/journal"
    write(url, tmp_path / "a", KEYS[:9]).close()
    write(url, tmp_path / "a", KEYS[9:20])
    home = tmp_path / "b"
    assert known(url, home, writes=False) == KEYS[:20]
    for path in home.glob("*.jsonl"):
        path.write_bytes(path.read_bytes()[:-100])
    assert known(url, home) == KEYS[:20] and known(url, tmp_path / "c") == KEYS[:20]


def test_a_long_session_goes_on_in_new_parts_and_leaves_few_objects(
    bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_objects, "PART_FLUSHES", 4)
    url = f"{bucket}/journal"
    journal = write(url, tmp_path / "a", KEYS[:19])
    place = journal.append([line(KEYS[19])])[0]
    assert journal.read(place).answer.request_id == KEYS[19]
    journal.close()
    assert len(names(s3, url)) == 5 and known(url, tmp_path / "b") == KEYS[:20]


def test_parts_of_an_older_version_are_read_and_never_written_over(bucket: str, s3: Any, tmp_path: Path) -> None:
    url = f"{bucket}/journal"
    s3.pipe_file(f"{url}/00000001.jsonl", line(KEYS[0]) + b"\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "00000001.jsonl").write_bytes(line(KEYS[1]) + b"\n" + line(KEYS[2]) + b"\n")  # of another machine
    assert known(url, tmp_path / "a") == [KEYS[0]]
    assert s3.cat_file(f"{url}/00000001.jsonl") == line(KEYS[0]) + b"\n"


def test_a_bucket_that_is_not_there_and_an_unknown_scheme_are_one_line(s3_server: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^s3://no-such-bucket/journal: "):
        write("s3://no-such-bucket/journal", tmp_path, KEYS[:1])
    with pytest.raises(ConfigError, match=r"^nowhere://x/journal: .*nowhere"):
        Journal("nowhere://x/journal", tmp_path)


def test_a_storage_that_goes_away_stops_in_one_line_and_nothing_is_lost(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/journal"
    journal = write(url, tmp_path / "a", KEYS[:2])
    journal.append([line(KEYS[2])])

    def away(*arguments: Any, **more: Any) -> None:
        raise ConnectionError("no route to host")

    assert journal._objects is not None
    with monkeypatch.context() as patch, pytest.raises(Stopped, match=rf"^{url}: cannot be reached .*; run again$"):
        patch.setattr(journal._objects._fs, "pipe_file", away)
        journal.tick(force=True)
    assert known(url, tmp_path / "a") == KEYS[:3] and known(url, tmp_path / "b") == KEYS[:3]
