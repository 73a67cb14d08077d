"""All traces of a run with their pairs and outcomes, for the viewer: an index of small numbers, and texts by row.

Held in memory as Arrow columns, about as large as the texts themselves; a run that exceeds the memory is not covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.prompts import PROMPTS, is_relevant, prompt_of, word_of
from distill.records import Pair, Trace
from distill.report.files import RunFiles
from distill.report.reasons import filters_and_reasons, grouped
from distill.report.words import cut
from distill.store import schema_of

if TYPE_CHECKING:
    import pyarrow as pa

MAX_TEXT = 20_000  # characters of a text that the viewer gets
KEPT, FAILED, NOT_ASKED, UNFILTERED = "kept", "failed", "not asked", "not filtered yet"
PAIR_COLUMNS = (
    "query_id", "doc_id", "query", "instruction", "passage", "label", "label_origin", "label_before", "relevant_from",
    "source",
)  # fmt: skip
TRACE_COLUMNS = ("pair_id", "sample", "reasoning", "content", "verdict", "finish_reason", "completion_tokens", "error")
SEARCHED = ("query", "instruction", "passage", "reasoning", "content")


class Traces:
    """The traces of the run folder, rows numbered from 0: kept ones first, then the rejected, then the unanswered."""

    def __init__(self, run: Path) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self.files = RunFiles(run)
        names = schema_of(Trace).names
        self.outcomes: list[tuple[str, str]] = []
        tables = []
        for folder in ("kept", "rejected"):
            extra = ["filter", "reason"] if folder == "rejected" else []
            for table in self.files.tables(folder, [*names, *extra]):
                tables.append(table.select(names))
                self.outcomes += filters_and_reasons(table) if extra else [(KEPT, "")] * table.num_rows
        filtered = bool(tables)
        self.outcomes = grouped(self.outcomes)
        for table in self.files.tables("traces", names, pc.field("error").is_valid() if filtered else None):
            tables.append(table)
            self.outcomes += [_unanswered(error) for error in table["error"].to_pylist()]
        traces = pa.concat_tables(tables) if tables else schema_of(Trace).empty_table()
        pairs = pa.concat_tables([*self.files.tables("pairs", schema_of(Pair).names), schema_of(Pair).empty_table()])
        place = pc.index_in(traces["pair_id"], value_set=pairs["pair_id"].combine_chunks())
        known = place.is_valid()
        self.lost = traces.num_rows - int(pc.sum(known).as_py() or 0)  # traces of pairs that are not there any more
        here = traces.filter(known)
        self.traces: pa.Table = here.select(TRACE_COLUMNS)
        self.prompts = [prompt_of(teacher) for teacher in here["teacher"].to_pylist()]
        self.outcomes = [o for o, there in zip(self.outcomes, known.to_pylist(), strict=True) if there]
        self.pairs: pa.Table = pairs.select(["pair_id", *PAIR_COLUMNS])
        self.place: list[int] = place.drop_null().to_pylist()

    def __len__(self) -> int:
        return int(self.traces.num_rows)

    def index(self) -> dict[str, Any]:
        """Columns of equal length: `pair` (its id), `sample`, `query` (a number), whether the teacher (`says`) and the
        label (`labelled`) call it relevant; `who` gave the verdict; facets as {name: {values, rows}}."""
        label, source = self._of_pair("label"), self._of_pair("source")
        least = self._of_pair("relevant_from")
        verdict = self.traces["verdict"].to_pylist()
        says = [None if v is None else is_relevant(v, p) for v, p in zip(verdict, self.prompts, strict=True)]
        labelled = [None if g is None else g >= (low or 1) for g, low in zip(label, least, strict=True)]
        facets = {
            "agreement": [_agreement(*both) for both in zip(says, labelled, strict=True)],
            "outcome": [name for name, _ in self.outcomes],
            "reason": [reason for _, reason in self.outcomes],
            "verdict": ["none" if v is None else word_of(v, p) for v, p in zip(verdict, self.prompts, strict=True)],
            "label": ["none" if g is None else str(g) for g in label],
            "source": [str(s).partition(":")[0] for s in source],
        }
        queries = self.pairs.select(["query_id", "query", "instruction"]).take(self.place).to_pylist()
        numbers: dict[tuple[Any, ...], int] = {}
        return {
            "name": self.files.name,
            "lost": self.lost,
            "who": "answer" if self.files.judged else "teacher",
            "says": says,
            "labelled": labelled,
            "pair": self.traces["pair_id"].to_pylist(),
            "sample": self.traces["sample"].to_pylist(),
            "query": [numbers.setdefault(tuple(q.values()), len(numbers)) for q in queries],
            "facets": {name: _numbered(values) for name, values in facets.items()},
        }

    def texts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """All about these rows, texts cut at 20,000 characters. Raises IndexError for a row that is not there."""
        if any(not 0 <= row < len(self) for row in rows):
            raise IndexError(f"the traces have rows 0 to {len(self) - 1}")
        traces = self.traces.take(list(rows)).to_pylist()
        pairs = self.pairs.take([self.place[row] for row in rows]).to_pylist()
        texts = []
        for row, trace, pair in zip(rows, traces, pairs, strict=True):
            outcome, reason = self.outcomes[row]
            teacher_label = _label_of(trace["verdict"], self.prompts[row], pair["relevant_from"])
            values = {**pair, **trace, "row": row, "outcome": outcome, "reason": reason, "teacher_label": teacher_label}
            texts.append({name: cut(v, MAX_TEXT) if isinstance(v, str) else v for name, v in values.items()})
        return texts

    def search(self, words: str) -> list[int]:
        """The rows that hold every word, in query, instruction, passage, reasoning or answer; case is ignored."""
        import pyarrow as pa
        import pyarrow.compute as pc

        hit = pa.array([True] * len(self))
        for word in words.split():
            here = pa.array([False] * len(self))
            for name in SEARCHED:
                table = self.pairs if name in PAIR_COLUMNS else self.traces
                found = pc.match_substring(table[name], word, ignore_case=True).combine_chunks().fill_null(False)
                here = pc.or_(here, found.take(pa.array(self.place, pa.int64())) if table is self.pairs else found)
            hit = pc.and_(hit, here)
        return [row for row, there in enumerate(hit.to_pylist()) if there]

    def _of_pair(self, name: str) -> list[Any]:
        return list(self.pairs[name].take(self.place).to_pylist()) if self.place else []


def _unanswered(error: str | None) -> tuple[str, str]:
    if error is None:
        return UNFILTERED, ""
    kind = error.partition(":")[0][:60]
    return (NOT_ASKED, "") if kind == "not_asked" else (FAILED, kind)


def _agreement(says: bool | None, labelled: bool | None) -> str:
    if says is None or labelled is None:
        return "cannot be compared"
    return "agrees" if says == labelled else "differs"


def _label_of(verdict: int | None, prompt: str, relevant_from: int | None) -> int | None:
    """The label that a pair has if its teacher is right: the grade itself on a graded scale, else the lowest that is
    relevant, or 0."""
    if verdict is None or len(PROMPTS[prompt].verdicts) > 2:
        return verdict
    return (relevant_from or 1) if is_relevant(verdict, prompt) else 0


def _numbered(values: list[str]) -> dict[str, Any]:
    """{"values": the different ones, "rows": the number of each row's value}."""
    import pyarrow as pa

    encoded = pa.array(values, pa.string()).dictionary_encode()
    return {"values": encoded.dictionary.to_pylist(), "rows": encoded.indices.to_pylist()}
