"""The whole configuration of a run: each package's settings, joined, and what they must agree on.

Read by `distill.cli` and by every stage of `distill/pipeline/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from distill.config import Settings
from distill.errors import ConfigError
from distill.evaluation.settings import EvaluationSettings
from distill.pairs.settings import PairSettings
from distill.pairs.sources import SOURCES
from distill.plugins import is_external
from distill.prompts import PROMPT_NAME, PROMPTS
from distill.publish.settings import DatasetSettings
from distill.rerank.settings import ScoringSettings
from distill.rerank.student_format import WRITES_NOTHING
from distill.urls import is_storage
from filters.settings import FilterSettings
from sft.settings import SftSettings
from sft.targets import pair_target
from teacher.settings import TeacherSettings
from teacher.source_settings import PathBeside

# The keys that a URL of object storage is read from (`distill.inputs`), or written to (the journal); * is any name.
# Whatever other key has one is refused, so that none is taken for a path of this machine.
MAY_BE_URLS = (
    "pairs.path", "pairs.files.*", "pairs.negatives.path", "pairs.negatives.mix.*.path",
    "teacher.journal", "teacher.import.path", "filters.*.label_dispute.decisions",
    "evaluation.sets.*.path", "evaluation.sets.*.files.*", "evaluation.sets.*.first_stage",
)  # fmt: skip


class RefreshSettings(Settings):
    """The run refreshes an earlier one: its answers are reused, its student goes on, and both are compared."""

    since: PathBeside = Field(description="the earlier run's folder")
    students: Literal["continue", "afresh"] = Field(
        "continue", description="continue: trained on from the earlier run's; afresh: from the base"
    )
    served: str | None = Field(
        None, description="the earlier run's system that is served, such as think; default: its best"
    )

    @field_validator("since")
    @classmethod
    def _without_links(cls, since: str) -> str:
        """The folder itself: a link such as runs/served names another one next month."""
        return os.path.realpath(since)


class RunConfig(Settings):
    """A configuration file, whole."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the run and its folder")
    seed: int = Field(
        0, description="of whatever is drawn: splits, samples, weights, order; another seed is another run"
    )
    prompt: str = Field(
        PROMPT_NAME, description="what teacher and students read: rank1, or delimited (docs/security.md)"
    )
    pairs: PairSettings = Field(description="which pairs of query and passage are made, from what data")
    teacher: TeacherSettings = Field(
        default_factory=lambda: TeacherSettings(source="none"),
        description="who answers, how, how fast and for how much; default: nobody is asked, the labels alone are used",
    )
    filters: FilterSettings = Field(
        FilterSettings(), description="the filters in their order: names, or {name: thresholds}"
    )
    dataset: DatasetSettings = Field(DatasetSettings(), description="what the dataset's card says; changes no row")
    sft: SftSettings = Field(SftSettings(), description="which students are trained, from what base, and how")
    evaluation: EvaluationSettings = Field(
        EvaluationSettings(), description="the sets, the measures and how the students are run on them"
    )
    scoring: ScoringSettings = Field(
        ScoringSettings(), description="the engine that judges many pairs, and on how many processes or actors"
    )
    ablate: list[dict[str, Any]] = Field([], description="settings and the values they take; docs/evaluation.md")
    refresh: RefreshSettings | None = Field(
        None, description="`distill run --since RUN` sets since (docs/refresh.md); default: no refresh"
    )
    rounds: int = Field(1, ge=1, le=4, description="2: self_filter's student is trained in a first round")

    @model_validator(mode="before")
    @classmethod
    def _urls_where_they_are_read(cls, raw: Any) -> Any:
        for key, text in _texts(raw):
            if is_storage(text) and not any(fnmatchcase(key, form) for form in MAY_BE_URLS):
                raise ValueError(
                    f"{key}: {text} is a URL, and this is read on this machine alone; give a path or a name"
                )
        return raw

    @field_validator("ablate", mode="before", json_schema_input_type=dict[str, Any] | list[dict[str, Any]] | None)
    @classmethod
    def _grids(cls, given: Any) -> Any:
        return [given] if isinstance(given, dict) else given or []

    @model_validator(mode="after")
    def _what_filters_need(self) -> RunConfig:
        """What a filter needs and this configuration cannot give is said before anything is paid for."""
        named = {name: given for entry in self.filters.root for name, given in entry.items()}
        if ("self_filter" in named) != (self.rounds > 1):
            says = "has no student to judge with" if self.rounds == 1 else "is what a first round is for"
            raise ValueError(f"filters.self_filter {says}; rounds: 2 and self_filter go together")
        if named.get("length", {}).get("max_length") and self.sft.base == "scratch":
            raise ValueError("filters.length.max_length needs the student's tokenizer, and base: scratch makes it "
                             "from what the filters keep; use max_tokens")  # fmt: skip
        confidence = named.get("confidence")
        if confidence is not None and confidence.get("unknown") != "keep" and self._knows_no_probability():
            raise ValueError("filters.confidence would drop every trace: it needs a teacher with logprobs: true, or "
                             "imported traces that have a p_relevant")  # fmt: skip
        beyond = any(then.pairs == "labelled" for student in self.sft.targets for then in student.then)
        if beyond and "decontaminate" in named:
            raise ValueError("filters.decontaminate sees traces alone, and then.pairs: labelled also takes pairs "
                             "without one; set pairs.clean.decontaminate, which sees every pair")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _who_can_reason(self) -> RunConfig:
        for student in self.sft.targets:
            asked = [mode for mode in self.evaluation.modes.get(student.name, []) if mode != "direct"]
            if asked and not is_external(student.target) and pair_target(student.target) is not None:
                raise ValueError(f"evaluation.modes.{student.name}: mode {asked[0]}: {WRITES_NOTHING}")
        return self

    @model_validator(mode="after")
    def _who_is_sure(self) -> RunConfig:
        for student in self.sft.targets:
            if student.labels == "p_relevant" and self._knows_no_probability():
                raise ValueError(f"sft.targets: {student.name}: labels: p_relevant needs a teacher with "
                                 "logprobs: true, or imported traces that have it")  # fmt: skip
        return self

    def _knows_no_probability(self) -> bool:
        """Whether no trace of this teacher has a p_relevant."""
        asks = self.teacher.asks and not is_external(self.teacher.source) and not self.teacher.logprobs
        return asks or self.teacher.source in ("none", "labels")

    @model_validator(mode="after")
    def _one_student_to_serve(self) -> RunConfig:
        if self.refresh is not None and self.ablate:
            raise ValueError("refresh compares one new student with the served one; leave ablate out")
        return self

    @model_validator(mode="after")
    def _known_sources(self, info: ValidationInfo) -> RunConfig:
        """An evaluation set comes from a source of pairs whose labels can measure, from the run's pairs, or mteb."""
        for number, entry in enumerate(self.evaluation.sets):
            if entry.source in ("tevatron", "texts"):
                raise ValueError(f"evaluation.sets.{number}.source: {entry.source} has no graded passages")
            if entry.source not in ("pairs", "mteb"):
                try:
                    SOURCES.check_name(entry.source, (info.context or {}).get("base"))
                except ConfigError as error:
                    raise ValueError(f"evaluation.sets.{number}.source: {error}, or pairs, or mteb") from None
        return self

    @field_validator("prompt")
    @classmethod
    def _known_prompt(cls, name: str) -> str:
        if name not in PROMPTS:
            raise ValueError(f"is no prompt; there are {', '.join(PROMPTS)}")
        return name

    @model_validator(mode="before")
    @classmethod
    def _one_prompt(cls, raw: Any) -> Any:
        """The top level's `prompt` becomes that of the packages that write prompts; one that names another is refused.

        Their settings carry it, so that a teacher or a student never needs the whole configuration.
        """
        prompt = raw.get("prompt", PROMPT_NAME) if isinstance(raw, dict) else None
        if not isinstance(prompt, str):
            return raw
        for package in ("teacher", "sft"):
            settings = raw.get(package, {"source": "none"} if package == "teacher" else {})
            if not isinstance(settings, dict):
                continue
            if settings.get("prompt", prompt) not in (PROMPT_NAME, prompt):
                raise ValueError(f"{package}.prompt is {settings['prompt']!r}; set prompt at the top, for all alike")
            raw = {**raw, package: {**settings, "prompt": prompt}}
        return raw

    @model_validator(mode="after")
    def _marks_are_tokens(self) -> RunConfig:
        if PROMPTS[self.prompt].delimited and self.sft.think_tokens == "text":
            raise ValueError("prompt delimited needs its fields' marks as tokens; leave sft.think_tokens out")
        return self


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(key path, text) of all texts of a configuration; `ablate` is left out, whose variants are read like this one."""
    if isinstance(value, str):
        yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        if path or key != "ablate":
            yield from _texts(item, f"{path}.{key}" if path else str(key))
