"""Rows come back as they went in, done is a file written last, and one process holds a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill import store
from distill.disk_map import DiskMap
from distill.errors import DataError, RunFolderError
from distill.records import Answer, Pair, Rejected, Trace, make_pair, make_request


def trace(pair_id: str, sample: int = 0, **rest: object) -> Trace:
    values: dict = {
        "pair_id": pair_id, "sample": sample, "request_id": f"{pair_id}-{sample}", "reasoning": "r", "content": "true",
        "verdict": 1, "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 2, "cost_usd": 0.5,
        "latency_s": 0.1, "teacher": "{}",
    }  # fmt: skip
    return Trace(**(values | rest))  # type: ignore[arg-type]


def test_rows_come_back_sorted_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    rows = [trace("b", 1), trace("a"), trace("b", 0, verdict=None, error="x")]
    first = store.write_rows(tmp_path / "one", rows, Trace)
    second = store.write_rows(tmp_path / "two", reversed(rows), Trace)
    assert list(store.read_rows(tmp_path / "one", Trace)) == [rows[1], rows[2], rows[0]]
    assert first == second


def test_rejected_rows_keep_their_trace_and_reason(tmp_path: Path) -> None:
    rows = [Rejected(trace("a"), "length", "too long")]
    store.write_rows(tmp_path, rows, Rejected)
    assert list(store.read_rows(tmp_path, Rejected)) == rows


def test_nested_fields_come_back(tmp_path: Path) -> None:
    request = make_request("t", [{"role": "user", "content": "ü"}], {"temperature": 0.6})
    answer = Answer(request.request_id, model="m", sampling={"temperature": 0.6})
    row = [answer]
    store.write_rows(tmp_path, row, Answer, presorted=True)
    assert list(store.read_rows(tmp_path, Answer)) == row


def test_many_rows_make_shards_that_datasets_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_ROWS", 10)
    pairs = [make_pair(f"q{i}", f"d{i}", f"query {i}", f"passage {i}", label=i % 2) for i in range(25)]
    assert len(store.write_rows(tmp_path, pairs, Pair)["files"]) == 3
    loaded = datasets.load_dataset("parquet", data_files=str(tmp_path / "*.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows == 25
    assert set(loaded["train"]["label"]) == {0, 1}


def test_an_empty_stage_can_be_read(tmp_path: Path) -> None:
    store.write_rows(tmp_path, [], Pair)
    assert list(store.read_rows(tmp_path, Pair)) == []


def test_a_rewrite_takes_back_the_manifest_first(tmp_path: Path) -> None:
    store.write_rows(tmp_path, [trace("a")], Trace)
    store.write_manifest(tmp_path, "trace", {}, {}, {})

    def broken() -> object:
        yield trace("b")
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        store.write_rows(tmp_path, broken(), Trace, presorted=True)  # type: ignore[arg-type]
    assert store.read_manifest(tmp_path) is None


def test_foreign_files_are_refused_with_their_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "part-0.parquet")
    with pytest.raises(DataError, match=r"part-0.parquet: no column"):
        list(store.read_rows(tmp_path, Pair))
    (tmp_path / "part-0.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match=r"part-0.parquet: not a readable Parquet"):
        list(store.read_rows(tmp_path, Pair))


def test_a_dictionary_on_disk_is_the_same_json(tmp_path: Path) -> None:
    held = {"a\n": {"x": [1, 2.5], "y": {}}, "ö": None, "": {"z": "two\nlines"}}
    value = {"first": 1, "held": held, "empty": {}, "last": [held]}
    store.write_json(tmp_path / "dict.json", value)
    store.write_json(tmp_path / "disk.json", {**value, "held": DiskMap(held.items()), "empty": DiskMap()})
    text = (tmp_path / "disk.json").read_bytes()
    assert text == (tmp_path / "dict.json").read_bytes() and store.read_json(tmp_path / "disk.json") == value


def test_torn_json_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"stage": "pa')
    assert store.read_manifest(tmp_path) is None


def test_the_fingerprint_follows_settings_and_inputs_not_their_order() -> None:
    one = store.stage_fingerprint("pairs", {"a": "1", "b": "2"}, {"x": 1, "y": 2})
    assert one == store.stage_fingerprint("pairs", {"b": "2", "a": "1"}, {"y": 2, "x": 1})
    assert one != store.stage_fingerprint("pairs", {"a": "1", "b": "3"}, {"x": 1, "y": 2})
    assert one != store.stage_fingerprint("pairs", {"a": "1", "b": "2"}, {"x": 1, "y": 3})


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from distill.store import lease\n"
        "with lease(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match=f"process {process.pid}"), store.lease(tmp_path):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        time.sleep(0.1)
        with store.lease(tmp_path):
            pass
    finally:
        process.kill()
        process.wait(10)


def test_equal_texts_are_one_pair_and_the_instruction_counts() -> None:
    one = make_pair("q1", "d1", "query", "passage")
    assert one.pair_id == make_pair("q2", "d2", "query", "passage").pair_id
    assert one.pair_id != make_pair("q1", "d1", "query", "passage", "only this").pair_id
    assert make_pair("q", "d", "a", "b c").pair_id != make_pair("q", "d", "a b", "c").pair_id


def test_a_request_is_the_same_wherever_it_is_asked_and_differs_by_sampling_and_sample() -> None:
    messages = [{"role": "user", "content": "x"}]
    one = make_request("r1", messages, {"temperature": 0.6})
    assert one.request_id == make_request("r1", messages, {"temperature": 0.6}, purpose="grade").request_id
    others = [
        make_request("r2", messages, {"temperature": 0.6}),
        make_request("r1", messages, {"temperature": 0.7}),
        make_request("r1", messages, {"temperature": 0.6}, sample=1),
    ]
    assert one.request_id not in {other.request_id for other in others}


def test_traces_of_before_a_column_have_it_empty(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    store.write_rows(tmp_path, [trace("a")], Trace)
    (file,) = tmp_path.glob("*.parquet")
    pq.write_table(pq.read_table(file).drop_columns(["p_relevant"]), file)
    assert [row.p_relevant for row in store.read_rows(tmp_path, Trace)] == [None]
    table = store.read_table(file, ["pair_id", "p_relevant"])
    assert table.column_names == ["pair_id", "p_relevant"] and table["p_relevant"].null_count == 1
