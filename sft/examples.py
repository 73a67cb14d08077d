"""Kept traces to training rows: the same pairs in the same order for every target. Used by the dataset stage."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from distill.prompts import PROMPT_NAME, is_relevant, student_prompt, trained_grade
from distill.records import Example, Pair, Trace
from distill.store import fingerprint, write_json, write_rows
from sft.settings import SftSettings
from sft.targets import target_of

LENGTHS = "lengths.json"  # {pair_id: characters of prompt and trace}, by which all targets order their rows
DEV = "dev"  # the folder of held-out pairs next to the students' examples


def write_examples(
    folder: Path, pairs: Mapping[str, Pair], kept: list[Trace], settings: SftSettings, seed: int
) -> tuple[dict[str, int], dict[str, str]]:
    """Write every student's rows to `folder`/NAME, the held-out pairs (`sft.dev`) to `folder`/dev, and the lengths.

    Returns ({folder: rows}, {what was written: its hash}); `kept` are the traces of the training split.
    """
    prompt, weights = settings.prompt, settings.weights
    rows: dict[str, int] = {}
    hashes: dict[str, str] = {}
    if settings.dev is not None:
        kept, held_out = hold_out(pairs, kept, settings.dev.pairs, seed, prompt)
        written = write_rows(folder / DEV, held_out, Pair)
        rows[DEV], hashes[DEV] = written["rows"], written["data_hash"]
    for student in settings.targets:
        traces = subsample(kept, student.train_size, seed)
        if student.shuffle_traces:
            traces = shuffled(traces, seed)
        by_verdict = (weights.not_relevant, weights.relevant)
        made = examples(pairs, traces, student.target, prompt, by_verdict, weights.direct)
        written = write_rows(folder / student.name, made, Example)
        rows[student.name], hashes[student.name] = written["rows"], written["data_hash"]
    lengths = order_lengths(pairs, kept, prompt)
    write_json(folder / LENGTHS, lengths)
    hashes["lengths"] = fingerprint(lengths)
    return rows, hashes


def examples(
    pairs: Mapping[str, Pair],
    kept: Iterable[Trace],
    target: str,
    prompt: str = PROMPT_NAME,
    weights: tuple[float, float] = (1.0, 1.0),
    direct: float = 1.0,
) -> list[Example]:
    """The rows of each trace, in the traces' order: one, or as many as the target gives (`mixed`: think, then direct).

    The verdict written is the pair's label where a filter or a person has changed it (`label_before` is set), else
    the teacher's; a trace without either is left out. `weights` are those of (not relevant, relevant) by the verdict
    written, `direct` multiplies those of the direct rows of `mixed`. Raises KeyError where a trace's pair is missing.
    """
    rows = []
    kind_of_student = target_of(target)
    for trace in kept:
        pair = pairs[trace.pair_id]
        verdict = trained_grade(trace.verdict, None if pair.label_before is None else pair.relevant, prompt)
        if verdict is None:
            continue
        text = student_prompt(pair.query, pair.passage, pair.instruction, prompt)
        weight = weights[is_relevant(verdict, prompt)]
        answers = kind_of_student.checked(trace.reasoning, verdict, prompt)
        for kind, answer in answers:
            share = direct if kind == "direct" and len(answers) > 1 else 1.0
            rows.append(Example(trace.pair_id, text, answer, target=kind, weight=weight * share))
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


def subsample(kept: list[Trace], size: int | None, seed: int) -> list[Trace]:
    """At most `size` traces, drawn with the seed; a smaller draw is part of every larger one."""
    if size is None or size >= len(kept):
        return kept
    order = list(kept)
    random.Random(seed).shuffle(order)
    chosen = {(trace.pair_id, trace.sample) for trace in order[:size]}
    return [trace for trace in kept if (trace.pair_id, trace.sample) in chosen]


def hold_out(
    pairs: Mapping[str, Pair], kept: list[Trace], count: int, seed: int, prompt: str = PROMPT_NAME
) -> tuple[list[Trace], list[Pair]]:
    """(traces to train on, held-out pairs): whole queries drawn with the seed until `count` pairs are held out.

    A pair that nobody judged gets the teacher's verdict for its label. At most half of the traces are held out.
    """
    by_query: dict[str, list[Trace]] = defaultdict(list)
    for trace in kept:
        by_query[pairs[trace.pair_id].query_id].append(trace)
    order = sorted(by_query)
    random.Random(f"dev:{seed}").shuffle(order)
    held: dict[str, Pair] = {}
    for query in order:
        fresh = {trace.pair_id: trace for trace in by_query[query]}
        if len(held) >= count or len(held) + len(fresh) > len(kept) // 2:
            break
        for pair_id, trace in fresh.items():
            pair = pairs[pair_id]
            if pair.relevant is None and trace.verdict is not None:
                pair = replace(pair, label=pair.grade_of(is_relevant(trace.verdict, prompt)), label_origin="teacher")
            held[pair_id] = pair
    return [trace for trace in kept if trace.pair_id not in held], [held[pair_id] for pair_id in sorted(held)]


def order_lengths(pairs: Mapping[str, Pair], kept: Iterable[Trace], prompt: str = PROMPT_NAME) -> dict[str, int]:
    """{pair_id: characters of its prompt and its longest trace}: what every target orders its rows by."""
    lengths: dict[str, int] = {}
    for trace in kept:
        pair = pairs[trace.pair_id]
        text = student_prompt(pair.query, pair.passage, pair.instruction, prompt)
        lengths[pair.pair_id] = max(lengths.get(pair.pair_id, 0), len(text) + len(trace.reasoning))
    return lengths
