"""What a configuration may say under `sft`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Settings
from distill.plugins import is_external
from distill.prompts import PROMPT_NAME, PROMPTS
from sft.scratch import ScratchSettings
from sft.student_settings import LoraSettings, StudentSettings
from sft.targets import writing_target
from sft.trainer_settings import checked_training


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
        None, gt=0, description="mean, where there are no texts; default: the histogram in sft/estimate/lengths.json"
    )
    trace_tokens: float | None = Field(None, gt=0, description="mean, where there are no traces; default: 270, Rank1's")
    utilisation: float | None = Field(
        None, gt=0, le=1, description="share of the device's peak, recomputation counted; default: 0.45, a CPU 0.55"
    )

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
                if source is None or source.scores is not None or source.target == "retriever":
                    raise ValueError(
                        f"{student.name}: scores from {student.scores.student!r}: name a reranker of this list without "
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

    @model_validator(mode="after")
    def _dev_of_retrievers(self) -> SftSettings:
        """A similarity has no threshold, so a retriever has no accuracy."""
        if self.dev is not None and self.dev.best_by == "accuracy":
            for student in self.targets:
                if student.target == "retriever":
                    raise ValueError(f"dev.best_by: accuracy: {student.name} gives no verdicts; set auc or ndcg")
        return self

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
