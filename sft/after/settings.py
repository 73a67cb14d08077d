"""What a configuration may say under `then` of a student: the training that follows SFT. Used by `sft.settings`."""

from __future__ import annotations

import inspect
import math
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from distill import rewards
from distill.config import Settings, resolve_path
from distill.plugins import is_external, load_function
from sft.after.privileged import TEMPLATES

GENERATIONS = {"self_distil": 1, "on_policy": 1, "grpo": 8}  # answers to a prompt in one step, where nothing is said
ONLY = {  # what only one method reads
    "reward": "grpo", "length_budget": "grpo", "beta": "grpo", "privileged": "self_distil",
    "privileged_share": "self_distil", "self_teacher": "self_distil", "teacher": "on_policy",
}  # fmt: skip


def one_or_more(schema: JsonDict) -> None:
    """Let a JSON schema of a list accept one entry by itself, too."""
    schema["anyOf"] = [schema["items"], {"type": "array", "items": schema.pop("items")}]
    del schema["type"]


class ThenSettings(Settings):
    """A training on the student's own answers, after SFT; a plain method's name is short for `{method: NAME}`."""

    method: Literal["self_distil", "on_policy", "grpo"] = Field(
        "self_distil",
        description="self_distil: the student that also reads label and trace teaches the one that does not; "
        "on_policy: a larger model of the same vocabulary teaches; grpo: rewards",
    )
    name: str = Field("", pattern=r"^[a-z0-9_]*$", description="ends the new student's name; default: the method")
    steps: int = Field(100, ge=1, description="steps of the optimizer, each on new answers")
    prompts: int = Field(8, ge=1, description="pairs that are answered in a step")
    per_query: int = Field(4, ge=1, description="of these at most so many of one query, which come in one step")
    generations: int = Field(0, ge=0, description="answers to each prompt in a step; default: 8 for grpo, else 1")
    pairs: Literal["kept", "labelled"] = Field(
        "kept",
        description="kept: those that SFT learns from; labelled: beyond these every pair of the training split with a "
        "label, also without a kept trace or outside train_size",
    )
    batch: int | None = Field(
        None, ge=1, description="answers that go through the model together in training; default: all of a step"
    )
    select: Literal["random", "disagree"] = Field(
        "random",
        description="which pairs: any, or those on which samples of the SFT student disagree (4 answers a pair)",
    )
    learning_rate: float = Field(1e-6, gt=0, description="TRL's default; a small model of random weights needs 1e-4")
    temperature: float = Field(1.0, gt=0, description="of the answers")
    max_new_tokens: int | None = Field(
        None, ge=1, description="bound on an answer; default: the longest trace that SFT trained on"
    )
    reward: dict[str, float] = Field(
        {"verdict": 1.0, "brier": 1.0, "form": 0.1},
        min_length=1,
        description=f"for grpo, weights of {', '.join(rewards.BUILT_IN)}, or of one's own as FILE.py:function",
    )
    length_budget: int | None = Field(
        None, ge=1, description="tokens of an answer beyond which the reward `length` falls; default: SFT's mean"
    )
    beta: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="for grpo, weight of the KL divergence from the SFT student, which holds the new one near it; "
        "above 0 the report shows its curve, and without LoRA the SFT student's weights are in memory too",
    )
    privileged: Literal["label_and_trace", "trace", "label"] = Field(
        "label_and_trace", description="for self_distil, what the teaching side reads before the prompt"
    )
    privileged_share: float = Field(
        0.0, ge=0, le=1, description="share of the rows of SFT that read it as well, so that a small model learns to"
    )
    self_teacher: Literal["base", "live"] = Field(
        "base", description="for self_distil, the SFT student as it was, or the student as it is now"
    )
    teacher: str | None = Field(
        None,
        description="for on_policy, the folder of a model with the student's vocabulary; default: none, needed there",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A method's name, or the settings."""
        return {"anyOf": [{"enum": list(GENERATIONS)}, handler.resolve_ref_schema(handler(core))]}

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        value = {"method": value} if isinstance(value, str) else value
        if isinstance(value, dict) and isinstance(value.get("method", "self_distil"), str):
            method = value.get("method", "self_distil")
            given = {"name": value.get("name") or method}
            if not value.get("generations"):
                given["generations"] = GENERATIONS.get(method, 1)
            return {**value, **given}
        return value

    @field_validator("learning_rate", "beta", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        try:
            return float(value) if isinstance(value, str) else value  # YAML reads 1e-4 as text
        except ValueError:
            raise ValueError("is a number") from None

    @field_validator("reward")
    @classmethod
    def _reward(cls, reward: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        base = (info.context or {}).get("base")
        made = {}
        for name, weight in reward.items():
            if not math.isfinite(weight) or weight <= 0:
                raise ValueError(
                    f"the weight of {name} is {weight:g}, and has to be above 0: leave the reward out, or let one of "
                    "your own return numbers below 0"
                )
            if is_external(name):
                name = str(base / name) if base else name
                if base is not None:
                    load_function("reward", name)
            elif name not in rewards.BUILT_IN:
                raise ValueError(f"{name!r} is no reward; known: {', '.join(rewards.BUILT_IN)}, or FILE.py:function")
            made[name] = weight
        return made

    @field_validator("teacher")
    @classmethod
    def _teacher(cls, teacher: str | None, info: ValidationInfo) -> str | None:
        base = (info.context or {}).get("base")
        return resolve_path(base, teacher) if teacher and base else teacher

    @model_validator(mode="after")
    def _possible(self) -> ThenSettings:
        for key, method in ONLY.items():
            if self.method != method and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is read by method {method} alone; leave it out, or set method: {method}")
        if self.pairs == "labelled" and self.method == "self_distil" and self.privileged != "label":
            raise ValueError("pairs labelled have no trace to read: set privileged: label, or leave pairs out")
        if self.method == "on_policy" and self.teacher is None:
            raise ValueError("on_policy needs a teacher: the folder of a model with the student's vocabulary")
        if self.method == "on_policy" and self.generations != 1:
            raise ValueError("on_policy has one answer to a prompt in a step: leave generations out, or raise prompts")
        if self.method == "grpo" and self.generations < 2:
            raise ValueError("grpo compares a prompt's answers with one another: set generations to 2 or more")
        answers = self.prompts * self.generations
        if self.batch is not None and answers % self.batch:
            raise ValueError(f"batch {self.batch} does not divide a step's {answers} answers (prompts x generations)")
        return self

    @property
    def answers(self) -> int:
        """Answers that are written in a step."""
        return self.prompts * self.generations

    def decides(self) -> dict[str, Any]:
        """What decides which student comes out, for its fingerprint; the template by its text's hash. `pairs` is not
        among it: the tasks that it gives are."""
        values = self.model_dump(
            mode="json", exclude={"name", "batch", "pairs"} | {k for k, m in ONLY.items() if m != self.method}
        )
        if self.method == "grpo" and not self.beta:
            del values["beta"]  # a later key: students from before it stay as they are
        if self.method == "self_distil":
            values["privileged_hash"] = TEMPLATES[self.privileged].hash
        if self.method == "grpo":
            values["reward_source"] = {
                name: inspect.getsource(getattr(rewards, name)) for name in self.reward if name in rewards.BUILT_IN
            }
        return values
