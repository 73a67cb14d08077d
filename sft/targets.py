"""Kept traces to training rows: the same pairs in the same order for every target."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from distill.prompts import completion, rank1_prompt
from distill.records import Example, Pair, Trace


def examples(pairs: Mapping[str, Pair], kept: Iterable[Trace], target: str) -> list[Example]:
    """One Example a trace, in the traces' order; `mixed` gives two of one pair, think and then direct.

    The verdict written is the pair's label where a filter or a person has changed it (`label_before` is set), else
    the teacher's; a trace without either is left out. Raises KeyError where a trace's pair is missing.
    """
    rows = []
    for trace in kept:
        pair = pairs[trace.pair_id]
        verdict = pair.label if pair.label_before is not None and pair.label is not None else trace.verdict
        if verdict is None:
            continue
        prompt = rank1_prompt(pair.query, pair.passage, pair.instruction)
        for each in ("think", "direct") if target == "mixed" else (target,):
            text = completion(each, trace.reasoning, 1 if verdict else 0)
            rows.append(Example(trace.pair_id, prompt, text, target=each))
    return rows


def shuffled(kept: list[Trace], seed: int) -> list[Trace]:
    """The control: each pair gets the reasoning of another pair of the same verdict (a seeded rotation).

    What a student then gains over `direct` cannot come from the content of its traces.
    """
    by_verdict: dict[int | None, list[Trace]] = defaultdict(list)
    for trace in kept:
        by_verdict[trace.verdict].append(trace)
    rng = random.Random(seed)
    given: dict[tuple[str, int], str] = {}
    for group in by_verdict.values():
        order = list(group)
        rng.shuffle(order)
        for here, there in zip(order, order[1:] + order[:1], strict=True):
            given[here.pair_id, here.sample] = there.reasoning
    return [replace(trace, reasoning=given[trace.pair_id, trace.sample]) for trace in kept]


def drawn(kept: list[Trace], size: int | None, seed: int) -> list[Trace]:
    """At most `size` traces, drawn with the seed; a smaller draw is part of every larger one."""
    if size is None or size >= len(kept):
        return kept
    order = list(kept)
    random.Random(seed).shuffle(order)
    chosen = {(trace.pair_id, trace.sample) for trace in order[:size]}
    return [trace for trace in kept if (trace.pair_id, trace.sample) in chosen]
