"""The rows that flow from stage to stage, and the two protocols by which one package uses another.

Frozen slots dataclasses whose field types map one to one to Parquet columns (`distill.store.schema_of`).
Reasoning and answer are always separate fields.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Protocol, TypeVar

from distill.answers import JsonObject
from distill.answers.finish import FinishReason
from distill.texts import clean_text

SCHEMA_VERSION = 2
Row = TypeVar("Row")


def digest(*parts: str | None) -> str:
    """A 16-byte hex hash of the parts; None and "" differ, and no two part lists share an encoding."""
    encoded = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return hashlib.sha256(encoded).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Pair:
    """A query (with its instruction, if any) and a passage, with what is known about their relevance.

    `label` is the grade (>= 0), None where nobody judged; grades of `relevant_from` and above count as relevant
    (`relevant`). `label_origin` says who set it: `judged`, `assumed` (mined negatives), or `teacher`, `vote`, `human`,
    with the earlier grade, where there was one, in `label_before`. `suspected` says why a mined negative may be
    relevant after all.
    """

    pair_id: str
    query_id: str
    doc_id: str
    query: str
    passage: str
    instruction: str | None = None
    label: int | None = None
    label_origin: str | None = None
    label_before: int | None = None
    source: str = "qrels"
    split: str = "train"
    language: str | None = None
    duplicate: str | None = None
    relevant_from: int = 1
    suspected: str | None = None

    @property
    def relevant(self) -> bool | None:
        """Whether the label counts as relevant; None without one."""
        return None if self.label is None else self.label >= self.relevant_from

    def grade_of(self, verdict: int) -> int:
        """The grade by which a verdict of true or false is written into `label`: `relevant_from`, or 0."""
        return self.relevant_from if verdict > 0 else 0


def make_pair(
    query_id: str, doc_id: str, query: str, passage: str, instruction: str | None = None, **rest: Any
) -> Pair:
    """A Pair with its id: the hash of query, instruction and passage, so equal texts are one pair.

    Its texts are made `distill.texts.clean_text`; an instruction of nothing but white space is none.
    """
    query, passage, instruction = clean_text(query), clean_text(passage), clean_text(instruction) or None
    return Pair(digest(query, instruction, passage), query_id, doc_id, query, passage, instruction, **rest)


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask. `request_id` hashes who is asked (`asked_as` of the settings), messages, sampling, sample.

    `masked` is {placeholder: value} of what was masked in the messages; `restore` says that the answer gets the values
    back. Neither is sent or part of the id: requests that differ in masked values alone have one id and one answer, and
    each restores its own values.
    """

    request_id: str
    messages: list[dict[str, str]]
    sampling: JsonObject
    sample: int = 0
    purpose: str = "trace"
    masked: Mapping[str, str] = field(default_factory=dict)
    restore: bool = False

    @property
    def restores(self) -> Mapping[str, str]:
        """The values that go back into the answer, for `restored`."""
        return self.masked if self.restore else {}


def restored(text: str, values: Mapping[str, str]) -> str:
    """The text with each placeholder of `values` replaced by what it stands for."""
    if not values:
        return text
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match.group()], text)


def make_request(
    teacher: str, messages: list[dict[str, str]], sampling: JsonObject, sample: int = 0, purpose: str = "trace"
) -> Request:
    """A Request with its id. `teacher` is the teacher's stable name, whatever alias an endpoint gives the model."""
    key = digest(teacher, json.dumps(messages, sort_keys=True), json.dumps(sampling, sort_keys=True), str(sample))
    return Request(key, messages, sampling, sample, purpose)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the teacher said. `error` is None, or `kind: message` of a permanent failure.

    `cost_usd` and the token counts are what was billed, retries included; `estimated` marks counts that the server did
    not report. `finish_reason` is one word for all servers (`distill.answers.finish`); `unknown_finish` the server's
    own, where nobody here knows it. `model`, `host` and `sampling` say who was asked, where and how; never a key.
    `cached_tokens` are those of the prompt that have a price of their own, `reasoning_tokens` are of the completion.
    """

    request_id: str
    reasoning: str = ""
    content: str = ""
    finish_reason: FinishReason = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    latency_s: float = 0.0
    model: str | None = None
    host: str | None = None
    sampling: JsonObject = field(default_factory=dict)
    error: str | None = None
    estimated: bool = False
    unknown_finish: str | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the teacher's journal: an answer, or a bill for what was paid for and could not be used.

    `bill` is a bill's kind (`empty`, `preflight`, a fault's kind), None for an answer; a bill's `answer` holds tokens
    and dollars only. `stage` is the one that has asked, `purpose` what for, `attempts` how often this request was
    sent, `time` when the entry was made (seconds since 1970; None in journals that do not say it). `earlier` marks an
    answer taken over from another run's journal, which paid for it. `teacher.journal` reads and writes it.
    """

    answer: Answer
    bill: str | None = None
    stage: str = "trace"
    purpose: str = "trace"
    attempts: int = 1
    time: float | None = None
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """A pair's answer, understood. `verdict` is the grade said (1 true, 0 false), None when it cannot be read."""

    pair_id: str
    sample: int
    request_id: str
    reasoning: str
    content: str
    verdict: int | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    latency_s: float
    teacher: str
    error: str | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """A trace that a filter rejected: the trace, the filter's name, and a reason that a person understands."""

    trace: Trace
    filter: str
    reason: str


@dataclass(frozen=True, slots=True)
class Example:
    """One training row: loss on `completion` only, weighted by `weight`."""

    pair_id: str
    prompt: str
    completion: str
    target: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A student's answer to a pair: `score` in [0, 1] for thresholds, `margin` (log-odds) for ranking without ties."""

    query_id: str
    doc_id: str
    score: float
    margin: float
    verdict: int | None
    reasoning: str
    mode: str
    tokens: int
    finish_reason: str


class Ask(Protocol):
    """Ask the teacher, within the run's journal and budget; what was answered before is not asked again."""

    def request(self, content: str, *, purpose: str, sample: int = 0, **sampling: Any) -> Request:
        """A Request to this teacher: one user message; sampling settings on top of the configuration's."""

    def __call__(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """One answer a request, in order of arrival; journalled before it is yielded."""


Score = Callable[[Sequence[Pair]], list[Judgement]]
"""Let a student judge pairs: one judgement a pair, in the order given."""


def from_columns(kind: type[Row], columns: Sequence[Sequence[Any]]) -> Iterator[Row]:
    """`map(kind, *columns)` for a row type, four times as fast: a frozen dataclass sets its fields one call at a time.

    The rows are made by a class with the same slots that is not frozen, and are of `kind` from then on.
    """
    make = _NOT_FROZEN.get(kind)
    if make is None:
        names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
        make = _NOT_FROZEN[kind] = make_dataclass(kind.__name__, names, slots=True)
    for values in zip(*columns, strict=True):
        row = make(*values)
        row.__class__ = kind
        yield row


_NOT_FROZEN: dict[type, Callable[..., Any]] = {}


def as_dict(row: Any) -> dict[str, Any]:
    """The row's own fields, not copied deeper (dataclasses.asdict deep-copies, at ten times the cost)."""
    return {f.name: getattr(row, f.name) for f in fields(row)}
