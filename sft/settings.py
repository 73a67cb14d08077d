"""What a configuration may say under `sft`."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Settings
from distill.prompts import TARGETS
from sft.scratch import ScratchSettings
from sft.trl_fields import TRL_FIELDS

# Set by this room for every student alike; a configuration names them elsewhere or not at all.
OWN = {
    "output_dir": "the run folder decides it",
    "max_length": "set sft.max_length",
    "seed": "set the run's seed, or sft.seed",
    "data_seed": "set the run's seed, or sft.seed",
    "completion_only_loss": "the loss is always on the completion only",
    "assistant_only_loss": "the loss is always on the completion only",
    "packing_strategy": "only 'bfd' keeps documents apart; it is always used with packing: true",
    "truncation_mode": "nothing is ever truncated",
    "dataset_text_field": "the rows are made here",
    "eval_strategy": "there is no second loop during training yet",
    "remove_unused_columns": "the rows are made here",
}

_CHECKS: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}


class LoraSettings(Settings):
    """LoRA as Rank1 sets it (arXiv 2502.18418): r 32, alpha 64, every linear layer."""

    r: int = Field(32, ge=1)
    alpha: int = Field(64, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"
    dora: bool = False


class StudentSettings(Settings):
    """One student, where more than its target is to be said; a plain target name is short for `{target: NAME}`."""

    target: str
    name: str = Field("", pattern=r"^[a-z0-9_]*$", description="its folder and its name in the report")
    train_size: int | None = Field(None, ge=1, description="at most so many pairs, drawn with the seed")
    shuffle_traces: bool = Field(False, description="a control: each pair gets another pair's trace of equal verdict")
    time_of: str | None = Field(
        None, description="train as long as that student did: the steps of the plain student of this target, scaled"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"target": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> StudentSettings:
        if self.target not in TARGETS:
            near = difflib.get_close_matches(self.target, TARGETS, n=1)
            raise ValueError(f"{self.target!r} is not a target; {_hint(near, TARGETS)}")
        if not self.name:
            object.__setattr__(self, "name", self.target)
        return self


class SftSettings(Settings):
    """Which students are trained, from what, and how."""

    base: str = Field("scratch", description="a hub name, a local folder, or 'scratch' for a small model from nothing")
    revision: str | None = None
    scratch: ScratchSettings = ScratchSettings()
    targets: list[StudentSettings] = Field([StudentSettings(target="think")], min_length=1)
    lora: LoraSettings | None = None
    think_tokens: Literal["added", "text"] = Field(
        "added", description="<think> and </think> as added tokens, as Rank1 has them, or as plain text"
    )
    max_length: int = Field(2500, ge=16, description="prompt and completion in tokens; longer is rejected, never cut")
    optimizer: Literal["trl", "muon"] = Field(
        "trl", description="trl: what training.optim says; muon: Muon for the layers' matrices, for small models"
    )
    seed: int | None = None
    parallel: int | None = Field(
        None, ge=1, description="students trained side by side; default: cores on a CPU, 1 else"
    )
    training: dict[str, Any] = Field(default_factory=dict, description="TRL's own SFTConfig names")

    @field_validator("targets")
    @classmethod
    def _targets(cls, students: list[StudentSettings]) -> list[StudentSettings]:
        names = [student.name for student in students]
        for student in students:
            if names.count(student.name) > 1:
                raise ValueError(f"two students are named {student.name!r}; give one a name of its own")
            if student.time_of is not None and (student.time_of not in names or student.target not in names):
                raise ValueError(
                    f"{student.name} has time_of: {student.time_of}, which needs students named "
                    f"{student.time_of!r} and {student.target!r} in the same list"
                )
            if student.time_of is not None and student.name in (student.time_of, student.target):
                raise ValueError(f"{student.name} has time_of, so it needs a name of its own")
        return students

    @field_validator("training")
    @classmethod
    def _training(cls, training: dict[str, Any]) -> dict[str, Any]:
        checked = {}
        for name, value in training.items():
            if name in OWN:
                raise ValueError(f"{name} cannot be set here: {OWN[name]}")
            if name not in TRL_FIELDS:
                near = difflib.get_close_matches(name, TRL_FIELDS, n=1, cutoff=0.5)
                raise ValueError(f"{name} is not a name of TRL's SFTConfig; {_hint(near, ())}")
            checked[name] = _typed(name, TRL_FIELDS[name], value)
        return checked

    @model_validator(mode="after")
    def _possible(self) -> SftSettings:
        if self.base == "scratch" and self.lora is not None:
            raise ValueError("lora adapts a trained base; with base: scratch there is none, so leave lora out")
        if self.optimizer == "muon" and self.lora is not None:
            raise ValueError("optimizer muon is for full training from nothing; leave it out, or lora")
        if self.base == "scratch" and self.think_tokens == "text":
            raise ValueError("base: scratch makes its own tokenizer, with added tokens; leave think_tokens out")
        return self


def _hint(near: list[str], known: tuple[str, ...]) -> str:
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(known)}" if known else "see the TRL documentation"


def _typed(name: str, kind: str, value: Any) -> Any:
    if value is None or kind == "any":
        return value
    if kind == "float" and isinstance(value, str):  # YAML reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{name} is a number (got {value!r})") from None
    if not isinstance(value, _CHECKS[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise ValueError(f"{name} is of type {kind} (got {value!r})")
    return value
