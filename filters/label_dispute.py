"""The filter `label_dispute`; the engine calls it once for all traces that are left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import Field

from distill.errors import ConfigError
from distill.inputs import input_path
from distill.records import Pair, Trace
from filters.base import Filter, GroupFilter, Key, Row, Tools, says_relevant, sure_of
from filters.engine.review_sheet import read_decisions, write_review_sheet


class LabelDispute(GroupFilter):
    """Pairs whose label the teacher contradicts, in all of its at least `samples` samples (k of k).

    `drop` rejects them; `relabel` gives the pair the teacher's verdict, by the vote, with the earlier label in
    `label_before` (rlhn: +0.7 to 1.4 nDCG over dropping); `review` writes them to `disputes.csv` and an HTML sheet and
    rejects them until `decisions` (that CSV, filled in) says accept, reject or relabel, or the trace viewer's decisions
    do (`filters.engine.adjudicated`).
    With `sure`, a sample whose probability is known (`teacher.logprobs`) is against the label only from so sure on.
    `origins` limits it: `[assumed]` disputes mined negatives only and never a person's judgement.
    """

    policy: Literal["drop", "relabel", "review"] = Field(
        "drop", description="drop the pair, relabel it by the teacher's verdict, or write it to a sheet for review"
    )
    samples: int = Field(1, ge=1, description="so many samples must agree against the label, and none with it")
    origins: list[str] = Field(
        ["judged", "assumed"], description="only labels of these origins are disputed, such as assumed: mined negatives"
    )
    sure: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="the least probability of a verdict against the label, where it is known; 0: any will do",
    )
    decisions: str | None = Field(None, description="CSV with the columns pair_id and decision; default: none are read")

    _out: Path | None = None
    _decided: Mapping[str, str] = {}

    def reads(self) -> tuple[str, ...]:
        return (self.decisions,) if self.decisions else ()

    def prepare(self, tools: Tools) -> Filter:
        """With the folder to write to, and the decisions read. Raises ConfigError or DataError where they are wrong."""
        if self.policy == "review" and tools.out is None:
            raise ConfigError(
                "filters.label_dispute: policy review needs a folder to write to; run it as `distill filter`"
            )
        self._out = tools.out
        self._decided = read_decisions(input_path(tools.base, self.decisions)) if self.decisions else {}
        return self

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """The disputed traces, or their pairs with another label; writes the sheet of those that wait for review."""
        outcomes: dict[Key, str | Pair] = {}
        open_disputes: list[tuple[Pair, list[Trace]]] = []
        for _, group in groupby(rows, key=lambda row: row[1].pair_id):
            members = list(group)
            pair, traces = members[0][0], [trace for _, trace in members]
            if not self._disputed(pair, traces):
                continue
            decision = self._decided.get(pair.pair_id, "reject" if self.policy == "drop" else self.policy)
            if decision == "review":
                open_disputes.append((pair, traces))
            for trace in traces:
                outcome = self._outcome(pair, trace, decision, len(traces))
                if outcome is not None:
                    outcomes[trace.pair_id, trace.sample] = outcome
        if self.policy == "review" and self._out is not None:
            write_review_sheet(self._out, open_disputes)
        return outcomes

    def _disputed(self, pair: Pair, traces: list[Trace]) -> bool:
        if pair.label is None or pair.label_origin not in self.origins:
            return False
        readable = [trace for trace in traces if trace.verdict is not None]
        against = sum(says_relevant(trace) != pair.relevant and self._sure(trace) for trace in readable)
        return against >= self.samples and against == len(readable)

    def _sure(self, trace: Trace) -> bool:
        sure = sure_of(trace)
        return sure is None or sure >= self.sure

    def _outcome(self, pair: Pair, trace: Trace, decision: str, samples: int) -> str | Pair | None:
        label = "relevant" if pair.relevant else "not relevant"
        if decision == "reject":
            return f"the label ({label}, {pair.label_origin}) is disputed by {samples} of {samples} samples"
        if decision == "review":
            return "the label is disputed and waits for review"
        origin = "human" if pair.pair_id in self._decided else "vote"
        if decision == "relabel" and trace.verdict is not None:
            grade = pair.grade_of(int(bool(says_relevant(trace))))
            return replace(pair, label=grade, label_origin=origin, label_before=pair.label)
        return None  # accept: the label is right, and a filter after this one says what becomes of the trace
