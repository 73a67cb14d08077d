"""The rows that flow from stage to stage, and the two protocols by which one package uses another.

Frozen slots dataclasses whose field types map one to one to Parquet columns (`distill.store.schema_of`); the text below
a field is its meaning in docs/reference/rows.md. Reasoning and answer are always separate fields.
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
from distill.answers.logprobs import WordLogprobs
from distill.texts import clean_text

SCHEMA_VERSION = 2
Row = TypeVar("Row")


def digest(*parts: str | None) -> str:
    """A 16-byte hex hash of the parts; None and "" differ, and no two part lists share an encoding."""
    encoded = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return hashlib.sha256(encoded).hexdigest()[:32]


UNJUDGED = "unjudged"  # the mode of a judgement that a server had no time for


@dataclass(frozen=True, slots=True)
class Pair:
    """A query (with its instruction, if any) and a passage, with what is known about their relevance."""

    pair_id: str
    """Hash of query, instruction and passage, so equal texts are one pair."""
    query_id: str
    """The query's id in the source."""
    doc_id: str
    """The passage's id in the source."""
    query: str
    """The query's text."""
    passage: str
    """The text that is judged; a title comes first."""
    instruction: str | None = None
    """What the query asks for besides its topic; null without one."""
    label: int | None = None
    """The grade, 0 or more; null where nobody judged."""
    label_origin: str | None = None
    """Who set the label: `judged` (the source), `assumed` (a mined negative), `teacher`, `vote` or `human`."""
    label_before: int | None = None
    """The earlier grade, where a filter or a person changed it."""
    source: str = "qrels"
    """How it was made: `qrels`, miner and rank (`bm25:7`), `synthesized:KIND`, `instruction_negative` and others."""
    split: str = "train"
    """The part that the query is in: `train`, `dev`, `test` or the source's own name."""
    language: str | None = None
    """The configuration's `pairs.language`; null for none."""
    duplicate: str | None = None
    """The `doc_id` of a passage of this query with the same text, which was left out; null without one."""
    relevant_from: int = 1
    """The grade from which on a label counts as relevant."""
    suspected: str | None = None
    """Why a mined negative may be relevant after all; null where nothing says so."""

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
    `unpriced` says that nobody knows what it cost; `cost_usd` is then 0. `words` are the log-probabilities of words
    that may be the verdict, None where the server gave none; `p_relevant` is of imported answers that say it.
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
    unpriced: bool = False
    words: list[WordLogprobs] | None = None
    p_relevant: float | None = None


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
    """The teacher's answer to a pair, with its verdict read."""

    pair_id: str
    """The pair that was asked about."""
    sample: int
    """Which of the pair's answers this is, from 0."""
    request_id: str
    """Hash of teacher, messages, sampling settings and sample, by which the journal knows the answer."""
    reasoning: str
    """What the teacher thought, without tags; empty where it did not."""
    content: str
    """The answer after the reasoning, as it came."""
    verdict: int | None
    """The grade that the answer gives (1 relevant, 0 not, where there are two); null where it cannot be read."""
    finish_reason: str
    """How the answer ended: `stop`, `length` (cut off), `content_filter`, `tool_calls` or `error`."""
    prompt_tokens: int
    """Tokens billed for the prompt, retries included."""
    completion_tokens: int
    """Tokens billed for reasoning and answer, retries included."""
    cost_usd: float
    """What they cost, in US dollars, by the endpoint's price."""
    latency_s: float
    """Seconds from request to answer."""
    teacher: str
    """Who was asked and how, as JSON: `name`, `model`, `endpoint`, `sampling`, `prompt`."""
    error: str | None = None
    """Why there is no answer, as `kind: message`; null where there is one."""
    estimated: bool = False
    """Whether the tokens are an estimate, since the server reported none."""
    p_relevant: float | None = None
    """The probability, by the teacher's own log-probabilities, that the passage is relevant; null where unknown."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A trace that a filter rejected."""

    trace: Trace
    """The trace; in Parquet its own columns."""
    filter: str
    """The filter's name."""
    reason: str
    """Why, in words and figures."""


@dataclass(frozen=True, slots=True)
class Example:
    """One training row."""

    pair_id: str
    """The pair that it is made of."""
    prompt: str
    """What the student reads; no loss is taken on it."""
    completion: str
    """What it learns to write."""
    target: str
    """The target, such as `think` or `direct`."""
    weight: float = 1.0
    """What the row's loss is multiplied by."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """One training row of a student that writes nothing: a pair with what its kept traces say of it.

    `grade` is the verdict to learn, on the prompt's scale; `relevant` whether it counts as relevant. `share` is the
    soft label where the student's `labels` ask for one: the share of the pair's readable answers, rejected ones too,
    that said relevant, or the mean `p_relevant` of its kept traces; None where there is none.
    """

    pair_id: str
    query_id: str
    doc_id: str
    query: str
    passage: str
    instruction: str | None
    grade: int
    relevant: bool
    source: str = "qrels"
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """A student's answer to a pair."""

    query_id: str
    """The query's id in the evaluation set."""
    doc_id: str
    """The passage's id in the evaluation set."""
    score: float
    """Probability that the passage is relevant, for thresholds; calibrated where the student has a calibration."""
    margin: float
    """The same as log-odds, by which passages are ranked without ties."""
    verdict: int | None
    """1 relevant, 0 not; null where most of the probability is on words that are no verdict."""
    reasoning: str
    """What the student wrote before its verdict; empty in mode `direct`."""
    mode: str
    """How it was asked: `think`, `direct`, `verdict_first`, `budget`, or the part of `adaptive` that answered."""
    tokens: int
    """Tokens that it wrote, the verdict among them."""
    finish_reason: str
    """`stop`: by itself; `length`, `budget`, `no_end`, `looped`: not so; `cut`, `split`: the passage was too long."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """An answer that a student wrote while it was trained on its own answers, after SFT."""

    step: int
    """The step of the optimizer that learns from it."""
    pair_id: str
    """The pair that was answered."""
    query_id: str
    """Its query, whose rows come in one step."""
    prompt: str
    """What the student read."""
    answer: str
    """What it wrote after `<think>`."""
    grade: int
    """The verdict to learn: 1 relevant, 0 not, or a grade."""
    verdict: int | None
    """The verdict said; null where the answer is not well-formed."""
    p_true: float | None
    """The expected grade, 0 to 1, by the model's own probabilities right after `</think>`; null without one."""
    tokens: int
    """Tokens that it wrote."""
    rewards: str
    """JSON, {reward: value before its weight}; `{}` where the method has none."""


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
