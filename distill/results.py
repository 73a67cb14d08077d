"""What stages count and what is measured, typed. Written by pipeline and evaluation, read by them and the report.

`read_as` reads every one of these types from JSON, and is lenient: what is missing or of another type is left at its
default, so that a run that was stopped half-way can be read. `as_json` writes them.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

Json = Union[None, bool, int, float, str, Sequence["Json"], Mapping[str, "Json"]]  # noqa: UP007 (a recursive alias)
"""A value that JSON can hold."""

Counts = Mapping[str, Json]
"""What a stage counted, as metrics.json and its manifest hold it."""

Measures = dict[str, dict[str, float]]
"""{system: {measure: value}}."""

Intervals = dict[str, dict[str, list[float]]]
"""{system: {measure: [low, high]}}, 95 %."""

ByUnit = Mapping[str, Mapping[str, Mapping[str, float]]]
"""{system: {measure: {unit: value}}}; a unit is a query, a pair, or a group of instructions."""

BASELINES = ("first_stage", "untrained", "untrained.fused", "served", "served.fused")
"""The systems that students are compared with; `served` is the earlier run's student, in a refresh."""

T = TypeVar("T")


# --- an evaluation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """A system against the baseline by one measure; `p_randomisation` is None over several seeds."""

    difference: float
    p_bootstrap: float
    p_randomisation: float | None = None
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether p, corrected by Holm's method, is below 0.05."""
        return self.p_holm < 0.05

    @property
    def p_text(self) -> str:
        """The corrected p as tables give it."""
        return "< 0.001" if self.p_holm < 0.001 else f"{self.p_holm:.3f}"


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over several runs that differ in their seed: each run's, and the standard deviation."""

    by_run: list[float]
    sd: float


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Systems compared on one set.

    `intervals` are of each mean, `differences` and `tests` against `baseline`. `per_query` are the values behind the
    means, None where they are left out; `runs` and `spread` are those of several seeds, else None. `left_out` is
    {what was left out: how many} of runs from files.
    """

    measures: Measures = field(default_factory=dict)
    intervals: Intervals = field(default_factory=dict)
    differences: Intervals = field(default_factory=dict)
    tests: dict[str, dict[str, PairedTest]] = field(default_factory=dict)
    baseline: str = ""
    per_query: ByUnit | None = None
    spread: dict[str, dict[str, Spread]] | None = None
    runs: int | None = None
    left_out: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """How many of a set's relevant passages the first stage's lists hold."""

    relevant: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class SetDetail:
    """evaluation/SET.json: texts, labels, tests and the values behind the means of one set."""

    kind: str = "beir"
    queries: dict[str, str] = field(default_factory=dict)
    instructions: dict[str, str] = field(default_factory=dict)
    passages: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, dict[str, int | float]] = field(default_factory=dict)
    relevant_from: int = 1
    tests: dict[str, dict[str, PairedTest]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    listed: Listed = Listed()
    per_query: ByUnit = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well scores are calibrated; `bins` are (mean score, share relevant, pairs) of each bin that holds any."""

    ECE: float | None = None
    Brier: float | None = None
    bins: list[tuple[float, float, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ModeResult:
    """One system of a student: its mode, pace, and how its scores fit before and after calibration."""

    mode: str = ""
    tokens_per_pair: float | None = None
    pairs_per_s: float | None = None
    raw: Calibration = Calibration()
    calibrated: Calibration | None = None
    forced: int = 0
    unparsable: int = 0


@dataclass(frozen=True, slots=True)
class CalibrationCheck:
    """A saved calibration tried under an instruction; `template` is None under its own, "" under none."""

    mode: str = ""
    template: str | None = None
    before: Calibration = Calibration()
    after: Calibration = Calibration()
    off: bool = False


@dataclass(frozen=True, slots=True)
class StudentModes:
    """One student of evaluation/SET.modes.json; `curve` are (tokens a pair, quality) of other windows, `window` is
    (lowest, highest log-odds, passages of a query) of mode adaptive."""

    systems: dict[str, ModeResult] = field(default_factory=dict)
    curve: list[tuple[float, float]] = field(default_factory=list)
    checks: list[CalibrationCheck] = field(default_factory=list)
    window: tuple[float, float, int | None] | None = None


# --- an ablation -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRow:
    """One student of an ablation, `row` its name in the table.

    What it was made from (`changes` against the configuration, `reused` stages of other variants), what that cost
    (`teacher_*` as if it were the only variant; dollars, tokens, seconds), and its `measures` by set.
    """

    row: str
    variant: str = ""
    student: str = ""
    target: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    kept: int | None = None
    examples: int | None = None
    traces: int = 0
    teacher_usd: float = 0.0
    teacher_tokens: int = 0
    train_seconds: float | None = None
    train_tokens: float | None = None
    reused: list[str] = field(default_factory=list)
    measures: Measures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ablation:
    """ablation/ablation.json: every student, the comparison by set, and over the variants that differ in their seed."""

    made_of: list[str] = field(default_factory=list)
    rows: list[AblationRow] = field(default_factory=list)
    sets: dict[str, EvaluationResult] = field(default_factory=dict)
    seeds: dict[str, EvaluationResult] = field(default_factory=dict)


# --- metrics.json ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """What one filter rejected, and the most frequent of its reasons."""

    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StudentCounts:
    """How one student was trained; what was not counted is None. Bytes, seconds and tokens as their names say. `method`
    is that of a training after SFT."""

    target: str = ""
    method: str = ""
    steps: float | None = None
    seconds: float | None = None
    tokens: float | None = None
    generated_tokens: float | None = None
    tokens_per_s: float | None = None
    real_share: float | None = None
    final_loss: float | None = None
    best_step: float | None = None
    peak_gib: float | None = None
    parameters: float | None = None
    rejected: int | None = None
    left_out: str = ""
    warnings: list[str] = field(default_factory=list)


ROLLOUTS, AFTER = "rollouts", "after.json"  # of a student that was trained after SFT, in its folder


@dataclass(frozen=True, slots=True)
class AfterSft:
    """after.json: how a student was trained on its own answers, its loss by step, and how many of the first and of the
    last answers have a P(true) in each tenth of 0 to 1. `curve` has a step's means; `kl` by step, the divergence from
    the SFT student, is empty where it was not measured."""

    method: str = ""
    rewards: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float | dict[str, float]]] = field(default_factory=list)
    loss: list[list[float]] = field(default_factory=list)
    p_true_first: list[int] = field(default_factory=list)
    p_true_last: list[int] = field(default_factory=list)
    kl: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SetCounts:
    """How large an evaluated set is."""

    queries: int | None = None
    pairs: int | None = None


@dataclass(frozen=True, slots=True)
class StageCounts:
    """What the stages count, each some of it; the rest is None or empty. `usd_per_hour` is the rent of one device."""

    seconds: float | None = None
    rows: int | None = None
    pairs: int | None = None
    by_split: dict[str, int] = field(default_factory=dict)
    by_source: dict[str, int] = field(default_factory=dict)
    samples_due: int | None = None
    answered: int | None = None
    failed: int | None = None
    not_asked: int | None = None
    failures: dict[str, int] = field(default_factory=dict)
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cost_usd: float | None = None
    unusable_cost_usd: float | None = None
    unpriced_tokens: int = 0
    kept: int | None = None
    rejected: int | None = None
    by_filter: dict[str, FilterCounts] = field(default_factory=dict)
    decided: dict[str, int] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)
    student: str = ""
    students: dict[str, StudentCounts] = field(default_factory=dict)
    sets: dict[str, SetCounts] = field(default_factory=dict)
    devices: int | None = None
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a judge agrees with assessors: pairs compared, share alike (relevant or not), kappa, mean error."""

    pairs: int = 0
    relevant: float = 0.0
    kappa: float = 0.0
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class UnjudgedCounts:
    """What grading a set's unjudged passages has changed, as `distill evaluate --judge-unjudged` found it."""

    graded: int | None = None
    before: Measures = field(default_factory=dict)
    after: Measures = field(default_factory=dict)
    error: Intervals = field(default_factory=dict)
    agreement: Agreement = Agreement()
    not_estimated: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """A refresh: the new student against the served one of the run `since`, both as `system`, paired over `queries`.

    `served` and `new` are their means by `measure` on `set`, `low` and `high` bound 95 % of the difference.
    """

    since: str
    system: str
    set: str
    measure: str
    queries: int
    served: float
    new: float
    difference: float
    low: float
    high: float
    p: float
    verdict: Literal["promote", "keep", "unsure"]


@dataclass(slots=True)
class RunMetrics:
    """metrics.json: what the stages counted, and by set what was measured; `holes` are what the teacher graded, and
    `refresh` is the comparison with the run that this one refreshes.

    `stages` keeps each stage's counts as they are; `counts` reads them.
    """

    name: str = ""
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluation: dict[str, Measures] = field(default_factory=dict)
    intervals: dict[str, Intervals] = field(default_factory=dict)
    holes: dict[str, dict[str, Any]] | None = None
    refresh: RefreshResult | None = None

    def counts(self, stage: str) -> StageCounts:
        """What a stage has counted; empty where it was not made yet."""
        return read_as(StageCounts, self.stages.get(stage))


# --- reading and writing ---------------------------------------------------------------------------------------------


def read_as(kind: type[T], value: object) -> T:
    """The dataclass `kind` from a JSON value; fields and entries that are missing or of another type are left out.

    Raises TypeError where a field without a default is among these.
    """
    given = value if isinstance(value, Mapping) else {}
    values = {
        name: read for name, hint in get_type_hints(kind).items() if (read := _read(hint, given.get(name))) is not None
    }
    return kind(**values)


def _read(hint: Any, value: object) -> Any:
    """The value as `hint` says, None where it is none of that; of a dictionary the entries that are."""
    if value is None:
        return None
    if get_origin(hint) in (Union, types.UnionType):
        return _read(next(option for option in get_args(hint) if option is not type(None)), value)
    if is_dataclass(hint):
        try:
            return read_as(cast("type[Any]", hint), value)
        except TypeError:
            return None
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError:
        if get_origin(hint) is not dict or not isinstance(value, Mapping):
            return None
        entry = get_args(hint)[1]
        return {str(key): read for key, item in value.items() if (read := _read(entry, item)) is not None}


def as_json(value: object) -> Any:
    """Plain JSON values of a dataclass; a field whose value and default are both None is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: as_json(item)
            for f in fields(value)
            if (item := getattr(value, f.name)) is not None or f.default is not None
        }
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


@lru_cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)
