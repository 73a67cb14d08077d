"""The teacher's verdicts against the labels as a matrix, and how long its traces are. Called by `build`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from distill.prompts import is_relevant, prompt_of
from distill.report.files import RunFiles
from distill.report.plots import histogram
from distill.report.words import count, percent

LABELS = ("relevant", "not relevant", "no label")
VERDICTS = ("relevant", "not relevant", "no verdict")


@dataclass(frozen=True, slots=True)
class Cell:
    """How many traces, as text, their share of all, and whether teacher and label agree (None: not comparable)."""

    number: str
    share: str
    agrees: bool | None


def section(files: RunFiles) -> dict[str, Any] | None:
    """The matrix with its rows by label, its sentence, and the chart of lengths; None without a teacher's traces."""
    counted = Counter[tuple[str, str]]() if files.judged else matrix(files)
    if not counted:
        return None
    total, comparable = (
        sum(counted.values()),
        [key for key in counted if key[0] in LABELS[:2] and key[1] in VERDICTS[:2]],
    )
    alike, compared = sum(counted[key] for key in comparable if key[0] == key[1]), sum(counted[k] for k in comparable)
    labels = [label for label in LABELS if any(counted[label, verdict] for verdict in VERDICTS)]
    verdicts = [verdict for verdict in VERDICTS if any(counted[label, verdict] for label in LABELS)]
    return {
        "verdicts": verdicts,
        "rows": [(label, [_cell(counted, label, verdict, total) for verdict in verdicts]) for label in labels],
        "agreement": f"Teacher and label agree in {percent(alike, compared)} of {count(compared)} traces"
        if compared
        else "",
        "lengths": histogram(lengths(files), "tokens a trace", "traces"),
    }


def _cell(counted: Counter[tuple[str, str]], label: str, verdict: str, total: int) -> Cell:
    number, comparable = counted[label, verdict], label in LABELS[:2] and verdict in VERDICTS[:2]
    return Cell(count(number), percent(number, total), label == verdict if comparable else None)


def matrix(files: RunFiles) -> Counter[tuple[str, str]]:
    """{(label, verdict): answered traces}; traces of pairs that are gone are left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pairs = list(files.tables("pairs", ["pair_id", "label", "relevant_from"]))
    asked = list(files.tables("traces", ["pair_id", "verdict", "teacher"], pc.field("error").is_null()))
    counted: Counter[tuple[str, str]] = Counter()
    if not pairs or not asked:
        return counted
    columns = ["label", "relevant_from", "verdict", "teacher"]
    joined = pa.concat_tables(asked).join(pa.concat_tables(pairs), "pair_id", join_type="inner").select(columns)
    for row in joined.group_by(columns).aggregate([([], "count_all")]).to_pylist():
        label, least, verdict = row["label"], row["relevant_from"] or 1, row["verdict"]
        says = None if verdict is None else is_relevant(verdict, prompt_of(row["teacher"]))
        of_label = LABELS[2] if label is None else LABELS[label < least]
        counted[of_label, VERDICTS[2] if says is None else VERDICTS[not says]] += row["count_all"]
    return counted


def lengths(files: RunFiles) -> dict[str, list[int]]:
    """{kept, rejected: tokens of each trace}; before the filters, all answered traces."""
    import pyarrow.compute as pc

    def read(folder: str, where: Any = None) -> Iterator[int]:
        for table in files.tables(folder, ["completion_tokens"], where):
            yield from table["completion_tokens"].to_pylist()

    both = {folder: list(read(folder)) for folder in ("kept", "rejected")}
    found = {name: values for name, values in both.items() if values}
    return found or {"answered": list(read("traces", pc.field("error").is_null()))}
