"""The journal keeps what it was given, whole; the index finds it, and adds up what it cost."""

from __future__ import annotations

import itertools
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.records import Answer, JournalEntry
from teacher.index import JournalIndex
from teacher.journal import Journal, decode, encode

KEYS = [f"{n:032x}" for n in range(200)]


def line(key: str, **more: Any) -> bytes:
    """An answer's line."""
    value = {"id": key, "content": "true ünd €", "prompt_tokens": 10, "completion_tokens": 5, "cost_usd": 0.25, **more}
    return json.dumps(value, ensure_ascii=False).encode()


def opened(folder: str | Path, scratch: Path) -> JournalIndex:
    """The index of a journal as a new session finds it."""
    return JournalIndex(Journal(folder, scratch / "mirror"), scratch / "index.sqlite")


def test_lines_come_back_by_place_and_in_a_later_session(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", tmp_path)
    places = journal.append([line(key) for key in KEYS[:3]])
    places += journal.append([line(KEYS[3], content="x" * 100_000)])
    assert [journal.read(place).answer.request_id for place in places] == KEYS[:4]
    journal.close()
    index = opened(tmp_path / "journal", tmp_path)
    assert all(index.has(key) for key in KEYS[:4]) and not index.has(KEYS[4])
    found = index.answer(KEYS[3])
    assert found is not None and found.content == "x" * 100_000
    assert (index.spent_usd, index.spent_tokens) == (1.0, 60)


@pytest.mark.parametrize("cut", [1, 2, 40, 90])
def test_a_torn_last_line_is_dropped_and_only_that(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "journal", tmp_path)
    journal.append([line(key) for key in KEYS[:3]])
    journal.close()
    part = tmp_path / "journal" / journal.parts[0]
    part.write_bytes(part.read_bytes()[:-cut])
    index = opened(tmp_path / "journal", tmp_path)
    assert [index.has(key) for key in KEYS[:3]] == [True, True, cut == 1]  # without its newline a line is still whole
    index.journal.append([line(KEYS[2])])  # the next session's lines do not continue the torn one
    index.journal.close()
    assert all(opened(tmp_path / "journal", tmp_path).has(key) for key in KEYS[:3])


def test_blocks_of_zeros_as_a_power_cut_leaves_them_cost_no_other_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", tmp_path)
    journal.append([line(KEYS[0])])
    journal.close()
    with open(tmp_path / "journal" / journal.parts[0], "ab") as out:
        out.write(b"\0" * 4096 + b"\n" + line(KEYS[1]) + b"\n")
    index = opened(tmp_path / "journal", tmp_path)
    assert index.has(KEYS[0]) and index.has(KEYS[1])


def test_the_disk_is_forced_soon_and_not_at_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[float] = []
    real = os.fsync
    monkeypatch.setattr("os.fsync", lambda handle: (forced.append(time.monotonic()), real(handle)))
    journal = Journal(tmp_path / "journal", tmp_path)
    began = time.monotonic()
    while time.monotonic() - began < 1.3:
        journal.append([line(KEYS[0])])
        journal.tick()
        time.sleep(0.005)
    journal.close()
    gaps = [b - a for a, b in itertools.pairwise(forced)]
    assert 3 <= len(forced) <= 6 and max(gaps) < 1.0  # the folder's entry once, then about every half second


def test_an_error_of_the_disk_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal", tmp_path)
    journal.append([line(KEYS[0])])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        journal.tick(force=True)


def test_a_url_takes_one_immutable_object_a_flush(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/journal"
    journal = Journal(url, tmp_path / "a")
    for key in KEYS[:3]:
        journal.append([line(key)])
        journal.tick(force=True)
    place = journal.append([line(KEYS[3])])[0]
    assert journal.read(place).answer.request_id == KEYS[3]  # before its flush
    journal.tick(force=True)
    fs = fsspec.filesystem("memory")
    assert len(fs.ls(f"/{tmp_path.name}/journal")) == 4
    journal.close()
    assert len(fs.ls(f"/{tmp_path.name}/journal")) == 1
    index = opened(url, tmp_path / "b")  # another machine
    assert all(index.has(key) for key in KEYS[:4])


def test_a_killed_writers_last_part_reaches_the_url_at_the_next_session_on_this_machine(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/journal"
    Journal(url, tmp_path / "mirror").append([line(KEYS[0])])  # and then killed, before any flush
    assert opened(url, tmp_path).has(KEYS[0])
    assert len(fsspec.filesystem("memory").ls(f"/{tmp_path.name}/journal")) == 1


def test_bills_count_and_are_part_of_what_an_answer_cost(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", tmp_path)
    bill = {"bill": KEYS[0], "kind": "empty", "prompt_tokens": 7, "completion_tokens": 1, "cost_usd": 0.5}
    journal.append([json.dumps(bill).encode(), line(KEYS[0]), line(KEYS[1])])
    journal.close()
    index = opened(tmp_path / "journal", tmp_path)
    assert (index.spent_usd, index.unusable_usd) == (1.0, 0.5)
    found = index.answer(KEYS[0])
    assert found is not None and (found.cost_usd, found.prompt_tokens) == (0.75, 17)


def test_an_answer_twice_is_one_row_and_the_second_is_money_lost(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", tmp_path)
    journal.append([line(KEYS[0]), line(KEYS[0], content="later")])
    index = opened(tmp_path / "journal", tmp_path)
    index.expect([("pair", 0, KEYS[0], None)])
    rows = list(index.expected())
    assert len(rows) == 1 and rows[0].answer is not None and rows[0].answer.content == "true ünd €"
    assert index.unusable_usd == 0.25


def test_a_failure_counts_as_done_until_it_is_to_be_retried(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", tmp_path)
    journal.append([line(KEYS[0], error="bad_request: no")])
    index = opened(tmp_path / "journal", tmp_path)
    assert index.has(KEYS[0]) and not index.has(KEYS[0], retry_failed=True)
    for place, raw in zip(journal.append([line(KEYS[0])]), [line(KEYS[0])], strict=True):
        index.journal.parts = journal.parts
        entry = decode(raw)
        assert entry is not None
        index.add(place, entry)
    found = index.answer(KEYS[0])
    assert index.has(KEYS[0], retry_failed=True) and found is not None and found.error is None


def test_rows_come_sorted_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    index = opened(tmp_path / "journal", tmp_path)
    index.expect((key, sample, KEYS[-1 - n], None) for n, key in enumerate(reversed(KEYS[:50])) for sample in (1, 0))
    rows = [(pair, sample) for pair, sample, *_ in index.expected()]
    assert rows == sorted(rows) and len(rows) == 100


OLD = """{"bill":"preflight","kind":"preflight","prompt_tokens":20,"completion_tokens":5,"cost_usd":0.0,"estimated":false}
{"id":"%s","reasoning":"r","content":"true","finish_reason":"eos","prompt_tokens":10,"completion_tokens":5,"cost_usd":0.25,"latency_s":0.5,"estimated":false,"attempts":2,"model":"m","host":"h","sampling":{"temperature":0.6}}
{"id":"%s","error":"bad_request: no","prompt_tokens":0,"completion_tokens":0,"cost_usd":0.0,"estimated":false,"attempts":1,"model":"m","host":"h","sampling":{"temperature":0.6},"purpose":"grade","stage":"pairs"}
{"id": "%s", "reasoning": "r", "content": "x", "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1, "cost_usd": 0.0, "latency_s": 0.0, "estimated": true, "model": null, "host": "batch file", "sampling": null}
"""  # noqa: E501  as commit 221dad9 wrote them


def test_journals_of_before_are_read_and_their_words_for_an_end_understood(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "00000001.jsonl").write_text(OLD % tuple(KEYS[:3]))
    index = opened(tmp_path / "journal", tmp_path)
    eos, failed, batch = (index.answer(key) for key in KEYS[:3])
    assert eos == Answer(
        KEYS[0], "r", "true", "stop", 10, 5, 0.25, 0.5, model="m", host="h", sampling={"temperature": 0.6}
    )
    assert failed is not None and (failed.error, failed.finish_reason) == ("bad_request: no", "error")
    assert batch is not None and (batch.host, batch.sampling, batch.estimated) == ("batch file", {}, True)
    assert index.spent_usd == 0.25 and index.spent("trace").tokens == 42 and index.spent("pairs").tokens == 0


def test_a_line_of_before_is_written_as_it_was(tmp_path: Path) -> None:
    """The same keys and values; only `time` is new."""
    lines = [line.encode() for line in (OLD % tuple(KEYS[:3])).splitlines()]
    for raw in lines:
        entry = decode(raw)
        assert entry is not None and entry.time is None
        before, after = json.loads(raw), json.loads(encode(entry))
        before = {"attempts": 1, **before} if "id" in before else before
        before |= {"finish_reason": "stop"} if before.get("finish_reason") else {}
        assert after == before
        stamped = json.loads(encode(replace(entry, time=1.5)))
        assert stamped == {**before, "time": 1.5}


@given(
    st.builds(
        JournalEntry,
        st.builds(
            Answer,
            st.text("0123456789abcdef", min_size=1),
            st.text(),
            st.text(),
            st.sampled_from(["stop", "length", "content_filter", "tool_calls", "error"]),
            st.integers(0, 9999),
            st.integers(0, 9999),
            st.floats(0, 9),
            st.just(0.25),
            model=st.text(),
            host=st.text(),
            unknown_finish=st.none() | st.just("Fertig"),
        ),
        st.none(),
        st.sampled_from(["trace", "pairs", "filter"]),
        st.sampled_from(["trace", "grade"]),
        st.integers(1, 9),
        st.none() | st.just(1764403200.125),
    )
)
def test_an_entry_is_read_as_it_was_written(entry: JournalEntry) -> None:
    line = encode(entry)
    assert b"\n" not in line and decode(line) == entry
