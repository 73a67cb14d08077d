"""The teacher's verdicts against the labels as a matrix, and how long its traces are. Called by `build`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distill.prompts import is_relevant, prompt_of
from distill.report.files import RunFiles
from distill.report.plots import histogram
from distill.report.words import count, percent
from distill.statistics.reliability import quality

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("relevant", "not relevant", "no label")
VERDICTS = ("relevant", "not relevant", "no verdict")


@dataclass(frozen=True, slots=True)
class Worth:
    """A filter, in their order: what it rejected, and the right verdicts among that and among all that is left, there
    also about pairs of each label: where few are relevant, losing these alone raises the share of all.

    Each as (right, of): right agrees with the label, of the readable verdicts about pairs with one.
    """

    name: str
    rejected: int
    among_rejected: tuple[int, int]
    among_left: tuple[int, int]
    left_relevant: tuple[int, int]
    left_others: tuple[int, int]


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
    total = sum(counted.values())
    alike, compared = _right(counted)
    labels = [label for label in LABELS if any(counted[label, verdict] for verdict in VERDICTS)]
    verdicts = [verdict for verdict in VERDICTS if any(counted[label, verdict] for label in LABELS)]
    return {
        "verdicts": verdicts,
        "rows": [(label, [_cell(counted, label, verdict, total) for verdict in verdicts]) for label in labels],
        "agreement": f"Teacher and label agree in {percent(alike, compared)} of {count(compared)} traces"
        if compared
        else "",
        "lengths": histogram(lengths(files), "tokens a trace", "traces"),
        "sure": sureness(files),
        "worth": worth(files, counted),
    }


def worth(files: RunFiles, of_traces: Counter[tuple[str, str]]) -> list[Worth]:
    """What each filter was worth by the labels, after a first row of no filter; [] before the filters, or where no
    rejected trace can be compared."""
    import pyarrow.compute as pc

    by_filter = files.counts("filter").by_filter
    rejected = {name: Counter[tuple[str, str]]() for name in by_filter}
    for joined in _joined(files, ["verdict", "teacher", "filter"], "rejected"):
        for name in joined["filter"].unique().to_pylist():
            rejected.setdefault(name, Counter()).update(_counted(joined.filter(pc.field("filter") == name)))
    if not any(_right(counted)[1] for counted in rejected.values()):
        return []
    left = Counter(of_traces)
    found = [_worth("", Counter(), left)]
    for name, counted in rejected.items():
        if counted:
            left -= counted
            found.append(_worth(name, counted, left))
    return found


def _worth(name: str, rejected: Counter[tuple[str, str]], left: Counter[tuple[str, str]]) -> Worth:
    sides = (_right(Counter({key: left[key] for key in left if key[0] == label})) for label in LABELS[:2])
    return Worth(name, rejected.total(), _right(rejected), _right(left), *sides)


def _right(counted: Counter[tuple[str, str]]) -> tuple[int, int]:
    """(Right, comparable) of these traces."""
    comparable = [key for key in counted if key[0] in LABELS[:2] and key[1] in VERDICTS[:2]]
    return sum(counted[key] for key in comparable if key[0] == key[1]), sum(counted[key] for key in comparable)


def sureness(files: RunFiles) -> dict[str, Any]:
    """How sure the teacher was (`p_relevant`): a chart by label, and its calibration against the labels; {} where no
    trace says it."""
    found: dict[str, list[NDArray[np.float64]]] = {label: [np.empty(0)] for label in LABELS}
    for joined in _joined(files, ["p_relevant"]):
        known = joined.filter(joined["p_relevant"].is_valid())
        values = known["p_relevant"].to_numpy()
        label, least = known["label"].fill_null(-1).to_numpy(), known["relevant_from"].fill_null(1).to_numpy()
        for name, rows in zip(LABELS, (label >= least, (label >= 0) & (label < least), label < 0), strict=True):
            found[name].append(values[rows])
    series = {name: np.concatenate(parts) for name, parts in found.items()}
    scores, labels = (
        [*series[LABELS[0]], *series[LABELS[1]]],
        [1] * len(series[LABELS[0]]) + [0] * len(series[LABELS[1]]),
    )
    some = {name: values for name, values in series.items() if len(values)}
    if not some:
        return {}
    ece = f"Against the labels of {count(len(labels))} traces, its ECE is {quality(scores, labels)['ECE']:.3f}"
    return {
        "chart": histogram(some, "teacher's probability of relevant", "traces", most=1.0),
        "calibrated": ece if labels else "",
    }


def _cell(counted: Counter[tuple[str, str]], label: str, verdict: str, total: int) -> Cell:
    number, comparable = counted[label, verdict], label in LABELS[:2] and verdict in VERDICTS[:2]
    return Cell(count(number), percent(number, total), label == verdict if comparable else None)


def matrix(files: RunFiles) -> Counter[tuple[str, str]]:
    """{(label, verdict): answered traces}; traces of pairs that are gone are left out.

    A shard of traces is held at a time, and of the pairs, which are sorted, those between its first and last.
    """
    counted: Counter[tuple[str, str]] = Counter()
    for joined in _joined(files, ["verdict", "teacher"]):
        counted.update(_counted(joined))
    return counted


def _counted(joined: pa.Table) -> Counter[tuple[str, str]]:
    """{(label, verdict): rows}."""
    counted: Counter[tuple[str, str]] = Counter()
    columns = ["label", "relevant_from", "verdict", "teacher"]
    for row in joined.group_by(columns).aggregate([([], "count_all")]).to_pylist():
        label, least, verdict = row["label"], row["relevant_from"] or 1, row["verdict"]
        says = None if verdict is None else is_relevant(verdict, prompt_of(row["teacher"]))
        of_label = LABELS[2] if label is None else LABELS[label < least]
        counted[of_label, VERDICTS[2] if says is None else VERDICTS[not says]] += row["count_all"]
    return counted


def _joined(files: RunFiles, columns: list[str], folder: str = "traces") -> Iterator[pa.Table]:
    """These columns of the answered traces, a shard at a time, with their pairs' `label` and `relevant_from`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for asked in files.tables(folder, ["pair_id", *columns], pc.field("error").is_null()):
        if not asked.num_rows:
            continue
        ends = pc.min_max(asked["pair_id"]).as_py()
        within = (pc.field("pair_id") >= ends["min"]) & (pc.field("pair_id") <= ends["max"])
        pairs = list(files.tables("pairs", ["pair_id", "label", "relevant_from"], within))
        if pairs:
            joined = asked.join(pa.concat_tables(pairs), "pair_id", join_type="inner")
            yield joined.select([*columns, "label", "relevant_from"])


def lengths(files: RunFiles) -> dict[str, NDArray[np.int32]]:
    """{kept, rejected: tokens of each trace}; before the filters, all answered traces."""
    import pyarrow.compute as pc

    def read(folder: str, where: Any = None) -> NDArray[np.int32]:
        tables = files.tables(folder, ["completion_tokens"], where)
        columns = [table["completion_tokens"].to_numpy().astype(np.int32) for table in tables]
        return np.concatenate(columns) if columns else np.empty(0, np.int32)

    found = {folder: values for folder in ("kept", "rejected") if len(values := read(folder))}
    return found or {"answered": read("traces", pc.field("error").is_null())}
