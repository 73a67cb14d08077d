"""What a training after SFT would take: tokens written, minutes, memory. Used by the dry run.

From the shape of the model and the lengths that SFT's estimate goes by; every figure is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sft.after.settings import ThenSettings
from sft.estimate import training_memory
from sft.estimate.estimate import TrainingEstimate
from sft.estimate.shapes import Device, Shape, shape_of
from sft.settings import SftSettings

WRITING = 0.05  # share of the device's peak FLOP/s while answers are written, as the dry run has it of evaluation
STEP_S = {"cpu": 0.3}  # a step's own time, added to the FLOP, where the model is small
SAMPLES = 4  # answers a pair that `select: disagree` writes first
GIB = 2**30


@dataclass(frozen=True, slots=True)
class AfterEstimate:
    """One student's training after SFT. `generated` are tokens, `rewards` of grpo, `gib` the memory at the peak."""

    student: str
    method: str
    rewards: dict[str, float]
    steps: int
    generated: float
    hours: float | None
    gib: float


def after_estimates(
    settings: SftSettings, sft: list[TrainingEstimate], shape: Shape, device: Device, lengths: tuple[float, float]
) -> list[AfterEstimate]:
    """The estimate of every student that comes after SFT; `lengths` are a prompt's and a trace's mean tokens."""
    of_sft = {estimate.student: estimate for estimate in sft}
    return [
        _estimate(name, then, of_sft[student.name], settings, shape, device, lengths)
        for student in settings.targets
        for name, then in student.after.items()
    ]


def _estimate(
    name: str,
    then: ThenSettings,
    sft: TrainingEstimate,
    settings: SftSettings,
    shape: Shape,
    device: Device,
    lengths: tuple[float, float],
) -> AfterEstimate:
    prompt, trace = lengths
    answers = then.steps * then.answers
    generated = answers * trace
    if then.select == "disagree" and (sft.examples is not None or then.pairs == "labelled"):
        there = math.inf if then.pairs == "labelled" else sft.examples or 0
        generated += min(there, then.steps * then.prompts * 2) * SAMPLES * trace
    reference = then.method != "grpo" or then.beta > 0  # another model reads the answers, or the SFT student again
    teachers = 2 if reference else 1  # forward passes without a gradient; the first gives P(true)
    passes = 3 + teachers
    hours = None
    if device.tflops:
        flop = 2.0 * shape.parameters
        reached = device.tflops * 1e12 * (settings.assume.utilisation or device.utilisation)
        reading = flop * answers * (prompt + trace) * passes / reached
        writing = flop * generated / (device.tflops * 1e12 * WRITING)
        hours = (reading + writing + then.steps * STEP_S.get(device.name, 0.0)) / 3600
    gib = _memory(then, settings, shape, device.name != "cpu", lengths) + _other_model(then, settings, shape, device)
    rewards = then.reward if then.method == "grpo" else {}
    return AfterEstimate(name, then.method, rewards, then.steps, generated, hours, gib)


def _memory(then: ThenSettings, settings: SftSettings, shape: Shape, gpu: bool, lengths: tuple[float, float]) -> float:
    """GiB of a step of the student itself: `then.batch` answers with their prompts, and the logits of the answers."""
    prompt, trace = lengths
    batch = then.batch or then.answers
    plan = training_memory.TrainingPlan(
        shape=shape,
        kind="lora" if settings.lora else "full",
        r=settings.lora.r if settings.lora else 0,
        tags_added=False,
        four_bit=bool(settings.lora and settings.lora.bits),
        tokens=round(batch * (prompt + trace)),
        row=round(prompt + trace),
        scored=trace / (prompt + trace),
        checkpointing=gpu,  # TRL's default there
        packed=False,
        gpu=gpu,
    )
    # No fused head here: grpo has the answers' logits and their gradient, the others the teaching side's as well.
    tensors = (2 if then.method == "grpo" else 4) if gpu else (0 if then.method == "grpo" else 1)
    logits = tensors * 4.0 * shape.vocab * batch * trace
    return sum(training_memory.memory_by_part(plan).values()) + logits / GIB


def _other_model(then: ThenSettings, settings: SftSettings, shape: Shape, device: Device) -> float:
    """GiB of the weights that read the answers with the student's: the teacher of `on_policy`, in the student's type;
    the SFT student as it was, which LoRA has by switching the adapter off."""
    if then.method == "on_policy":
        teacher = shape_of(str(then.teacher), settings.scratch) or shape
        return (2.0 if settings.lora and device.name != "cpu" else 4.0) * teacher.parameters / GIB
    if settings.lora is None and (then.beta > 0 or (then.method == "self_distil" and then.self_teacher == "base")):
        return 4.0 * shape.parameters / GIB
    return 0.0
