"""How far the scorer is with one job, for a log and for the terminal. Made by the scorer, shown by its callers."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from distill.records import Judgement
from distill.results import Counts
from distill.tables import counted

BAR = 20  # characters
FORCED = ("length", "no_end", "budget")
SHOWN = ("forced", "unparsable", "cut", "split")


@dataclass(slots=True)
class Progress:
    """`done` of `of` pairs of `system`; `reused` of them were in the journal. `tokens` read and written, since `began`.

    `counts` are answers that were closed by force, could not be read, or saw a passage in part.
    """

    system: str
    of: int
    done: int = 0
    reused: int = 0
    tokens: int = 0
    began: float = 0.0
    shown: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    warning: str | None = None

    def count(self, judgement: Judgement) -> None:
        """Count a judgement made now."""
        finish = judgement.finish_reason
        self.counts["forced"] += finish in FORCED
        self.counts["unparsable"] += judgement.verdict is None
        self.counts[finish] += finish in ("cut", "split")

    @property
    def pairs_per_s(self) -> float:
        """Of those judged now; 0 before the first."""
        return (self.done - self.reused) / max(time.monotonic() - self.began, 1e-9) if self.began else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Read and written."""
        return self.tokens / max(time.monotonic() - self.began, 1e-9) if self.began else 0.0

    def event(self) -> Counts:
        """What a log keeps."""
        if self.warning:
            return {"system": self.system, "warning": self.warning}
        counts = {name: self.counts[name] for name in SHOWN if self.counts[name]}
        event: Counts = {"system": self.system, "done": self.done, "of": self.of, "reused": self.reused, **counts}
        if not self.pairs_per_s:
            return event
        return {**event, "pairs_per_s": round(self.pairs_per_s, 2), "tokens_per_s": round(self.tokens_per_s, 1)}

    def text(self, before: int = 0, total: int | None = None) -> str:
        """A line with a bar, the rate and the time left; of `total` pairs where `before` others are done already."""
        if self.warning:
            return f"WARNING: {self.warning}"
        done, of = before + self.done, total or self.of
        return f"[{'#' * round(BAR * done / max(of, 1)):.<{BAR}}] {self.facts(before, total)}"

    def facts(self, before: int = 0, total: int | None = None) -> str:
        """What `text` says next to its bar."""
        done, of = before + self.done, total or self.of
        parts = [f"{done:,}/{counted(of, 'pair')}"]
        if self.reused:
            parts.append(f"{self.reused:,} judged already")
        parts += [f"{name} {self.counts[name]:,}" for name in SHOWN if self.counts[name]]
        if self.pairs_per_s:
            parts += [f"{self.pairs_per_s:,.1f} pairs/s", f"{self.tokens_per_s:,.0f} tokens/s"]
            parts.append(f"{(of - done) / self.pairs_per_s:,.0f} s left")
        return "  ".join(parts)
