"""What a person decided in the trace viewer comes before all filters."""

from __future__ import annotations

from typing import Any

from filter_rows import explained, pair, reasons, sifted, trace

from filters.base import Tools


def decisions(**actions: Any) -> Tools:
    """By pair number: an action, or (action, label)."""
    decided: dict[tuple[str, int], dict[str, Any]] = {}
    for name, action in actions.items():
        kind, label = action if isinstance(action, tuple) else (action, None)
        decided[pair(int(name[1:])).pair_id, 0] = {"action": kind, "time": "2026"} | (
            {} if label is None else {"label": label}
        )
    return Tools(decided=decided)


def test_each_decision_does_what_it_says() -> None:
    pairs = {n: pair(n, label=1) for n in range(6)}
    rows = [(p, trace(p, verdict=0 if n in (1, 3, 4) else 1)) for n, p in pairs.items()]
    tools = decisions(p0="reject", p1="accept", p3=("relabel", 0), p5=("relabel", 0))
    found = sifted(rows, ["parses", "verdict_matches_label"], tools)
    kept = {t.pair_id for t in found.kept}
    assert kept == {pairs[n].pair_id for n in (1, 2, 3)}
    by = {n: why for n, p in pairs.items() for (key, _), why in reasons(found).items() if key == p.pair_id}
    assert by == {
        0: "rejected by a person", 4: "the teacher says false, the label says relevant",
        5: "a person gave the pair the opposite label",
    }  # fmt: skip
    changed = found.changed[pairs[3].pair_id]
    assert (changed.label, changed.label_origin, changed.label_before) == (0, "human", 1)
    assert found.counts["by_filter"]["adjudicated"]["rejected"] == 2


def test_an_accepted_trace_survives_group_filters_but_needs_a_verdict() -> None:
    one, two = pair(1, query_id="q"), pair(2, query_id="q")
    rows = [(one, trace(one)), (two, trace(two))]
    for keep in (1, 2):
        found = sifted(rows, [{"balance": {"per_query": 1}}], decisions(**{f"p{keep}": "accept"}))
        assert pair(keep).pair_id in {t.pair_id for t in found.kept}
    unreadable = [(one, trace(one, verdict=None))]
    assert sifted(unreadable, ["parses"], decisions(p1="accept")).kept == []


def test_decisions_about_what_is_not_there_are_left_alone_and_notes_are_told() -> None:
    one = pair(1)
    assert sifted([(one, trace(one))], [], decisions(p7="reject")).kept
    tools = Tools(decided={(one.pair_id, 0): {"action": "reject", "note": "quotes what is not there"}})
    assert list(reasons(sifted([(one, trace(one))], [], tools)).values()) == [
        "rejected by a person: quotes what is not there"
    ]


def test_the_latest_label_counts_for_all_samples() -> None:
    one = pair(1, label=0, label_origin="assumed")
    decided = {
        (one.pair_id, 0): {"action": "relabel", "label": 0, "time": "2026-01-01"},
        (one.pair_id, 1): {"action": "relabel", "label": 2, "time": "2026-01-02"},
    }
    found = sifted(
        [(one, trace(one, 0, 0)), (one, trace(one, 1, 1))], ["verdict_matches_label"], Tools(decided=decided)
    )
    assert [t.sample for t in found.kept] == [1] and found.changed[one.pair_id].label == 2


def test_explain_tells_of_the_person() -> None:
    one = pair(1, label=1)
    rows = [(one, trace(one, verdict=0))]
    said = explained(one.pair_id, rows, ["verdict_matches_label"], decisions(p1="accept"))
    assert [(name, word) for _, name, word in said] == [
        ("adjudicated", "accepted by a person: kept whatever the filters say"),
        ("verdict_matches_label", "the teacher says false, the label says relevant"),
    ]
