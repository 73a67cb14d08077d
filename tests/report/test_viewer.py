"""The viewer's data, its server's manners, and the file of decisions."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabricate import fabricate

from distill import store
from distill.errors import DataError, InputError, RunFolderError
from distill.pipeline.execute import configured
from distill.records import Pair, Rejected, Trace
from distill.report.adjudication import Adjudications, agreement
from distill.report.server import ViewerServer, command, make_server
from distill.report.traces import Traces
from distill.report.viewer import write


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("run"), upto="filter", hostile=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ViewerServer]:
    server = make_server(fabricate(tmp_path, pairs=40, upto="filter"))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_trace_is_there_once_with_its_outcome(run: Path) -> None:
    traces = Traces(run)
    index = traces.index()
    asked = list(store.read_rows(run / "traces", Trace))
    assert len(traces) == len(asked)
    assert sorted(zip(index["pair"], index["sample"], strict=True)) == [(t.pair_id, t.sample) for t in asked]
    outcome = index["facets"]["outcome"]
    counted = Counter(outcome["values"][n] for n in outcome["rows"])
    rejected = Counter(r.filter for r in store.read_rows(run / "rejected", Rejected))
    assert {name: n for name, n in counted.items() if name in rejected} == dict(rejected)
    assert counted["kept"] == sum(1 for _ in store.read_rows(run / "kept", Trace))
    assert counted["failed"] == sum(1 for t in asked if t.error and not t.error.startswith("not_asked"))
    by_id = {t.pair_id: t for t in asked}
    for one in traces.texts(range(len(traces))):
        assert one["pair_id"] == index["pair"][one["row"]] and one["verdict"] == by_id[one["pair_id"]].verdict
        assert len(one["passage"]) < 20_050


@pytest.mark.parametrize(
    "words", ["sauna", "LUND missing", "<img onerror", "شلום nothing", "(a|b)* .", "מרחבא", "שלום"]
)
def test_search_finds_what_a_plain_reading_finds(run: Path, words: str) -> None:
    traces = Traces(run)
    fields = ("query", "instruction", "passage", "reasoning", "content")
    texts = traces.texts(range(len(traces)))
    plain = [
        one["row"]
        for one in texts
        if all(any(word.lower() in (one[f] or "").lower() for f in fields) for word in words.split())
    ]
    assert traces.search(words) == plain


def test_unfiltered_traces_can_be_viewed_and_none_is_an_error(tmp_path: Path) -> None:
    traces = Traces(fabricate(tmp_path / "a", upto="trace"))
    assert "not filtered yet" in traces.index()["facets"]["outcome"]["values"] and len(traces) == 216
    with pytest.raises(RunFolderError, match="has no traces"):
        write(fabricate(tmp_path / "b", upto="pairs"))
    with pytest.raises(RunFolderError, match="no such run folder"):
        write(tmp_path / "c")


def test_traces_whose_pair_is_gone_are_counted(tmp_path: Path) -> None:
    run = fabricate(tmp_path, upto="filter")
    fabricate(tmp_path / "other", pairs=8, upto="pairs")
    (run / "pairs" / "part-00000.parquet").write_bytes((tmp_path / "other/pairs/part-00000.parquet").read_bytes())
    traces = Traces(run)
    assert traces.index()["lost"] + len(traces) == 216 and 0 < len(traces) <= 8


def test_decisions_are_kept_changed_and_withdrawn(tmp_path: Path) -> None:
    book = Adjudications(tmp_path)
    book.change({"pair_id": "p", "sample": 0, "action": "accept", "note": "שלום\u2028\n", "other": 1})
    book.change({"pair_id": "p", "sample": 1, "action": "reject"})
    book.change({"pair_id": "p", "sample": 0, "action": "relabel", "label": 2})
    lines = [json.loads(line) for line in (tmp_path / "adjudication.jsonl").read_text().splitlines()]
    assert [(line["sample"], line["action"]) for line in lines] == [(1, "reject"), (0, "relabel")]
    assert lines[1]["label"] == 2 and "other" not in lines[1] and lines[1]["time"].endswith("Z")
    book.change({"pair_id": "p", "sample": 1, "action": "clear"})
    assert list(book.read()) == [("p", 0)]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"pair_id": "", "action": "accept"},
        {"pair_id": "p", "action": "delete"},
        {"pair_id": "p", "action": "relabel"},
        {"pair_id": "p", "action": "relabel", "label": True},
        {"pair_id": "p", "action": "accept", "sample": -1},
        {"pair_id": "p", "action": "accept", "sample": "0"},
    ],
)
def test_what_is_no_decision_changes_nothing(wrong: Any, tmp_path: Path) -> None:
    book = Adjudications(tmp_path)
    book.change({"pair_id": "p", "action": "accept"})
    before = book.path.read_bytes()
    with pytest.raises(ValueError, match="is"):
        book.change(wrong)
    assert book.path.read_bytes() == before


def test_a_damaged_file_is_named_by_line_and_never_overwritten(tmp_path: Path) -> None:
    book = Adjudications(tmp_path)
    book.path.write_text('{"pair_id": "p", "action": "accept"}\n\n{"pair_id": "q", "act\n')
    before = book.path.read_bytes()
    with pytest.raises(DataError, match=r"adjudication\.jsonl, line 3"):
        book.change({"pair_id": "p", "action": "reject"})
    assert book.path.read_bytes() == before


def ask(
    server: ViewerServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, {"Content-Type": "application/json"} | headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    json_answer = answer.headers["Content-Type"] == "application/json"
    return answer.status, dict(answer.headers), json.loads(content) if json_answer else content.decode()


def test_server_answers_under_its_secret_only(server: ViewerServer) -> None:
    status, headers, page = ask(server, "GET", server.prefix)
    assert status == 200 and "Content-Security-Policy" in page and headers["Referrer-Policy"] == "no-referrer"
    assert server.server_address[0] == "127.0.0.1"
    index = ask(server, "GET", server.prefix + "index.json")[2]
    assert len(index["pair"]) == 36
    assert [one["row"] for one in ask(server, "GET", server.prefix + "texts.json?rows=3,1")[2]] == [3, 1]
    assert ask(server, "GET", server.prefix + "search.json?words=cabin%20in")[2]
    for path in (
        "/",
        "/index.json",
        "/wrong/index.json",
        server.prefix[:-2] + "/index.json",
        server.prefix + "../config.yaml",
    ):
        assert ask(server, "GET", path)[0] == 404
    assert ask(server, "GET", server.prefix + "index.json", Host="evil.example")[0] == 403


@pytest.mark.parametrize("rows", ["rows=99", "rows=-1", "rows=x", ""])
def test_rows_that_are_not_there_are_refused(rows: str, server: ViewerServer) -> None:
    assert ask(server, "GET", server.prefix + "texts.json?" + rows)[0] == 400


def test_only_the_viewers_own_page_decides(server: ViewerServer) -> None:
    path, own = server.prefix + "decide", f"http://127.0.0.1:{server.server_port}"
    good = {"pair_id": "p", "sample": 0, "action": "reject"}
    assert ask(server, "POST", path, good)[0] == 403
    assert ask(server, "POST", path, good, Origin="http://evil.example")[0] == 403
    assert ask(server, "POST", path, good, Origin="null")[0] == 403
    assert ask(server, "POST", "/decide", good, Origin=own)[0] == 404
    assert ask(server, "POST", path, good, Origin=own, **{"Content-Type": "text/plain"})[0] == 404
    assert ask(server, "POST", path, {**good, "note": "x" * 70_000}, Origin=own)[0] == 413
    assert ask(server, "POST", path, {**good, "action": "?"}, Origin=own)[0] == 400
    assert not server.decided.path.exists()
    assert ask(server, "POST", path, good, Origin=own)[0] == 200
    assert ask(server, "GET", server.prefix + "decided.json")[2][0]["action"] == "reject"


def test_the_secret_is_the_owners_and_lasts(server: ViewerServer) -> None:
    run = server.decided.path.parent
    assert (run / ".viewer-secret").stat().st_mode & 0o077 == 0
    again = make_server(run)
    assert again.prefix == server.prefix and len(again.prefix) > 20
    again.server_close()


def test_a_taken_port_is_said(server: ViewerServer) -> None:
    with pytest.raises(InputError, match="--port"):
        make_server(server.decided.path.parent, server.server_port)


def test_each_reviewer_keeps_a_decision_and_the_last_one_counts(tmp_path: Path) -> None:
    book = Adjudications(tmp_path)
    book.change({"pair_id": "p", "action": "reject", "reviewer": "Ada"})
    book.change({"pair_id": "p", "action": "relabel", "label": 0, "reviewer": "Bo"})
    assert [one["reviewer"] for one in book.all()] == ["Ada", "Bo"]
    assert book.read()["p", 0]["action"] == "relabel"
    book.change({"pair_id": "p", "action": "reject", "unclear": True, "reviewer": "Ada"})
    assert book.read()["p", 0]["unclear"] is True and len(book.all()) == 2
    book.change({"pair_id": "p", "action": "clear", "reviewer": "Ada"})
    assert book.read()["p", 0]["reviewer"] == "Bo"


def test_agreement_of_two_reviewers_is_of_the_traces_that_both_decided() -> None:
    def say(reviewer: str, actions: str) -> list[dict[str, Any]]:
        full = {"r": {"action": "reject"}, "u": {"action": "reject", "unclear": True}, "l": {"action": "relabel"}}
        return [
            {"pair_id": str(at), "sample": 0, "reviewer": reviewer, "label": 1, **full[action]}
            for at, action in enumerate(actions)
            if action in full
        ]

    # Alike in 3 of 4; chance: reject 1/2 x 1/4, label 1/2 x 1/2, unclear 0 x 1/4: (3/4 - 3/8) / (1 - 3/8) = 0.6
    assert agreement([*say("Bo", "rullr"), *say("Ada", "rrll")]) == [("Ada", "Bo", 4, 3, 0.6)]
    assert agreement(say("Ada", "rrll")) == []


@pytest.mark.parametrize(
    ("names", "host", "status"),
    [
        ([], "localhost:9000", 403),
        (["localhost:9000"], "localhost:9000", 200),
        (["localhost:9000"], "localhost:9001", 403),
        (["box.example"], "box.example:9000", 200),
        (["box.example"], "evil.example:9000", 403),
    ],
)
def test_behind_a_tunnel_only_named_hosts_are_served(names: list[str], host: str, status: int, tmp_path: Path) -> None:
    server = make_server(fabricate(tmp_path, pairs=8, upto="filter"), host_names=names)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    good = {"pair_id": "p", "sample": 0, "action": "reject"}
    try:
        assert ask(server, "GET", server.prefix + "index.json", Host=host)[0] == status
        assert ask(server, "POST", server.prefix + "decide", good, Host=host, Origin=f"http://{host}")[0] == status
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_teachers_label_is_on_the_scale_of_its_prompt(tmp_path: Path) -> None:
    run = fabricate(tmp_path, pairs=8, upto="trace")
    pairs = list(store.read_rows(run / "pairs", Pair))
    store.write_rows(run / "pairs", [replace(pair, relevant_from=2) for pair in pairs], Pair)
    traces = [trace for trace in store.read_rows(run / "traces", Trace) if trace.verdict is not None][:3]
    graded = json.dumps({"prompt": "graded_4"})
    rows = [
        replace(traces[0], verdict=1),
        replace(traces[1], verdict=0),
        replace(traces[2], verdict=3, teacher=graded),
    ]
    store.write_rows(run / "traces", rows, Trace)
    found = Traces(run)
    by_id = {one["pair_id"]: one["teacher_label"] for one in found.texts(range(3))}
    assert [by_id[row.pair_id] for row in rows] == [2, 0, 3]
    index = found.index()
    says = dict(zip(index["pair"], index["says"], strict=True))
    assert [says[row.pair_id] for row in rows] == [True, False, True]


def test_the_command_after_a_review_repeats_the_settings_that_the_run_was_made_with(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text('{"name": "my", "pairs": {"source": "beir", "path": "data"}, "teacher": {"source": "none"}}')
    run = configured(config, ["name=other", "pairs.path=my; data"], tmp_path / "a run")
    run.folder.mkdir()
    run.write_config()
    made = f"{os.path.relpath(config)} name=other 'pairs.path=my; data'"  # the file, from where one is
    assert command(run.folder) == f"{made} --out '{tmp_path}/a run'"
    again = configured(run.folder / "config.yaml", ["seed=1"], None)
    again.write_config()
    assert command(run.folder) == f"{made} seed=1 --out '{tmp_path}/a run'"
    config.unlink()
    assert command(run.folder).startswith("my.yaml name=other")
    (run.folder / "config.yaml").write_text("name: other\n", encoding="utf-8")
    assert command(run.folder) == f"CONFIG --out '{tmp_path}/a run'"
