"""What a configuration may say under `evaluation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from distill.config import Settings
from distill.evaluation.suites import SUITES
from distill.files.gaps import MISSING


class RetrieverStage(Settings):
    """A first stage by a retriever's vectors: alone, or fused with BM25 by reciprocal ranks (k = 60)."""

    retriever: str | None = Field(
        None, description="a student with target retriever, a folder, or a hub name; default: hybrid is given"
    )
    hybrid: str | None = Field(
        None, description="the same, fused with BM25 by reciprocal ranks; default: retriever is given"
    )

    @model_validator(mode="after")
    def _one(self) -> RetrieverStage:
        if (self.retriever is None) == (self.hybrid is None):
            raise ValueError("a first stage is either {retriever: NAME} or {hybrid: NAME}")
        return self

    @property
    def model(self) -> str:
        """The retriever's name, folder or hub name."""
        return str(self.retriever or self.hybrid)


class SetSettings(Settings):
    """One set of queries with labels, and the first stage whose lists are reranked.

    `split` names a qrels file of the folder (kind nevir: SPLIT.jsonl), or a key of `pairs.split` where that gives
    shares. `kind` is the layout of the files and decides what is measured in addition: nevir pairwise accuracy,
    followir p-MRR, instructir robustness@10; bright takes excluded passages out; dl19 counts as relevant from grade 2.
    `source: pairs` takes the part `split` of the pairs that the run itself has made, the teacher's queries and grades.
    With `source: mteb`, `path` names a task of mteb, and `subset` one of its languages.
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="of the set: in the report, and in the files of evaluation/"
    )
    source: str = Field("beir", description="as pairs.source, or pairs, or mteb")
    kind: str = Field("beir", description="beir, dl19, bright, nevir, followir, instructir, or FILE.py:Class")
    path: str = Field("", description="a folder, a file, a dataset's name, or with source mteb a task of mteb")
    files: dict[str, str] = Field({}, description="as in pairs.files, for the sources that have several")
    columns: dict[str, str] = Field({}, description="as in pairs.columns")
    ids: Literal["given", "text"] = Field("given", description="as in pairs.ids")
    split: str = Field(
        "test",
        description="a qrels file of the folder (kind nevir: SPLIT.jsonl), or a key of pairs.split that gives shares",
    )
    subset: str = Field("default", description="with source mteb, one of the task's languages")
    first_stage: str | RetrieverStage = Field(
        "bm25",
        description="bm25, the path of a TREC run, {retriever: NAME} or {hybrid: NAME}; orders a set's own lists too",
    )
    depth: int = Field(100, ge=1, description="how many passages of each list are reranked")
    queries: int | None = Field(None, ge=1, description="at most so many queries, drawn with the seed; default: all")
    missing: float = Field(
        MISSING, ge=0, lt=1, description="the share of what a run, labels or lists name that may have no text"
    )
    self_retrieval: bool = Field(False, description="whether a passage that is the query itself stays in its list")
    language: str | None = Field(None, description="of BM25's analysis; default: that of the pairs")

    @field_validator("kind")
    @classmethod
    def _is_a_kind(cls, kind: str, info: ValidationInfo) -> str:
        return SUITES.check_name(kind, (info.context or {}).get("base"))

    @model_validator(mode="after")
    def _possible(self) -> SetSettings:
        if self.source != "beir" and self.kind != "beir":
            raise ValueError(f"source {self.source} has its own layout; leave kind out")
        if self.source not in ("example", "pairs") and not (self.path or self.files):
            raise ValueError(f"source {self.source} needs a path")
        if self.queries is not None and (self.source == "mteb" or self.kind in ("nevir", "followir", "instructir")):
            raise ValueError("queries draws from sets of single queries; this one's belong together")
        return self


class EvaluationSettings(Settings):
    """Which sets, which measures (as ir_measures writes them), how the students are run."""

    sets: list[SetSettings] = Field([], description="the sets of queries that the students are measured on")
    measures: list[str] = Field(
        ["nDCG@10", "nDCG(judged_only=True)@10", "RR@10", "AP", "Judged@10"],
        min_length=1,
        description="as ir_measures writes them; the first is the one that the report compares by",
    )
    batch: int = Field(128, ge=1, description="rows that go through the model together")
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="bound on the reasoning, in tokens; default: twice the student's longest training trace, 8192 "
        "(Rank1) where that is unknown",
    )
    modes: dict[str, list[str]] = Field(
        {}, description="by student, how it is asked: think, direct, verdict_first, budget:N, adaptive"
    )
    systems: list[str] | None = Field(
        None, min_length=1, description="only these are judged: untrained, a student, or STUDENT.MODE (default: all)"
    )
    calibrate_on: str | None = Field(
        None, description="the set on which scores are calibrated and adaptive is set up; default: neither is done"
    )
    fuse: bool = Field(
        False,
        description="each system also fused with the first stage, by a weight chosen on the set of calibrate_on",
    )
    calibration: Literal["temperature", "platt", "isotonic"] = Field(
        "platt", description="how scores become probabilities on the set of calibrate_on"
    )
    calibration_instructions: list[str] = Field(
        [], description="instructions under which the calibration is checked again on that set, in place of its own"
    )

    @field_validator("modes")
    @classmethod
    def _known_modes(cls, modes: dict[str, list[str]]) -> dict[str, list[str]]:
        for student, names in modes.items():
            for name in names:
                kind, colon, bound = name.partition(":")
                if kind == "budget" and not (colon and bound.isdigit() and int(bound) > 0):
                    raise ValueError(f"{student}: {name!r} needs its bound in tokens, such as budget:64")
                if kind not in ("think", "direct", "verdict_first", "budget", "adaptive") or (
                    colon and kind != "budget"
                ):
                    raise ValueError(f"{student}: {name!r} is none of think, direct, verdict_first, budget:N, adaptive")
            if "adaptive" in names and not {"think", "direct"} <= set(names):
                raise ValueError(f"{student}: adaptive is compared with think and direct; list them too")
        return modes

    @model_validator(mode="after")
    def _set_is_there(self) -> EvaluationSettings:
        if self.calibrate_on is not None and self.calibrate_on not in [each.name for each in self.sets]:
            raise ValueError(f"calibrate_on names {self.calibrate_on!r}, which is none of the sets")
        if self.calibrate_on is None and self.fuse:
            raise ValueError(
                "fuse needs calibrate_on, the development set on which the first stage's weight is chosen (never on a "
                "test set)"
            )
        if self.calibrate_on is None and self.calibration_instructions:
            raise ValueError("calibration_instructions need calibrate_on, the set on which scores are calibrated")
        if self.calibrate_on is None and any("adaptive" in names for names in self.modes.values()):
            raise ValueError("mode adaptive needs calibrate_on, the set on which its window is chosen")
        return self

    @field_validator("sets")
    @classmethod
    def _named_once(cls, sets: list[SetSettings]) -> list[SetSettings]:
        names = [each.name for each in sets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sets are named {name!r}")
        return sets
