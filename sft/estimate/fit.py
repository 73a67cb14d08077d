"""The nearest settings that fit a device where the given ones do not, for the dry run."""

from __future__ import annotations

from sft.estimate.estimate import TrainingData, estimates, side_by_side, together
from sft.estimate.shapes import Device, Shape, device_of, known_devices
from sft.settings import SftSettings


def fits(settings: SftSettings, data: TrainingData, shape: Shape, device: Device) -> bool:
    """Whether the students that train at the same time fit in the device's memory (estimated)."""
    count = side_by_side(settings, device)
    return together(estimates(settings, data, shape, device), count) <= device.memory_gib


def nearest_fit(settings: SftSettings, data: TrainingData, shape: Shape, device: Device) -> str:
    """Overrides that make it fit, fewest first; else the smallest device of the table that does; else a smaller base.

    What is tried: one student at a time, activation checkpointing, a smaller batch (its steps are as large), LoRA, and
    on a GPU a base in 4 bits.
    """
    changes = _changes(settings, device)
    for count in range(1, len(changes) + 1):
        alone = [[change] for change in changes] if count == 1 else [changes[:count]]
        for chosen in alone:
            changed = settings
            for _, update in chosen:
                changed = _with(changed, update)
            if fits(changed, data, shape, device):
                return "fits with " + " ".join(text for text, _ in chosen)
    larger = sorted((device_of(name) for name in known_devices()), key=lambda one: one.memory_gib)
    enough = next((one for one in larger if one.name != "cpu" and fits(settings, data, shape, one)), None)
    if enough is not None:
        return f"fits a {enough.name} ({enough.memory_gib:.0f} GiB); here only a smaller sft.base does"
    return "fits no device of the table; take a smaller sft.base"


Update = dict[str, object]


def _changes(settings: SftSettings, device: Device) -> list[tuple[str, Update]]:
    """(override as it is typed, fields of `SftSettings`) in the order in which they change a result least."""
    training = settings.training
    changes: list[tuple[str, Update]] = []
    if side_by_side(settings, device) > 1:
        changes.append(("sft.parallel=1", {"parallel": 1}))
    if not training.get("gradient_checkpointing", device.name != "cpu"):
        key = "gradient_checkpointing"
        changes.append((f"sft.training.{key}=true", {"training": {key: True}}))
    batch = int(training.get("per_device_train_batch_size", 8))
    if batch > 1:
        steps = batch * int(training.get("gradient_accumulation_steps", 1))
        values = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": steps}
        changes.append((" ".join(f"sft.training.{name}={value}" for name, value in values.items()),
                        {"training": values}))  # fmt: skip
    if settings.lora is None and settings.base != "scratch":
        changes.append(("sft.lora={r: 32, alpha: 64}", {"lora": {"r": 32, "alpha": 64}}))
    if device.name != "cpu" and settings.base != "scratch" and not (settings.lora and settings.lora.bits):
        changes.append(("sft.lora.bits=4", {"lora": {"bits": 4}}))
    return changes


def _with(settings: SftSettings, update: Update) -> SftSettings:
    values = settings.model_dump()
    for key, value in update.items():
        values[key] = {**(values[key] or {}), **value} if isinstance(value, dict) else value
    return SftSettings(**values)
