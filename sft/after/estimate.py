"""What a training after SFT would take: tokens written, minutes, memory. Used by the dry run.

From the shape of the model and the lengths that SFT's estimate goes by; every figure is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sft.after.settings import ThenSettings
from sft.estimate.estimate import TrainingEstimate
from sft.estimate.shapes import Device, Shape
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
        reading = flop * answers * (prompt + trace) * passes / (device.tflops * 1e12 * settings.assume.utilisation)
        writing = flop * generated / (device.tflops * 1e12 * WRITING)
        hours = (reading + writing + then.steps * STEP_S.get(device.name, 0.0)) / 3600
    copies = 2 if reference and settings.lora is None else 1
    gib = sft.peak_gib + (copies - 1) * 4.0 * shape.parameters / GIB
    rewards = then.reward if then.method == "grpo" else {}
    return AfterEstimate(name, then.method, rewards, then.steps, generated, hours, gib)
