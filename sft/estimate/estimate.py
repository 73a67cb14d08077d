"""What a training would take, before anything is loaded: tokens, packing, memory by part, steps, FLOPs, hours, dollars.

It needs no weights, tokenizer, key or hub, and where there is no data it assumes lengths. Each figure that rests on an
assumption is marked `estimated`. Memory was derived from counted tensors (sft/estimate/training_memory.py), not
fitted to a GPU's peaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill.processes import cores
from distill.ray_cluster import nodes, on_cluster
from distill.tables import counted
from sft.estimate import training_memory
from sft.estimate.cpu import timed
from sft.estimate.lengths import SIMULATED, RowLengths, assumed, packed, padded
from sft.estimate.shapes import Device, Shape, device_of, encoder_shape, known_models, shape_of
from sft.placement import on_nodes
from sft.settings import SftSettings
from sft.student_settings import StudentSettings
from sft.targets import pair_target, target_of

# TRL's own defaults, where the configuration says nothing (trl 1.16).
TRL = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_train_epochs": 3.0, "max_steps": -1}


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is known of the pairs: how many, and their rows' lengths where there are texts; `basis` says whence."""

    pairs: int | None
    rows: dict[str, list[RowLengths]]
    basis: str

    @property
    def mean_prompt(self) -> float | None:
        """Tokens of a prompt in the mean over all students' rows; None where there are none."""
        prompts = [row.prompt for rows in self.rows.values() for row in rows]
        return sum(prompts) / len(prompts) if prompts else None


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """One student's training; None where it cannot be known. Bytes in GiB, `tokens` real ones of the whole training."""

    student: str
    examples: int | None
    rejected: int
    mean_tokens: float
    efficiency: float
    rows_a_step: int
    steps: int | None
    epochs: float | None
    tokens: float | None
    flop: float | None
    tokens_per_s: float | None
    hours: float | None
    usd: float | None
    memory: dict[str, float]

    @property
    def peak_gib(self) -> float:
        """The memory at the peak, in GiB."""
        return sum(self.memory.values())


def estimates(settings: SftSettings, data: TrainingData, shape: Shape, device: Device) -> list[TrainingEstimate]:
    """The estimate of every student; `shape` is that of `sft.base`."""
    return [
        estimate(*_of_student(settings, student), data, _shape(settings, student, shape), device)
        for student in settings.targets
    ]


def _of_student(settings: SftSettings, student: StudentSettings) -> tuple[SftSettings, StudentSettings]:
    """The settings by which a student is trained: its own where it writes nothing."""
    target = pair_target(student.target)
    if target is None:
        return settings, student
    training = {**target.training_of(student.base), "gradient_checkpointing": False, **(student.training or {})}
    own = {"base": student.base or "scratch", "training": training, "lora": None, "pack_length": None}
    return settings.model_copy(update=own), student


def _shape(settings: SftSettings, student: StudentSettings, of_base: Shape) -> Shape:
    """The shape of what a student starts from; of an encoder's base that is not here BERT-base's."""
    if pair_target(student.target) is None:
        return of_base
    return encoder_shape(student.base or "scratch", settings.scratch)


def side_by_side(settings: SftSettings, device: Device) -> int:
    """How many students train at a time on one device, as `sft.stage` has it: one on a GPU, as many as there are cores
    on a CPU, and on a cluster's CPUs their share of a node."""
    if on_cluster():
        there = [node for node in nodes() if node.cpus]
        share = math.ceil(on_nodes(settings, there).at_a_time / max(1, len(there)))
        return share if device.name == "cpu" else 1
    count = settings.parallel or (cores() if device.name == "cpu" else 1)
    return min(count, len(settings.targets))


def together(students: Sequence[TrainingEstimate], count: int) -> float:
    """GiB of the `count` largest students in training at the same time."""
    return sum(sorted((student.peak_gib for student in students), reverse=True)[:count])


def estimate(
    settings: SftSettings, student: StudentSettings, data: TrainingData, shape: Shape, device: Device
) -> TrainingEstimate:
    """The estimate of one student."""
    given = {**TRL, **settings.training}
    batch, accumulation = int(given["per_device_train_batch_size"]), int(given["gradient_accumulation_steps"])
    pairs = data.pairs if student.train_size is None or data.pairs is None else min(data.pairs, student.train_size)
    sample = data.rows.get(student.name) or assumed(
        min(pairs or SIMULATED, SIMULATED), student.target, settings.assume.prompt_tokens, settings.assume.trace_tokens
    )
    fits = [row for row in sample if row.whole <= settings.max_length]
    factor = len(target_of(student.target).rows_with_reasoning())
    share = len(fits) / max(1, len(sample))
    examples = None if pairs is None else round(pairs * factor * share)
    real = sum(row.whole for row in fits)
    mean = real / max(1, len(fits))
    packing = bool(given.get("packing"))
    if packing:
        limit = settings.pack_length or settings.max_length
        filled = packed([row.whole for row in fits], limit)
        efficiency = real / max(1, len(filled) * limit)
        rows_per_example = len(filled) / max(1, len(fits))
        longest = limit
        tokens_at_once = batch * limit
    else:
        efficiency = real / max(1, padded(fits, batch * accumulation, settings.order_by))
        rows_per_example = 1.0
        longest = max((row.whole for row in fits), default=0)
        tokens_at_once = batch * longest
    a_step = batch * accumulation * devices_of(settings)
    rows = None if examples is None else math.ceil(examples * rows_per_example)
    steps = _steps(given, rows, a_step)
    epochs = None if steps is None or not rows else steps * a_step / rows
    tokens = None if steps is None else steps * a_step / rows_per_example * mean
    scored = sum(row.completion for row in fits) / max(1, real)
    checkpointing = bool(
        given.get("activation_checkpointing", given.get("gradient_checkpointing", device.name != "cpu"))
    )  # TRL's default on a GPU
    kind: training_memory.Kind = "lora" if settings.lora else "full"
    attended = mean if packing else longest
    per_token = shape.flop_per_token(attended, scored, kind, checkpointing)
    flop = None if tokens is None else tokens * per_token
    reached = device.tflops * 1e12 * (settings.assume.utilisation or device.utilisation)
    speed = reached * devices_of(settings) / per_token * (1.0 if packing else efficiency)
    hours = tokens / speed / 3600 if tokens is not None and speed else None
    price = settings.assume.usd_per_hour if settings.assume.usd_per_hour is not None else device.usd_per_hour
    plan = training_memory.TrainingPlan(
        shape=shape,
        kind=kind,
        r=settings.lora.r if settings.lora else 0,
        tags_added=settings.think_tokens == "added",
        four_bit=bool(settings.lora and settings.lora.bits),
        tokens=tokens_at_once,
        row=longest if not packing else batch * longest,
        scored=scored,
        checkpointing=checkpointing,
        packed=packing,
        shards=devices_of(settings) if settings.ray is not None and settings.ray.shard else 1,
        gpu=device.name != "cpu",
    )
    return TrainingEstimate(
        student=student.name,
        examples=examples,
        rejected=0 if pairs is None else round(pairs * factor * (1 - share)),
        mean_tokens=mean,
        efficiency=efficiency,
        rows_a_step=a_step,
        steps=steps,
        epochs=epochs,
        tokens=tokens,
        flop=flop,
        tokens_per_s=speed or None,
        hours=hours,
        usd=hours * price * devices_of(settings) if hours is not None else None,
        memory=training_memory.memory_by_part(plan),
    )


def devices_of(settings: SftSettings) -> int:
    """How many devices train one student."""
    return settings.assume.devices or (settings.ray.workers if settings.ray is not None else 1)


def _steps(given: dict[str, Any], rows: int | None, a_step: int) -> int | None:
    if int(given["max_steps"]) > 0:
        return int(given["max_steps"])
    return None if rows is None else math.ceil(rows / a_step * float(given["num_train_epochs"]))


def describe(settings: SftSettings, data: TrainingData) -> list[str]:
    """The estimates of every student as lines for a person."""
    shape = shape_of(settings.base, settings.scratch)
    device = timed(device_of(settings.assume.device), shape, settings.training.get("bf16"))
    several = f"{devices_of(settings)} x " if devices_of(settings) > 1 else ""
    lines = [f"on {several}{device.name} ({device.how}), {device.memory_gib:.0f} GiB each; rows: {data.basis}"]
    if shape is None:
        known = ", ".join(known_models())
        return [*lines, f"no estimate: the shape of {settings.base!r} is in no table here (known: {known})"]
    method = f"LoRA r {settings.lora.r}" if settings.lora else "every weight"
    millions = shape.parameters / 1e6
    size = f"{millions / 1e3:.3g} billion" if millions >= 100 else f"{millions:.2g} million"
    lines.append(f"{settings.base}: {size} parameters, training {method}")
    students = estimates(settings, data, shape, device)
    for student in students:
        texts = _lines(student, settings, device, student.student in data.rows)
        lines += [f"{student.student}: {text}" for text in texts]
    count = side_by_side(settings, device)
    if count > 1:
        total = together(students, count)
        remedy = "" if total <= device.memory_gib else "; set a lower sft.parallel"
        lines.append(
            f"{count} students train at a time: {total:.1f} GiB together (estimated), {_fits(total, device)}{remedy}"
        )
    return lines


def _lines(student: TrainingEstimate, settings: SftSettings, device: Device, measured: bool) -> list[str]:
    mark = "" if measured else " (estimated)"
    kind, unit = ("packing", "packed row") if settings.training.get("packing") else ("padding", "row")
    if student.examples is None:
        rows = "rows unknown: no data, and sft.assume.examples is not set"
    else:
        too_long = f", {student.rejected:,} rejected as too long" if student.rejected else ""
        rows = f"{counted(student.examples, 'row')}{too_long}{mark}"
    lines = [f"{rows}; {student.mean_tokens:,.0f} tokens in the mean{mark}; {kind} {student.efficiency:.1%} real"]
    if student.steps is not None:
        epochs = f", {student.epochs:.2f} epochs" if student.epochs is not None else ""
        tokens = f"{student.tokens or 0:,.0f} tokens (estimated)"
        rows_a_step = counted(student.rows_a_step, unit)
        lines.append(f"{counted(student.steps, 'step')} of {rows_a_step}{epochs}; {tokens}")
    if student.hours is not None and student.tokens_per_s and student.usd is not None:
        hours = student.hours
        lines.append(
            f"about {_time(hours)} at {student.tokens_per_s:,.0f} tokens/s "
            f"({settings.assume.utilisation or device.utilisation:.0%} of peak), "
            f"{student.usd:,.2f} USD (estimated){_rent(settings, device)}"
        )
    total = student.peak_gib
    parts = ", ".join(f"{part} {gib:.1f}" for part, gib in student.memory.items() if gib >= 0.05)
    lines.append(f"{total:.1f} GiB at the peak (estimated: {parts}), {_fits(total, device)}")
    return lines if total <= device.memory_gib else [*lines, _remedy(student.memory, settings)]


def _time(hours: float) -> str:
    if hours < 1.5 / 60:
        return "a minute"
    return counted(round(hours * 60), "minute") if hours < 2 else f"{hours:.1f} hours"


def _fits(gib: float, device: Device) -> str:
    return f"{'fits' if gib <= device.memory_gib else 'DOES NOT FIT'} in {device.memory_gib:.0f} GiB"


def _rent(settings: SftSettings, device: Device) -> str:
    """What the price rests on, where nobody gave it."""
    if settings.assume.usd_per_hour is not None or not device.usd_per_hour:
        return ""
    return f", by a rough rent of {device.usd_per_hour:g} USD an hour and device as of November 2026"


def _remedy(memory: dict[str, float], settings: SftSettings) -> str:
    worst = max(memory, key=lambda part: memory[part])
    if worst in ("activations", "logits"):
        return "most of it is activations: set sft.training.gradient_checkpointing: true, or a smaller batch a device"
    if settings.lora is None:
        return "most of it is weights and their optimiser: sft.lora: {r: 32, alpha: 64} trains a hundredth of them"
    return "most of it is weights: sft.lora.bits: 4 (QLoRA), a larger device, or a smaller base"


def assumed_data(settings: SftSettings, pairs: int | None, basis: str) -> TrainingData:
    """Data of which no row is there yet: `pairs` of them where that is known, else what sft.assume says."""
    count = pairs if pairs is not None else settings.assume.examples
    return TrainingData(count, {}, f"{basis}, lengths assumed (estimated)")


def known_data(rows: dict[str, list[RowLengths]], pairs: int, basis: str) -> TrainingData:
    """Data whose texts are there: each student's rows, by their characters."""
    return TrainingData(pairs, rows, f"{basis}, tokens by characters (estimated)")
