"""A second student that judges a share of the traffic after the answers, and what `distill compare` says of its log."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

from distill.cli import main
from distill.records import Judgement, Pair
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.shadow_log import ShadowDocument, ShadowRow, read_log, summaries
from distill.rerank.serve.students import Served
from tests.rerank.serving import Scripted, get, post, score_of, serving, until

ASKED = {"query": "private query", "documents": ["the sea", "private text", "the dog"]}
ALL = ServeSettings(shadow_share=1, client_share=1)


class Opposite(Scripted):
    """A student whose scores are those of the other, upside down."""

    def submit(self, pairs: Sequence[Pair], done: Any, one: Any = None, plan: Any = None) -> int:
        """Turn each score."""

        def turned(at: int, judgement: Judgement) -> None:
            score = 1 - judgement.score
            one(at, Judgement("0", str(at), score, score * 8 - 4, 0, "", "direct", 1, "stop"))

        return super().submit(pairs, done, turned, plan)


def rows(log: Path) -> list[ShadowRow]:
    """The log's rows so far."""
    return list(read_log(log)) if log.exists() else []


def counts(server: Any) -> dict[str, float]:
    """{outcome: requests of the shadow}."""
    lines = [line for line in get(server.url + "/metrics")[1].splitlines() if "shadow_requests_total{" in line]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


@pytest.mark.parametrize("texts", [False, True])
def test_what_was_answered_is_judged_again_and_logged(tmp_path: Path, texts: bool) -> None:
    log, shadow = tmp_path / "log.jsonl", Opposite()
    settings = ServeSettings(shadow_share=1, shadow_texts=texts)
    with serving(Scripted(), settings, shadow=(Served(shadow, "second", "direct"), log)) as server:
        _, answer, _ = post(server.url + "/v1/rerank", ASKED, {"X-Request-Id": "r1"})
        assert post(server.url + "/v1/explain", {"query": "q", "document": "d"})[0] == 200
        until(lambda: rows(log))
    (row,) = rows(log)
    assert (row.request_id, row.model, row.shadow) == ("r1", "my-student", "second")
    expected = [score_of("private query", text) for text in ASKED["documents"]]
    assert [each.score for each in row.documents] == expected and answer["results"][0]["index"] is not None
    assert [each.shadow_score for each in row.documents] == [1 - score for score in expected]
    assert ("private" in log.read_text()) is texts and stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_shadow_gives_way_and_is_dropped_where_it_cannot_follow(tmp_path: Path) -> None:
    log, served, shadow = tmp_path / "log.jsonl", Scripted(), Opposite()
    shadow.gate.clear()
    settings = ServeSettings(shadow_share=1, shadow_waiting=2, client_share=1)
    with serving(served, settings, shadow=(Served(shadow, "second", "direct"), log)) as server:
        for _ in range(6):
            assert post(server.url + "/v1/rerank", ASKED)[0] == 200, "the answers wait for nobody"
        until(lambda: counts(server).get("dropped", 0) >= 3)
        assert not rows(log)
        until(lambda: shadow.running)
        before = len(shadow.cancelled)
        served.gate.clear()
        from tests.rerank.test_serve import in_background

        thread, answers = in_background(server.url + "/v1/rerank", ASKED)
        until(lambda: len(shadow.cancelled) > before and not shadow.running)
        served.gate.set()
        thread.join()
        assert answers[0][0] == 200
        shadow.gate.set()
        until(lambda: counts(server).get("judged", 0) >= 3)
        assert all(len(row.documents) == 3 for row in rows(log))


def test_a_shadow_that_fails_is_counted_and_no_answer_fails(tmp_path: Path) -> None:
    log, shadow = tmp_path / "log.jsonl", Opposite(breaks=1)
    with serving(Scripted(), ALL, shadow=(Served(shadow, "second", "direct"), log)) as server:
        for outcome in ("failed", "judged"):
            assert post(server.url + "/v1/rerank", ASKED)[0] == 200
            until(lambda outcome=outcome: counts(server).get(outcome))
        assert len(rows(log)) == 1


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Two requests: of the first the order is turned, of the second it is the same and a document was not judged."""

    def document(score: float, other: float, mode: str = "think", **texts: str) -> ShadowDocument:
        return ShadowDocument(
            mode=mode, score=score, margin=score, shadow_mode="direct", shadow_score=other, shadow_margin=other, **texts
        )

    first = [document(0.9, 0.1, query="a query", text="a [bold] text"), document(0.2, 0.3)]
    second = [document(0.9, 0.8), document(0.6, 0.7), document(0.0, 1.0, "unjudged")]
    path = tmp_path / "log.jsonl"
    made = [ShadowRow(time=0, request_id=name, model="a", shadow="b", documents=of)
            for name, of in (("r1", first), ("", second))]  # fmt: skip
    path.write_text("".join(row.model_dump_json(exclude_none=True) + "\n" for row in made) + '{"time":')
    yield path


def test_the_log_is_compared(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (summary,) = summaries(rows(log)).values()
    assert (summary.requests, summary.documents, summary.unjudged, summary.crossed) == (2, 4, 1, 1)
    assert summary.tau == pytest.approx(0.0) and summary.same_first == 0.5
    assert summary.mean_difference == pytest.approx(-0.175) and summary.mean_distance == pytest.approx(0.275)
    assert main(["compare", str(log)]) == 0
    said = capsys.readouterr().out
    assert "A a, which answered; B b, the shadow" in said and "Kendall's tau 0.000" in said
    assert "A 0.900 (think), B 0.100 (direct): document 0 of request r1" in said and "a [bold] text" in said


def test_what_is_no_log_is_said(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text(json.dumps({"time": 0}) + "\n")
    empty = tmp_path / "empty"
    empty.write_text("")
    for path, said in (
        (log, "line 1: no row of a shadow log"),
        (tmp_path, "is a folder"),
        (empty, "no judged request"),
        (tmp_path / "nolog", "nolog: no such file; `distill serve --shadow"),
    ):
        assert main(["compare", str(path)]) == 2
        assert said in capsys.readouterr().err


def test_a_shadow_needs_a_log_that_can_be_written(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", str(tiny), "--shadow", str(tiny)]) == 2
    assert "--shadow-log" in capsys.readouterr().err
    assert main(["serve", "--model", str(tiny), "--shadow", str(tiny), "--shadow-log", str(tiny / "no" / "log")]) == 2
    assert "cannot be written" in capsys.readouterr().err
