"""How fast this machine's CPU is, timed: processors of one price differ by ten times. Used by the dry run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from distill.processes import cores
from distill.ray_cluster import on_cluster
from distill.weights import LAYER_FLOP, WIDE, layer_seconds
from sft.estimate.shapes import Device, Shape

# Of the timed layer's FLOP/s, in a training with LoRA: Qwen2.5 1.5B reached 0.56 (0.7 while it was alone on its core),
# 0.5B from 0.55 to 0.8.
UTILISATION = 0.55


def timed(device: Device, shape: Shape | None, bf16: bool | None) -> Device:
    """A CPU with the FLOP/s that its cores reach in a layer together; other devices as they are.

    `bf16` None: in the faster type, which is taken where nothing is said. A model too narrow to keep a CPU busy keeps
    the table's figure, and so does a cluster's CPU, which is another machine's.
    """
    if device.name != "cpu" or shape is None or shape.hidden < WIDE or on_cluster():
        return device
    tflops = LAYER_FLOP / _seconds(bf16) * cores() / 1e12
    how = f"{device.how}; timed, {1000 * tflops:.0f} GFLOP/s"
    return replace(device, tflops=tflops, how=how, utilisation=UTILISATION)


@cache
def _seconds(bf16: bool | None) -> float:
    import torch

    types = [torch.bfloat16, torch.float32] if bf16 is None else [torch.bfloat16 if bf16 else torch.float32]
    return min(map(layer_seconds, types))
