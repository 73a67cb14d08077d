"""How long the rows are, in tokens, before a tokenizer has seen them; and what packing or padding makes of them."""

from __future__ import annotations

import bisect
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from distill.prompts import query_text, student_prompt
from distill.records import Example, LabelledPair, Pair, Trace
from sft.examples import examples, labelled_pairs
from sft.settings import SftSettings
from sft.targets import pair_target, target_of

CHARACTERS = 4.3  # of English text a token, as the histogram was made
SIMULATED = 20_000  # rows; more changes the efficiency by less than a thousandth


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Tokens of one training row."""

    prompt: int
    completion: int

    @property
    def whole(self) -> int:
        """Both together, end-of-text included."""
        return self.prompt + self.completion


@cache
def _histogram() -> dict[str, Any]:
    return dict(json.loads((Path(__file__).parent / "lengths.json").read_text(encoding="utf-8")))


def assumed(count: int, target: str, prompt: float | None = None, trace: float | None = None) -> list[RowLengths]:
    """`count` rows drawn from the histogram of real lengths (lengths.json), scaled to the means where given."""
    rng = random.Random("lengths:0")
    reasons = target_of(target).rows_with_reasoning()
    subsample = {}
    for part, mean in (("prompt", prompt), ("trace", trace)):
        bins = {int(edge): n for edge, n in _histogram()[part].items()}
        edges, weights = list(bins), list(bins.values())
        half = _histogram()["bin_tokens"] / 2
        scale = mean * sum(weights) / sum((e + half) * n for e, n in bins.items()) if mean else 1.0
        picked = rng.choices(edges, weights, k=count)
        subsample[part] = [max(1, round((edge + rng.uniform(0, 2 * half)) * scale)) for edge in picked]
    rows = []
    for p, t in zip(subsample["prompt"], subsample["trace"], strict=True):
        rows += [RowLengths(p, _answer(t, reasoned)) for reasoned in reasons]
    return rows


def _answer(trace: int, reasoned: bool) -> int:
    """Tokens of an answer: around the trace come newlines, `</think>`, the verdict and end-of-text."""
    return trace + 5 if reasoned else 4


def estimated(rows: Iterable[Example]) -> list[RowLengths]:
    """Rows of a dataset by their characters."""
    return [RowLengths(_tokens(row.prompt), _tokens(row.completion) + 1) for row in rows]


def estimated_pairs(rows: Iterable[LabelledPair]) -> list[RowLengths]:
    """Rows of a student that writes nothing, by their characters."""
    return [_pair(row) for row in rows]


def _pair(row: Pair | LabelledPair) -> RowLengths:
    """Query and passage, which three tokens frame."""
    return RowLengths(_tokens(query_text(row.query, row.instruction) + row.passage) + 3, 0)


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS)


def of_traces(kept: Sequence[tuple[Pair, Trace]], settings: SftSettings) -> dict[str, list[RowLengths]]:
    """{student: its rows of kept traces, by their characters}, before the dataset is written."""
    return {
        student.name: estimated(examples(kept, student.target, settings.prompt))
        if pair_target(student.target) is None
        else estimated_pairs(labelled_pairs(kept, settings.prompt))
        for student in settings.targets
    }


def of_pairs(pairs: Sequence[tuple[Pair, str | None]], settings: SftSettings) -> dict[str, list[RowLengths]]:
    """{student: its rows of pairs and their reasoning, by their characters}; the length of one that is not there yet is
    drawn from the histogram of real lengths."""
    rows = {}
    for student in settings.targets:
        if pair_target(student.target) is not None:
            rows[student.name] = [_pair(pair) for pair, _ in pairs]
            continue
        reasons = target_of(student.target).rows_with_reasoning()
        drawn = assumed(len(pairs), student.target, trace=settings.assume.trace_tokens)
        made = rows[student.name] = []
        for number, (pair, reasoning) in enumerate(pairs):
            prompt = _tokens(student_prompt(pair.query, pair.passage, pair.instruction, settings.prompt))
            for at, reasoned in enumerate(reasons, number * len(reasons)):
                known = None if reasoning is None else _answer(_tokens(reasoning), reasoned)
                made.append(RowLengths(prompt, drawn[at].completion if known is None else known))
    return rows


def packed(lengths: Sequence[int], limit: int) -> list[int]:
    """Best-fit decreasing: tokens of each packed row of at most `limit`; what TRL's `bfd` does."""
    room: list[int] = []  # sorted; room left in the open rows
    for length in sorted((n for n in lengths if n <= limit), reverse=True):
        place = bisect.bisect_left(room, length)
        left = room.pop(place) - length if place < len(room) else limit - length
        bisect.insort(room, left)
    return [limit - left for left in room]


def padded(rows: Sequence[RowLengths], batch: int, order_by: str = "trace") -> int:
    """Positions computed when rows of like length are next to each other within 32 batches (sft.trainer)."""
    total = 0
    for start in range(0, len(rows), batch * 32):
        near = sorted(
            rows[start : start + batch * 32], key=lambda row: row.whole if order_by == "trace" else row.prompt
        )
        for first in range(0, len(near), batch):
            chosen = near[first : first + batch]
            total += max(row.whole for row in chosen) * len(chosen)
    return total
