"""The estimate says what would be asked, and asks nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest

from distill.records import Trace
from distill.store import read_rows
from teacher.estimate import describe, estimate
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, settings_for


def test_before_and_after_some_answers(serve: Callable[..., Server], ray_here: None, tmp_path: Path) -> None:
    server = serve(mean=0.05)
    settings = settings_for(server, samples=2, context=2048, concurrency=10)
    long = dataclasses.replace(make_pairs(1)[0], pair_id="f" * 32, passage="word " * 4000)
    before = estimate([*make_pairs(20), long], settings, tmp_path)
    assert not server.get("/log")
    assert (before["samples_due"], before["to_ask"], before["no_room"]) == (40, 40, 1)
    assert before["completion_tokens"] == 40 * 350
    assert before["cost_usd"] == pytest.approx((before["prompt_tokens"] * 1 + 40 * 350 * 2) / 1e6, abs=1e-4)
    assert "40 tokens/s a stream; a server without a GPU takes several times as long" in "\n".join(describe(before))
    short = estimate(make_pairs(20), settings.model_copy(update={"max_tokens": 300}), tmp_path)
    assert short["completion_tokens"] == 40 * 300 and "assumed 300 a trace" in "\n".join(describe(short))
    trace(make_pairs(10), settings, tmp_path, quiet=True)
    after = estimate([*make_pairs(20), long], settings, tmp_path)
    assert (after["in_journal"], after["to_ask"], after["completion_tokens"]) == (20, 20, 20 * 40)
    latencies = [row.latency_s for row in read_rows(tmp_path, Trace)]
    assert len(latencies) == 20 and mean(latencies) > 0.4 * 0.05 and after["spent_usd"] > 0
    assert after["seconds"] == round(20 * mean(latencies) / 10, 1)
    said = "\n".join(describe(after))
    assert "20 to ask" in said and server.url.split("/")[2] in said and "mean of the journal" in said
