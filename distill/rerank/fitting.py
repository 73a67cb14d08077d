"""A calibration made with a student: judge the development set in every mode wanted, fit, choose, check again."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

from distill.files.runs import Rankings
from distill.records import Judgement, Pair
from distill.rerank import adaptive
from distill.rerank.calibration import Calibration, Method, calibrate, check, points_of
from distill.rerank.fusion import choose, margins_of
from distill.rerank.judging import Judge
from distill.rerank.modes import Mode, Window, think_about
from distill.tables import counted

Qrels = Mapping[str, Mapping[str, float]]
WORSE = 0.05  # so much more ECE under another instruction is said


def fitted(
    judge: Judge,
    pairs: Sequence[Pair],
    qrels: Qrels,
    modes: Sequence[Mode],
    method: Method = "platt",
    relevant_from: int = 1,
    templates: Mapping[str, Sequence[Pair]] | None = None,
    first: Rankings | None = None,
    budget: int = 256,
    say: Callable[[str], None] = lambda text: None,
) -> Calibration:
    """Judge `pairs` in each mode, fit, and check each of `templates` (the same pairs under another instruction).

    Where `first` gives the first stage's scores, its weight is chosen for each mode as well.

    Unjudged passages of the lists count as not relevant, as the measures have it. Mode adaptive needs the answers of
    think and direct, and chooses its window by them. Raises InputError where all labels are the same.
    """
    both: tuple[Mode, ...] = ("direct", "think")
    needed = list(dict.fromkeys(m for mode in modes for m in (both if mode == "adaptive" else (mode,))))
    names = [f"budget:{budget}" if mode == "budget" else mode for mode in needed]  # a curve belongs to its bound
    judged = {name: judge(pairs, name) for name in names}
    made = from_judgements(judged, qrels, method, relevant_from, "adaptive" in modes)
    for name, judgements in judged.items() if first else ():
        made.fusion[name] = choose(margins_of(judgements), first or {}, qrels)
        say(f"{name}, fused: {made.fusion[name].text()}")
    for text, asked in (templates or {}).items():
        for name in names:
            made.checks.append(check(made, name, text, *sides(judge(asked, name), qrels, relevant_from)))
    for each in made.checks:
        of = f"{each['mode']}, {each['template']!r}" if each["template"] is not None else each["mode"]
        say(f"{of}: ECE {each['before']['ECE']:.3f} -> {each['after']['ECE']:.3f}, Brier {each['before']['Brier']:.3f} "
            f"-> {each['after']['Brier']:.3f}, {counted(each['pairs'], 'pair')}")  # fmt: skip
        if off(made, each):
            say(f"warning: under {each['template']!r} the scores of mode {each['mode']} are off by {WORSE} more; "
                "calibrate with that instruction before thresholds are used under it")  # fmt: skip
    return made


def from_judgements(
    judged: Mapping[str, Iterable[Judgement]], qrels: Qrels, method: Method, relevant_from: int, with_adaptive: bool
) -> Calibration:
    """A calibration of judgements by mode, whose margins are raw; with the window of mode adaptive where wanted."""
    fits: dict[str, Any] = {mode: sides(each, qrels, relevant_from) for mode, each in judged.items()}
    if with_adaptive:
        fits |= {f"adaptive.{mode}": fits[mode] for mode in ("direct", "think")}
    pairs = {mode: len(each[1]) for mode, each in fits.items()}
    made = calibrate(fits, method, relevant_from=relevant_from, pairs=pairs)
    if not with_adaptive:
        return made
    curves = (made.curves["adaptive.direct"], made.curves["adaptive.think"])
    best, frontier = adaptive.choose(judged["direct"], judged["think"], qrels, curves)
    made.made_from["adaptive"] = {
        "nDCG@10": round(best.ndcg, 4),
        "difference": round(best.difference, 4),
        "tokens_per_pair": round(best.tokens, 2),
        "points": [[round(o.tokens, 2), round(o.ndcg, 4)] for o in frontier],
    }
    scores, labels = _mixed(judged, qrels, relevant_from, made, best.window)
    made.points["adaptive"] = points_of(scores, labels)
    limits = [(o.window.low, o.window.high, o.window.top) for o in frontier]
    made.made_from["frontier"] = [  # JSON has no infinity
        [None if math.isinf(low) else low, None if math.isinf(high) else high, top] for low, high, top in limits
    ]
    return replace(made, window=best.window)


def _mixed(
    judged: Mapping[str, Iterable[Judgement]], qrels: Qrels, relevant_from: int, made: Calibration, window: Window
) -> tuple[list[float], list[int]]:
    """(scores, labels) as mode adaptive would give them: thought about within the window, else answered directly."""
    thought = {(j.query_id, j.doc_id): j.margin for j in judged["think"]}
    lists: dict[str, list[Judgement]] = {}
    for judgement in judged["direct"]:
        if judgement.query_id in qrels:
            lists.setdefault(judgement.query_id, []).append(judgement)
    scores, labels = [], []
    for query, each in lists.items():
        unsure = set(think_about([j.margin for j in each], window))
        for at, j in enumerate(each):
            mode = "adaptive.think" if at in unsure else "adaptive.direct"
            scores.append(made.score(mode, thought[query, j.doc_id] if at in unsure else j.margin))
            labels.append(int(qrels[query].get(j.doc_id, 0) >= relevant_from))
    return scores, labels


def sides(judgements: Iterable[Judgement], qrels: Qrels, relevant_from: int) -> tuple[Sequence[float], Sequence[int]]:
    """(margins, labels) of the judgements whose query is judged."""
    margins, labels = array("d"), array("b")
    for query, rows in groupby(judgements, attrgetter("query_id")):
        if query in qrels:
            grades = qrels[query]
            for judgement in rows:
                margins.append(judgement.margin)
                labels.append(grades.get(judgement.doc_id, 0) >= relevant_from)
    return margins, labels


def off(made: Calibration, found: Mapping[str, Any]) -> bool:
    """Whether a check under an instruction is worse, by more than `WORSE`, than the same mode's own."""
    own = next(c for c in made.checks if c["mode"] == found["mode"] and c["template"] is None)
    return found["template"] is not None and float(found["after"]["ECE"]) > float(own["after"]["ECE"]) + WORSE
