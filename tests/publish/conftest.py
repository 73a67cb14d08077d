"""Fixtures of these tests: a run folder, and a cache of their own for `datasets`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from made_run import make_pairs, make_trace, write_run

from distill.records import Rejected


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """All pairs of train and dev asked, one with two samples; one trace rejected."""
    pairs = make_pairs()
    asked = [pair for pair in pairs if pair.split != "test"]
    traces = [make_trace(pair) for pair in asked[1:]] + [make_trace(asked[3], 1)]
    cut = Rejected(make_trace(asked[0], finish_reason="length"), "finished", "cut | off <b>")
    return write_run(tmp_path / "run", pairs, traces, [cut])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` reads and writes nothing outside the test."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
