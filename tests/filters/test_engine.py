"""Folders of shards come out as a plain loop over the rows does; counts add up; a trace can be explained."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filter_rows import TEXT, Sifted, explained, in_folder, pair, sifted, trace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill import store
from distill.config import validate
from distill.errors import ConfigError, DataError
from distill.records import Pair, Rejected, Trace
from filters.base import GroupFilter, Tools
from filters.engine.build import build
from filters.settings import DEFAULT, FilterSettings

OWN = '''
from filters.base import GroupFilter, RowFilter

class TooPolite(RowFilter):
    """Drops flattery."""
    most: int = 0
    def __call__(self, pair, trace):
        return "too polite" if trace.reasoning.count("Great question") > self.most else None

class OnePerQuery(GroupFilter):
    name = "one_per_query"
    def __call__(self, rows):
        seen, out = set(), {}
        for pair, trace in rows:
            if pair.query_id in seen:
                out[trace.pair_id, trace.sample] = "the query has one already"
            seen.add(pair.query_id)
        return out

class Odd:
    def __call__(self, a, b, c):
        return None
'''  # fmt: skip
LISTS: list[list[Any]] = [
    [],
    DEFAULT,
    [*DEFAULT, {"consensus": {"keep": "longest"}}, "self_contradiction"],
    [{"label_dispute": {"policy": "relabel", "samples": 2}}, "verdict_matches_label", {"balance": {"per_query": 2}}],
    ["consensus", {"balance": {"per_label": 5}}, "parses"],
    ["own.py:TooPolite", "own.py:OnePerQuery"],
]


def rows(seed: int, count: int) -> tuple[list[Pair], list[Trace]]:
    rng = random.Random(seed)
    pairs = [pair(n, query_id=f"q{n % 4}", label=rng.choice([0, 1, None])) for n in range(count)]
    traces = []
    for one in pairs:
        for sample in range(rng.randrange(4)):
            text = rng.choice(
                [
                    TEXT,
                    TEXT + " Great question!",
                    "",
                    "so " * 99,
                    "It says 但是 so.",
                    "The ground truth label says yes.",
                ]
            )
            error = rng.choice([None, None, None, None, "400: no", "not_asked: no room"])
            finish = rng.choice(["stop", "stop", "length"])
            made = trace(one, sample, rng.choice([0, 1, 1, None]), text, error=error, finish_reason=finish)
            traces.append(made)
    return sorted(pairs, key=lambda p: p.pair_id), sorted(traces, key=lambda t: (t.pair_id, t.sample))


def by_a_plain_loop(
    pairs: list[Pair], traces: list[Trace], given: FilterSettings, tools: Tools
) -> tuple[list[Trace], list[Rejected], dict[str, Pair]]:
    """(kept, rejected, changed) as docs/filters.md says it, over rows in memory."""
    of = {p.pair_id: p for p in pairs}
    changed: dict[str, Pair] = {}
    left, rejected = [t for t in traces if t.error is None], []
    for step in build(given, tools):
        if isinstance(step, GroupFilter):
            outcomes: Any = step((of[t.pair_id], t) for t in left)
        else:
            outcomes = {(t.pair_id, t.sample): step(of[t.pair_id], t) for t in left}
        for one in left:
            outcome = outcomes.get((one.pair_id, one.sample))
            if isinstance(outcome, Pair):
                changed[one.pair_id] = of[one.pair_id] = outcome
            elif outcome is not None:
                rejected.append(Rejected(one, step.name, outcome))
        left = [t for t in left if not isinstance(outcomes.get((t.pair_id, t.sample)), str)]
    return left, sorted(rejected, key=lambda r: (r.trace.pair_id, r.trace.sample)), changed


def through_folders(folder: Path, pairs: list[Pair], traces: list[Trace], given: FilterSettings, **how: Any) -> Sifted:
    return in_folder(folder, pairs, traces, given, Tools(base=folder), **how)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), count=st.integers(0, 25), filters=st.sampled_from(LISTS), shard=st.integers(1, 20))
def test_folders_and_a_plain_loop_agree_and_the_counts_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, count: int, filters: list[Any], shard: int
) -> None:
    monkeypatch.setattr(store, "SHARD_ROWS", shard)
    (tmp_path / "own.py").write_text(OWN)
    pairs, traces = rows(seed, count)
    given_settings = FilterSettings.model_validate(filters, context={"base": tmp_path})
    found = through_folders(tmp_path, pairs, traces, given_settings)
    expected = by_a_plain_loop(pairs, traces, given_settings, Tools(base=tmp_path))
    assert (found.kept, found.rejected, found.changed) == expected
    counts = found.counts
    assert (counts["kept"], counts["rejected"]) == (len(found.kept), len(found.rejected))
    assert counts.get("relabelled", 0) == len(found.changed)
    assert counts["samples"] == len(traces) == sum(counts[n] for n in ("kept", "rejected", "failed", "not_asked"))
    assert sum(counts["by_pair"].values()) == len(pairs)
    assert sum(sum(each["reasons"].values()) for each in counts["by_filter"].values()) == counts["rejected"]
    everything = [*found.kept, *(r.trace for r in found.rejected), *(t for t in traces if t.error)]
    assert sorted(everything, key=lambda t: (t.pair_id, t.sample)) == traces


def test_other_processes_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_ROWS", 40)
    monkeypatch.setattr("filters.engine.run.WORTH_A_PROCESS", 1)
    (tmp_path / "own.py").write_text(OWN)
    pairs, traces = rows(3, 120)
    filters = ["own.py:TooPolite", *DEFAULT, "consensus", "self_contradiction"]
    given_settings = FilterSettings.model_validate(filters, context={"base": tmp_path})
    found = through_folders(tmp_path, pairs, traces, given_settings, processes=2)
    expected = by_a_plain_loop(pairs, traces, given_settings, Tools(base=tmp_path))
    assert (found.kept, found.rejected, found.changed) == expected
    assert through_folders(tmp_path, pairs, traces, given_settings).counts == found.counts


def test_a_cluster_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SHARD_ROWS", 40)
    pairs, traces = rows(5, 120)
    given_settings = FilterSettings.model_validate([*DEFAULT, "consensus", "self_contradiction"])
    here = through_folders(tmp_path / "here", pairs, traces, given_settings)
    # In a process of its own: a minute after its Ray has ended, Ray may end the process that had started it.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        there, refused = process.submit(on_a_cluster, tmp_path, pairs, traces, given_settings).result()
    assert "is not among the pairs" in refused
    assert there == here
    for kind, row_type in (("kept", Trace), ("rejected", Rejected)):
        found = [list(store.read_rows(tmp_path / place / kind, row_type)) for place in ("here", "there")]
        assert found[0] == found[1] and found[0]


def on_a_cluster(
    folder: Path, pairs: list[Pair], traces: list[Trace], given_settings: FilterSettings
) -> tuple[dict[str, Any], str]:
    """The counts of a run on a cluster of one machine, and what it says where pairs are missing."""
    import ray

    from filters.engine.ray_data import OnRay

    store.SHARD_ROWS = 40
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        counts = through_folders(folder / "there", pairs, traces, given_settings, executor=OnRay())
        with pytest.raises(DataError) as refused:
            through_folders(folder / "no", pairs[:5], traces, given_settings, executor=OnRay())
    finally:
        ray.shutdown()
    return counts, str(refused.value)


def test_an_earlier_result_is_replaced(tmp_path: Path) -> None:
    pairs, traces = rows(1, 20)
    through_folders(tmp_path, pairs, traces, FilterSettings.model_validate([]))
    (tmp_path / "kept" / store.MANIFEST).write_text("{}")
    through_folders(tmp_path, pairs, [], FilterSettings.model_validate([]))
    assert list(store.read_rows(tmp_path / "kept", Trace)) == [] and not (tmp_path / "kept" / store.MANIFEST).exists()


def test_a_trace_without_its_pair_is_named(tmp_path: Path) -> None:
    pairs, traces = rows(1, 20)
    stranger = replace(traces[0], pair_id="f" * 32)
    for filters in (["parses"], ["near_duplicate"]):
        with pytest.raises(DataError, match=f"traces: pair {'f' * 32} is not among the pairs"):
            through_folders(tmp_path, pairs, [*traces, stranger], FilterSettings.model_validate(filters))


def test_explain_says_what_each_filter_said(tmp_path: Path) -> None:
    one = pair(1, label=1)
    traces = [trace(one, 0, 0, "It says 但是 so."), trace(one, 1), trace(one, 2)]
    filters = ["parses", "language", "verdict_matches_label", {"consensus": {"keep": "longest"}}]
    said = explained(one.pair_id, [(one, each) for each in traces], filters)
    assert said[:4] == [
        (0, "parses", "keeps it"),
        (0, "language", "stray Chinese: “但是”"),
        (0, "verdict_matches_label", "the teacher says false, the label says relevant"),
        (0, "consensus", "did not see it (language)"),
    ]
    assert (said[7][2], said[11][2]) == ("another sample of this pair was kept: the longest", "keeps it")
    with pytest.raises(DataError, match="no answered trace"):
        explained("nothing", [(one, each) for each in traces], filters)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (["missing.py:X"], "missing.py:X: no such file"),
        (["own.py:TooRude"], "has no class 'TooRude'; it has TooPolite, OnePerQuery, Odd"),
        (["own.py:Odd"], r"own.py:Odd: Odd is no filter; let it inherit from filters.base.RowFilter or "),
        ([{"own.py:TooPolite": {"least": 1}}], "own.py:TooPolite: least is not a known key; known here: most"),
        ([{"own.py:TooPolite": {"most": "no"}}], "own.py:TooPolite: most: input should be a valid integer"),
        (["broken.py:X"], "broken.py does not run: ZeroDivisionError"),
        ([{"degenerate": {"max_repeat": 1}}], "degenerate: max_repeat is not a known key; did you mean 'max_repeated'"),
        ([{"length": {}}], "length: .*give max_tokens"),
        ([{"consensus": {"keep": "best"}}], "consensus: keep: input should be 'all'"),
    ],
)
def test_wrong_filters_are_refused_before_anything_runs(tmp_path: Path, filters: list[Any], message: str) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match=message):
        validate(FilterSettings, filters, tmp_path / "run.yaml")  # type: ignore[arg-type]


def test_ones_own_filter_and_its_threshold(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    one = pair()
    given_settings = FilterSettings.model_validate(
        [{"own.py:TooPolite": {"most": 1}}, "own.py:OnePerQuery"], context={"base": tmp_path}
    )
    texts = ["Great question!", "Great question! " * 2, "Fine."]
    found = through_folders(tmp_path, [one], [trace(one, n, reasoning=t) for n, t in enumerate(texts)], given_settings)
    assert [(r.trace.sample, r.filter, r.reason) for r in found.rejected] == [
        (1, "TooPolite", "too polite"),
        (2, "one_per_query", "the query has one already"),
    ]
    assert given_settings.files(tmp_path) == [tmp_path / "own.py"]


def test_length_counts_the_whole_training_row(tmp_path: Path) -> None:
    one = pair()
    rule = [{"length": {"max_length": 60}}]
    with pytest.raises(ConfigError, match="needs the student's tokenizer"):
        sifted([(one, trace(one))], rule)
    tools = Tools(row_tokens=lambda pair, trace: len(trace.reasoning.split()))
    short, long = trace(one, 0), trace(one, 1, reasoning="word " * 61)
    found = sifted([(one, short), (one, long)], rule, tools)
    assert found.kept == [short] and found.rejected[0].reason.endswith("longer than 60 tokens of the student")
