"""What a retriever is trained on: a query with its instruction, one relevant passage, passages that are not relevant.

Called by `sft.retriever.train`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from distill.prompts import query_text
from distill.records import LabelledPair

# Sources of pairs whose passage suits the query and fails the instruction (`distill.pairs.generation.instruct`).
FAILS_INSTRUCTION = ("instruction_mined", "instruction_negative")
Anchor = tuple[str, str | None]  # a query's text and its instruction


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: the query as the retriever reads it, a relevant passage, and passages that are not relevant.

    `drawn` is how many of the negatives are passages of other queries, which nobody judged for this one.
    """

    query: str
    positive: str
    negatives: tuple[str, ...]
    of_instruction: int = 0
    drawn: int = 0


@dataclass(slots=True)
class _Query:
    """The passages of one query under one instruction, by text, in the order of their pairs."""

    positives: dict[str, None] = field(default_factory=dict)
    negatives: dict[str, str] = field(default_factory=dict)  # with the source of the pair


class RetrieverRows:
    """The rows of labelled pairs; `without_positive` counts the queries left out since they have no relevant passage.

    With `instruction_negatives` the passages that an instruction turned not relevant come first among the negatives:
    those of FAILS_INSTRUCTION, and those that are relevant to the same query under another instruction, or under none.
    Without, they are left out. Where a query has fewer than `negatives`, passages of other queries are drawn.
    """

    def __init__(
        self, pairs: Iterable[LabelledPair], negatives: int, seed: int, instruction_negatives: bool = True
    ) -> None:
        self._wanted, self._seed, self._instructed = negatives, seed, instruction_negatives
        self._queries: dict[Anchor, _Query] = defaultdict(_Query)
        for pair in pairs:
            query = self._queries[pair.query, pair.instruction]
            if pair.relevant:
                query.positives[pair.passage] = None
            else:
                query.negatives[pair.passage] = pair.source
        self._relevant: dict[str, set[str]] = defaultdict(set)  # query: passages relevant under any instruction
        for (text, _), query in self._queries.items():
            self._relevant[text].update(query.positives)
        self._passages = sorted({passage for query in self._queries.values() for passage in query.positives})
        self.without_positive = sum(not query.positives for query in self._queries.values())

    def __iter__(self) -> Iterator[Row]:
        in_order = sorted(self._queries.items(), key=lambda item: (item[0][0], item[0][1] or ""))
        for (text, instruction), query in in_order:
            rng = random.Random(f"retriever:{self._seed}:{text}:{instruction}")
            failing, plain = self._parted(text, query)
            for positive in query.positives:
                rng.shuffle(plain)
                rng.shuffle(failing)
                own = [*failing, *plain][: self._wanted]
                others = self._drawn(text, query, self._wanted - len(own), rng)
                of_instruction = min(len(failing), self._wanted)
                yield Row(query_text(text, instruction), positive, (*own, *others), of_instruction, len(others))

    def _parted(self, text: str, query: _Query) -> tuple[list[str], list[str]]:
        """(passages that fail the instruction, other negatives) of a query; none of the first where they are unused."""
        failing, plain = [], []
        for passage, source in query.negatives.items():
            if passage in query.positives:
                continue
            if source in FAILS_INSTRUCTION or passage in self._relevant[text]:
                failing.append(passage)
            else:
                plain.append(passage)
        return (failing if self._instructed else []), plain

    def _drawn(self, text: str, query: _Query, count: int, rng: random.Random) -> Sequence[str]:
        """Passages that are relevant to other queries alone, without one twice; fewer where there are no more."""
        known = {*query.negatives, *self._relevant[text]}
        drawn: dict[str, None] = {}
        for _ in range(20 * count if self._passages else 0):
            passage = self._passages[rng.randrange(len(self._passages))]
            if passage not in known:
                drawn[passage] = None
            if len(drawn) == count:
                break
        return tuple(drawn)
