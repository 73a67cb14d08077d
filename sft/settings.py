"""What a configuration may say under `sft`."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from distill.config import Settings
from distill.plugins import is_external
from distill.prompts import PROMPT_NAME, PROMPTS
from sft.after.settings import ThenSettings, one_or_more
from sft.scratch import ScratchSettings
from sft.targets import TARGETS, pair_target, writing_target
from sft.trl_fields import TRL_FIELDS

# Set by this package for every student alike; a configuration names them elsewhere or not at all.
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
    "eval_strategy": "sft.dev says what is measured during training, and how often",
    "eval_steps": "set sft.dev.every",
    "load_best_model_at_end": "with sft.dev the best checkpoint is always the student",
    "metric_for_best_model": "set sft.dev.best_by",
    "fsdp": "set sft.ray.shard",
    "remove_unused_columns": "the rows are made here",
}

OF_PAIR_TARGETS = {
    "base",
    "loss",
    "labels",
    "scores",
    "training",
    "retriever",
}  # of StudentSettings: for students that write nothing
_CHECKS: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}


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


class AssumeSettings(Settings):
    """What `--dry-run` takes for granted where it cannot look; training reads none of it."""

    device: str | None = Field(
        None, description="a name of sft/estimate/shapes.json, such as H100-80GB; default: what is found"
    )
    devices: int | None = Field(None, ge=1, description="how many train one student; default: ray.workers, else 1")
    usd_per_hour: float | None = Field(None, ge=0, description="rent of one device; default: a rough price")
    examples: int | None = Field(
        None, ge=1, description="pairs to train on, where there is no data yet; default: none can be counted"
    )
    prompt_tokens: float | None = Field(
        None, gt=0, description="mean; default: the histogram in sft/estimate/lengths.json"
    )
    trace_tokens: float | None = Field(None, gt=0, description="mean; default: 270, Rank1's")
    utilisation: float = Field(0.45, gt=0, le=1, description="share of the device's peak, recomputation counted")

    @field_validator("device")
    @classmethod
    def _known_device(cls, name: str | None) -> str | None:
        from sft.estimate.shapes import known_devices

        if name is not None and name not in known_devices():
            raise ValueError(f"{name!r} is not in the table; known: {', '.join(known_devices())}")
        return name


class DevSettings(Settings):
    """Pairs of whole queries that are kept out of training and judged during it; the best checkpoint is the student.

    A think student reasons for every pair that it judges, so that is what `score` and `every` are weighed against.
    """

    pairs: int = Field(200, ge=8, description="held out, in whole queries, of those that were kept")
    score: int | None = Field(None, ge=8, description="of these, how many are judged each time; default: all")
    every: float = Field(0.1, gt=0, le=1, description="share of the steps between two looks")
    best_by: Literal["auc", "ndcg", "accuracy"] = Field(
        "auc", description="the measure by which the best checkpoint is chosen"
    )
    max_new_tokens: int = Field(512, ge=1, description="bound on the reasoning; longer is closed by force")
    batch: int = Field(32, ge=1, description="rows that go through the model together")


class RaySettings(Settings):
    """Train each student on several workers of Ray Train; without it training needs no Ray."""

    workers: int = Field(2, ge=1, description="processes that train one student together")
    gpus_per_worker: float | None = Field(None, ge=0, description="default: 1 where there are GPUs")
    cpus_per_worker: float = Field(1, gt=0, description="CPU cores that Ray sets aside for a worker")
    shard: bool = Field(False, description="FSDP2: weights and optimiser split over the workers; else DDP, each whole")
    failures: int = Field(3, ge=0, description="how often lost workers are replaced; they go on from a checkpoint")


class WeightSettings(Settings):
    """Weights of a row's loss by its verdict and, in `mixed`, by its kind; over the dataset their mean is brought to
    1, so the rate stays."""

    relevant: float = Field(1.0, ge=0, description="of rows whose verdict is relevant")
    not_relevant: float = Field(1.0, ge=0, description="of rows whose verdict is not relevant")
    direct: float = Field(1.0, gt=0, description="of mixed's direct rows, against its think rows")


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
        "infonce of a retriever (docs/encoders.md); default: bce, infonce",
    )
    labels: Literal["verdict", "grade", "share"] | None = Field(
        None,
        description="of an encoder: verdict (1 or 0), grade (over the highest), or share, that of the pair's answers "
        "that said relevant (teacher.samples); default: verdict",
    )
    scores: ScoresSettings | None = Field(
        None, description="of an encoder: labels are another student's log-odds; default: labels"
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
        if self.target == "retriever" and (self.labels is not None or self.scores is not None):
            raise ValueError(f"{self.name}: labels and scores are of encoders; a retriever learns from verdicts")
        if self.loss is not None and self.loss not in target.losses:
            raise ValueError(f"{self.name}: loss {self.loss!r} is none of {', '.join(target.losses)}")
        if self.labels is not None and self.scores is not None:
            raise ValueError(f"{self.name}: scores are labels; leave labels out, or scores")
        if self.shuffle_traces or self.time_of is not None:
            raise ValueError(f"{self.name}: shuffle_traces and time_of are for students that learn from reasoning")
        return self

    @field_validator("training")
    @classmethod
    def _training(cls, training: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if training is None else checked_training(training)

    def own(self) -> dict[str, Any]:
        """What is set of the settings that only students that write nothing have."""
        return self.model_dump(mode="json", include=OF_PAIR_TARGETS, exclude_none=True)


class SftSettings(Settings):
    """Which students are trained, from what, and how."""

    base: str = Field(
        "scratch",
        description="a hub name, a local folder, a GGUF file, or 'scratch': a small model of random weights",
    )
    revision: str | None = Field(None, description="of a hub's base: a branch, tag or commit; default: its main branch")
    scratch: ScratchSettings = Field(ScratchSettings(), description="the shape of the model with base: scratch")
    targets: list[StudentSettings] = Field(
        [StudentSettings(target="think")],
        min_length=1,
        description="the students, each by its target's name or by its settings",
    )
    lora: LoraSettings | None = Field(
        None, description="train adapters and merge them; default: all weights are trained"
    )
    think_tokens: Literal["added", "text"] = Field(
        "added", description="<think> and </think> as added tokens, as Rank1 has them, or as plain text"
    )
    max_length: int = Field(2500, ge=16, description="prompt and completion in tokens; longer is rejected, never cut")
    pack_length: int | None = Field(
        None, ge=16, description="with training.packing: tokens of a packed row; default: max_length"
    )
    order_by: Literal["trace", "prompt"] = Field(
        "trace",
        description="rows of one batch are alike in the length of prompt and trace, or of the prompt alone, the same "
        "for every target but mixed. By trace, 97 % of positions are real where traces differ (docs/speed.md)",
    )
    optimizer: Literal["trl", "muon"] = Field(
        "trl", description="trl: what training.optim says; muon: Muon for the layers' matrices, for small models"
    )
    seed: int | None = Field(None, description="of training; default: the run's")
    prompt: str = Field(PROMPT_NAME, description="set by the run's own `prompt`")
    parallel: int | None = Field(
        None, ge=1, description="students trained at the same time; default: cores on a CPU, 1 else"
    )
    training: dict[str, Any] = Field(
        default_factory=dict,
        description="learning_rate, max_steps, per_device_train_batch_size and others, by TRL's names (SFTConfig)",
    )
    weights: WeightSettings = Field(WeightSettings(), description="of the rows in the loss")
    dev: DevSettings | None = Field(
        None,
        description="hold pairs out of training and keep the best checkpoint by them; default: the last one is kept",
    )
    ray: RaySettings | None = Field(
        None, description="train each student on several workers of Ray Train; default: in one process"
    )
    assume: AssumeSettings = Field(
        AssumeSettings(), description="what --dry-run takes for granted where it cannot look"
    )

    @field_validator("targets")
    @classmethod
    def _targets(cls, students: list[StudentSettings]) -> list[StudentSettings]:
        later = [f"{student.name}_{then.name}" for student in students for then in student.then]
        names = [*(student.name for student in students), *later]
        for name in names:
            if name in ("dev", "untrained"):
                raise ValueError(f"a student cannot be named {name!r}: its folder has another use")
            if names.count(name) > 1:
                raise ValueError(f"two students are named {name!r}; give one a name of its own")
        for student in students:
            if student.scores is not None:
                source = next((other for other in students if other.name == student.scores.student), None)
                if source is None or source.scores is not None:
                    raise ValueError(
                        f"{student.name}: scores from {student.scores.student!r}: name a student of this list without "
                        "scores of its own"
                    )
            if student.time_of is not None and (student.time_of not in names or student.target not in names):
                raise ValueError(
                    f"{student.name} has time_of: {student.time_of}, which needs students named "
                    f"{student.time_of!r} and {student.target!r} in the same list"
                )
            if student.time_of is not None and student.name in (student.time_of, student.target):
                raise ValueError(f"{student.name} has time_of, so it needs a name of its own")
        return students

    @property
    def students(self) -> list[StudentSettings]:
        """The students of `targets`, and after them those that come of each by `then`."""
        later = (
            student.model_copy(update={"name": name, "then": []}) for student in self.targets for name in student.after
        )
        return [*self.targets, *later]

    @property
    def rewards(self) -> list[str]:
        """The names of all rewards of trainings after SFT."""
        return [name for student in self.targets for then in student.then for name in then.reward]

    @model_validator(mode="after")
    def _own_targets(self) -> SftSettings:
        """What a target of one's own writes is looked at before anything is paid for."""
        for name in {student.target for student in self.targets if is_external(student.target)}:
            for grade in range(len(PROMPTS[self.prompt].verdicts) if self.prompt in PROMPTS else 0):
                writing_target(name).try_out(grade, self.prompt)
        return self

    @field_validator("training")
    @classmethod
    def _training(cls, training: dict[str, Any]) -> dict[str, Any]:
        return checked_training(training)

    @model_validator(mode="after")
    def _possible(self) -> SftSettings:
        if self.base == "scratch" and (refused := self._not_of_scratch()):
            raise ValueError(f"{'; '.join(refused)}: leave {' and '.join(refused.values())} out")
        if self.optimizer == "muon" and self.lora is not None:
            raise ValueError("optimizer muon is for full training from scratch; leave it out, or lora")
        if self.pack_length is not None and not self.training.get("packing"):
            raise ValueError("pack_length is for packed rows; set training.packing: true, or leave it out")
        if self.pack_length is not None and self.pack_length < self.max_length:
            raise ValueError(
                f"pack_length {self.pack_length} is below max_length {self.max_length}: rows would not fit"
            )
        if self.optimizer == "muon" and self.ray is not None and self.ray.shard:
            raise ValueError("optimizer muon needs whole matrices; leave it out, or ray.shard")
        if self.ray is not None and any(student.then for student in self.targets):
            raise ValueError("what then says trains in one process; leave sft.ray out, or then")
        if self.weights.relevant + self.weights.not_relevant == 0:
            raise ValueError("weights are all 0: nothing would be trained")
        return self

    def _not_of_scratch(self) -> dict[str, str]:
        """{why: key} of the keys that are set and have no sense with `base: scratch`."""
        why = {}
        if self.lora is not None:
            why["lora adapts a trained base, and base: scratch is none"] = "lora"
        if self.think_tokens == "text":
            why["base: scratch makes its own tokenizer, with added tokens"] = "think_tokens"
        return why


def checked_training(training: dict[str, Any]) -> dict[str, Any]:
    """The settings of a trainer, typed. Raises ValueError for an unknown name, and one that is set elsewhere."""
    checked = {}
    for name, value in training.items():
        if name in OWN:
            raise ValueError(f"{name} cannot be set here: {OWN[name]}")
        if name not in TRL_FIELDS:
            near = difflib.get_close_matches(name, TRL_FIELDS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "see the TRL documentation"
            raise ValueError(f"{name} is not a name of TRL's SFTConfig; {hint}")
        checked[name] = _typed(name, TRL_FIELDS[name], value)
    return checked


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
