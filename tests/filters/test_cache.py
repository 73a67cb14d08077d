"""A changed filter runs again, and those after it; those before it are not called, and the outcome is the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from filter_rows import pair, trace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill import store
from distill.records import Pair, Rejected, Trace
from filters.base import Tools
from filters.engine.run import filter_folders
from filters.settings import FilterSettings

OWN = """
from pathlib import Path

from filters.base import GroupFilter, RowFilter

def note(name):
    with open(Path(__file__).with_name("calls.txt"), "a") as out:
        out.write(name + "\\n")

class Row(RowFilter):
    label: str
    least: int = 0
    def __call__(self, pair, trace):
        note(self.label)
        return f"fewer than {self.least}" if trace.sample < self.least else None

class Group(GroupFilter):
    label: str
    divisor: int = 5
    def __call__(self, rows):
        note(self.label)
        return {(t.pair_id, t.sample): "drawn" for p, t in rows if int(t.pair_id, 16) % self.divisor == 0}
"""
OUT = ("kept", "rejected", "changed", "verdicts")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "SHARD_ROWS", 37)
    rng = random.Random(0)
    pairs = [pair(n, query_id=f"q{n % 9}", label=rng.randrange(2)) for n in range(60)]
    traces = [trace(p, s, rng.choice([0, 1, 1, None])) for p in pairs for s in range(2)]
    store.write_rows(tmp_path / "pairs", pairs, Pair)
    store.write_rows(tmp_path / "traces", traces, Trace)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def run(folder: Path, filters: list[Any], into: str = ".", rows: str = "1", **tools: Any) -> tuple[Any, set[str]]:
    """(what came of it, which of the counting filters were called)."""
    out = {name: str(folder / into / name) for name in OUT}
    given_settings = FilterSettings.model_validate(filters, context={"base": folder})
    (folder / "calls.txt").unlink(missing_ok=True)  # of the trial, when the settings are read
    filter_tools = Tools(base=folder, identity={"rows": rows}, **tools)
    counts = filter_folders(
        str(folder / "pairs"), str(folder / "traces"), out["kept"], out["rejected"], out["changed"], given_settings,
        filter_tools, processes=1, verdicts=out["verdicts"],
    )  # fmt: skip
    kinds = {"kept": Trace, "rejected": Rejected, "changed": Pair}
    found: list[Any] = [list(store.read_rows(out[name], kind)) for name, kind in kinds.items()]
    found.append({key: value for key, value in counts.items() if key != "filters_run"})
    calls = folder / "calls.txt"
    return found, set(calls.read_text().split()) if calls.exists() else set()


def own(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {f"own.py:{kind}": {"label": name, **more}}


def test_filters_before_the_changed_one_are_not_called_again(folder: Path) -> None:
    first = [own("Row", "a", least=1), own("Group", "b"), {"label_dispute": {"policy": "relabel"}}, own("Group", "c")]
    _, called = run(folder, first)
    assert called == {"a", "b", "c"}
    again, called = run(folder, first)
    assert called == set() and again == run(folder, first, into="fresh")[0]
    changed = [*first[:3], own("Group", "c", divisor=3)]
    last, called = run(folder, changed)
    assert called == {"c"}, "only the last filter was changed"
    assert last == run(folder, changed, into="fresh2")[0] and last != again
    assert run(folder, [*changed[:3]])[1] == set(), "taking the last one away calls none"
    assert run(folder, [*changed[:3], own("Row", "d")])[1] == {"d"}
    assert run(folder, [own("Row", "a", least=0), *changed[1:]])[1] == {"a", "b", "c"}, "the first one was changed"


def test_what_a_filter_depends_on_calls_it_again(folder: Path) -> None:
    filters = [own("Row", "a"), own("Group", "b")]
    run(folder, filters)
    assert run(folder, filters, rows="2")[1] == {"a", "b"}, "other traces"
    assert run(folder, filters, rows="2", seed=1)[1] == {"a", "b"}, "another seed"
    (folder / "own.py").write_text(OWN + "\n# changed\n")
    assert run(folder, filters, rows="2", seed=1)[1] == {"a", "b"}, "another code"
    (folder / "verdicts" / "verdicts.json").write_text("{torn")
    assert run(folder, filters, rows="2", seed=1)[1] == {"a", "b"}, "a torn file is none"
    decided = {(next(store.read_rows(folder / "traces", Trace)).pair_id, 0): {"action": "reject"}}
    assert run(folder, filters, rows="2", seed=1, decided=decided)[1] == {"a", "b"}, "a person's decision"


STEPS = ["parses", "verdict_matches_label", "consensus", {"consensus": {"keep": "longest"}},
         {"label_dispute": {"policy": "relabel"}}, {"balance": {"per_query": 3}}, {"balance": {"per_query": 7}},
         own("Row", "x", least=1), own("Group", "y"), own("Group", "y", divisor=2)]  # fmt: skip


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(STEPS), max_size=4), min_size=2, max_size=4))
def test_whatever_ran_before_the_outcome_is_that_of_a_fresh_run(folder: Path, lists: list[list[Any]]) -> None:
    for given_filters in lists:
        found, _ = run(folder, given_filters)
    (folder / "fresh" / "verdicts" / "verdicts.json").unlink(missing_ok=True)
    assert found == run(folder, lists[-1], into="fresh")[0]
