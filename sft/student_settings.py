"""What a configuration may say of one student (`sft.targets`). Used by `sft.settings` and whatever trains students."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from distill.config import Settings
from distill.plugins import is_external
from sft.after.settings import ThenSettings, one_or_more
from sft.targets import TARGETS, pair_target, writing_target
from sft.trainer_settings import checked_training

OF_PAIR_TARGETS = {"base", "loss", "labels", "scores", "training", "retriever"}  # for students that write nothing


class LoraSettings(Settings):
    """LoRA as Rank1 sets it (arXiv 2502.18418): r 32, alpha 64, every linear layer."""

    r: int = Field(32, ge=1, description="rank of the added matrices")
    alpha: int = Field(64, ge=1, description="scale of the added matrices: the update is multiplied by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs that training drops")
    target_modules: str | list[str] = Field(
        "all-linear", description="which layers are adapted: all-linear, or names of modules"
    )
    dora: bool = Field(False, description="whether magnitude and direction are adapted apart (DoRA, arXiv 2402.09353)")
    bits: Literal[4] | None = Field(
        None, description="4: QLoRA, the base in NF4 (needs bitsandbytes); default: the base as it is"
    )


class RetrieverSettings(Settings):
    """How a student of `target: retriever` is trained: on which negatives, from which kind of base."""

    negatives: int = Field(4, ge=0, description="passages that are not relevant, with each relevant one")
    instruction_negatives: bool = Field(
        True, description="whether those that an instruction turned not relevant are among them"
    )
    temperature: float = Field(0.05, gt=0, description="similarities are divided by it before the softmax")
    cached: int | None = Field(
        None, ge=1, description="texts in memory together, for large batches (GradCache); default: all"
    )
    pooling: Literal["mean", "cls", "lasttoken"] | None = Field(
        None, description="default: the base's own; else mean for encoders, the last token for decoders"
    )
    max_length: int | None = Field(
        None,
        ge=8,
        description="of a query or a passage, in tokens; longer is cut; default: the base's own",
    )
    lora: LoraSettings | None = Field(
        None, description="train an adapter and merge it; default: all weights are trained"
    )

    @field_validator("lora")
    @classmethod
    def _in_full(cls, lora: LoraSettings | None) -> LoraSettings | None:
        if lora is not None and lora.bits is not None:
            raise ValueError("bits: a retriever is not trained in four bits; leave it out")
        return lora


class ScoresSettings(Settings):
    """A cascade: another student of the run scores the pairs that this one learns from, once it is trained."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    student: str = Field(alias="from", description="the name of the student that scores, in its usual mode")


class StudentSettings(Settings):
    """One student, where more than its target is to be said; a plain target name is short for `{target: NAME}`."""

    target: str = Field(
        description="think, direct, verdict_first, mixed, encoder, retriever, or one's own as FILE.py:Class "
        "(docs/targets.md)"
    )
    base: str | None = Field(
        None,
        description="of a student that writes nothing (encoder, retriever): a hub name, a folder, or 'scratch', a "
        "small encoder of random weights; default: scratch. The others start from sft.base",
    )
    loss: str | None = Field(
        None,
        description="of a student that writes nothing: bce, mse, margin_mse or listwise of an encoder, "
        "infonce or margin_mse of a retriever (docs/encoders.md); default: bce, infonce",
    )
    labels: Literal["verdict", "grade", "share", "p_relevant"] | None = Field(
        None,
        description="of an encoder: verdict (1 or 0), grade (over the highest), share, that of the pair's answers that "
        "said relevant (teacher.samples), or p_relevant, the teacher's own (teacher.logprobs); default: verdict",
    )
    scores: ScoresSettings | None = Field(
        None,
        description="of an encoder, or a retriever with margin_mse: labels are another student's log-odds; "
        "default: labels",
    )
    training: dict[str, Any] | None = Field(
        None,
        description="of a student that writes nothing: names of transformers' TrainingArguments; default: "
        "docs/encoders.md. sft.training is for the others",
    )
    retriever: RetrieverSettings | None = Field(
        None, description="of target retriever: its negatives, pooling, lengths; default: each key's own"
    )
    name: str = Field("", pattern=r"^[a-z0-9_]*$", description="its folder and its name in the report")
    train_size: int | None = Field(None, ge=1, description="at most so many pairs, drawn with the seed; default: all")
    shuffle_traces: bool = Field(False, description="a control: each pair gets another pair's trace of equal verdict")
    time_of: str | None = Field(
        None,
        description="train as long as that student did: the plain student's steps, scaled; default: off",
    )
    then: list[ThenSettings] = Field(
        [],
        description="trainings on its own answers after SFT, each of which makes one more student NAME_METHOD "
        "(docs/after-sft.md)",
        json_schema_extra=one_or_more,
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A target's name, or the settings."""
        whole = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"enum": list(TARGETS.names())}, {"type": "string", "pattern": ":"}, whole]}

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        value = {"target": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("target"), str):
            return value
        target = value["target"]
        if isinstance(value.get("then"), str | dict):
            value = {**value, "then": [value["then"]]}
        known = is_external(target) or target in TARGETS.names()
        return {**value, "name": value.get("name") or (target.rpartition(":")[2].lower() if known else "")}

    @property
    def after(self) -> dict[str, ThenSettings]:
        """{student: the training that makes it of this one, after SFT}."""
        return {f"{self.name}_{then.name}": then for then in self.then}

    @model_validator(mode="after")
    def _reasons(self) -> StudentSettings:
        silent = self.then and (pair_target(self.target) or "think" not in writing_target(self.target).modes)
        if silent:
            raise ValueError(
                f"{self.name} answers without reasoning, so it has no answers to learn from: leave then out, or set "
                "target: think"
            )
        return self

    @field_validator("target")
    @classmethod
    def _known(cls, target: str, info: ValidationInfo) -> str:
        return TARGETS.resolved(target, (info.context or {}).get("base"))

    @model_validator(mode="after")
    def _of_its_target(self) -> StudentSettings:
        """What is set here suits the target."""
        target = None if is_external(self.target) else pair_target(self.target)
        if target is None:
            if given := self.own():
                raise ValueError(f"{self.name}: {', '.join(given)}: only for students that write nothing, as encoder")
            return self
        if self.retriever is not None and self.target != "retriever":
            raise ValueError(f"{self.name}: retriever: only for target retriever")
        if self.target == "retriever" and self.labels is not None:
            raise ValueError(f"{self.name}: labels are of encoders; a retriever learns from verdicts, or from scores")
        if self.loss is not None and self.loss not in target.losses:
            raise ValueError(f"{self.name}: loss {self.loss!r} is none of {', '.join(target.losses)}")
        if self.target == "retriever":
            self._scores_and_loss()
        if self.labels is not None and self.scores is not None:
            raise ValueError(f"{self.name}: scores are labels; leave labels out, or scores")
        if self.shuffle_traces or self.time_of is not None:
            raise ValueError(f"{self.name}: shuffle_traces and time_of are for students that learn from reasoning")
        return self

    def _scores_and_loss(self) -> None:
        """A retriever learns from another student's scores by margin_mse alone, which learns from no labels."""
        if self.loss == "margin_mse" and self.scores is None:
            raise ValueError(
                f"{self.name}: loss margin_mse learns from a reranker's scores: set scores: {{from: STUDENT}}, or "
                "leave loss out"
            )
        if self.scores is not None and self.loss != "margin_mse":
            raise ValueError(
                f"{self.name}: a retriever learns from scores by loss: margin_mse; set it, or leave scores out"
            )
        given = self.retriever.model_fields_set if self.retriever is not None and self.scores is not None else set()
        if unused := sorted(given & {"negatives", "instruction_negatives", "cached"}):
            raise ValueError(f"{self.name}: retriever: {', '.join(unused)}: of infonce alone; not with margin_mse")

    @field_validator("training")
    @classmethod
    def _training(cls, training: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if training is None else checked_training(training)

    def own(self) -> dict[str, Any]:
        """What is set of the settings that only students that write nothing have."""
        return self.model_dump(mode="json", include=OF_PAIR_TARGETS, exclude_none=True)
