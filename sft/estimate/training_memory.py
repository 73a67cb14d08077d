"""The memory of one training step on one device, by part, from a model's shape.

Saved activations were counted tensor by tensor (torch.autograd.graph.saved_tensors_hooks) on Qwen2 layers of several
shapes under bf16 autocast with sdpa: bytes a token and layer are 24 h + 8 f + 4 kv + 14 r with LoRA on bf16 weights,
and 30 h + 8 f + 4 kv in full training of fp32 weights (h hidden or the heads' width, f feed-forward, kv the key and
value width, r the rank). `tests/sft/test_memory.py` counts them again. Not counted, only allowed for: the device's
context, the allocator's fragments, and workspaces of kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sft.estimate.shapes import Shape

GIB = 2**30
CONTEXT_GIB = 0.8  # CUDA's own, and what the libraries load
PROCESS_GIB = 1.2  # on a CPU: the libraries, their workspaces, and a heap that grows over the first steps
# What is recomputed lies between what is kept, and the heap keeps gaps: 2.9 to 4.3 GiB at the peak of one training of
# SmolLM2, by run and machine, where the sum without this is 3.0; 16.6 of Qwen2.5 1.5B's, where it is 15.8.
RECOMPUTING_GIB = 0.6  # on a CPU, with checkpointing
SLACK = 0.06  # of the sum: fragments and workspaces
# On a CPU activations are float32, twice the bytes. Its allocator (glibc's) keeps gaps between those of rows of
# different lengths, which are memory of the process too: with LoRA 1.8 bytes were resident for each that autograd kept
# (Qwen2.5 0.5B, SmolLM2), part of which is in PROCESS_GIB. In full training 1.2 were, and the count above is too much.
ON_CPU = {"lora": 2.6, "full": 1.7}
FOUR_BIT = 4.127 / 8  # bytes a weight of NF4 with double quantisation: 4 bits, and the blocks' constants

Kind = Literal["lora", "full"]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What decides the memory of a step. `tokens` go through a device together; `scored` of them have a target."""

    shape: Shape
    kind: Kind
    r: int
    tags_added: bool
    four_bit: bool
    tokens: int
    row: int  # tokens of the longest row: the dense mask of packed documents is row x row
    scored: float
    checkpointing: bool
    packed: bool
    shards: int = 1
    gpu: bool = True


def trainable(plan: TrainingPlan) -> int:
    """Parameters that the optimizer holds."""
    if plan.kind == "full":
        return plan.shape.parameters
    return plan.shape.lora(plan.r) + _embeddings(plan)


def _embeddings(plan: TrainingPlan) -> int:
    """Copies of the embedding (and the head, where it is another matrix), trained for the added tags' rows."""
    return plan.shape.embedding * (1 if plan.shape.tied else 2) if plan.tags_added else 0


def memory_by_part(plan: TrainingPlan) -> dict[str, float]:
    """GiB by part: weights, adapters, gradients, optimiser, activations, logits, other; their sum is the peak."""
    shape = plan.shape
    if plan.kind == "full":
        # fp32 weights under bf16 autocast: bf16 alone loses updates smaller than a 256th of a weight
        weights, adapters = 4.0 * shape.parameters / plan.shards, 0.0
        gradients, optimiser = weights, 2 * weights
        # Autocast keeps the bf16 copies for the whole step; split weights are gathered layer by layer.
        weights += 2.0 * shape.parameters if plan.gpu and plan.shards == 1 else 0.0
    else:
        if plan.four_bit:  # which stay whole on every worker (accelerate 1.15)
            weights = FOUR_BIT * shape.matrices + 2.0 * (shape.parameters - shape.matrices) / plan.shards
        else:
            weights = (2.0 if plan.gpu else 4.0) * shape.parameters / plan.shards
        copies = (2.0 if plan.gpu else 4.0) * _embeddings(plan) / plan.shards
        lora = 4.0 * shape.lora(plan.r) / plan.shards  # PEFT keeps them in fp32 over a bf16 base
        adapters = copies + lora
        optimiser = 2 * adapters
        # A tied embedding is used twice: the gradients of both uses and their sum are there for a moment, next to the
        # one of earlier batches. Of two matrices that are not tied only one new gradient is there at a time.
        gradients = adapters + copies * (3 if shape.tied else 0.5)
        if not plan.gpu:  # the base's own embedding stays in memory next to the longer one with the tags
            weights += 4.0 * _embeddings(plan)
    activations, logits = _activations(plan), _logits(plan)
    parts = {
        "weights": weights,
        "adapters": adapters,
        "gradients": gradients,
        "optimiser": optimiser,
        "activations": activations,
        "logits": logits,
    }
    parts = {name: value / GIB for name, value in parts.items()}
    process = PROCESS_GIB + RECOMPUTING_GIB * plan.checkpointing
    parts["other"] = (CONTEXT_GIB if plan.gpu else process) + SLACK * sum(parts.values())
    return parts


def layer_bytes(plan: TrainingPlan) -> float:
    """Bytes that one layer keeps for the backward pass, a token."""
    shape = plan.shape
    width = max(shape.hidden, shape.heads * shape.head_dim)
    rest = 8 * shape.ffn + 4 * shape.kv_heads * shape.head_dim
    return 24 * width + rest + 14 * plan.r if plan.kind == "lora" else 30 * width + rest


def _activations(plan: TrainingPlan) -> float:
    per_layer = layer_bytes(plan) * (1 if plan.gpu else ON_CPU[plan.kind])
    mask = 2.0 * plan.row * plan.row if plan.packed else 0.0
    if plan.checkpointing:  # each layer's input, and the one layer that is being recomputed
        inputs = (2 if plan.kind == "lora" and plan.gpu else 4) * plan.shape.hidden
        return plan.tokens * (plan.shape.layers * inputs + per_layer) + mask
    return plan.tokens * plan.shape.layers * per_layer + mask


def _logits(plan: TrainingPlan) -> float:
    """With Triton TRL's fused head works in tiles and keeps hidden states only; without it every target's logits."""
    hidden = 8.0 * plan.shape.hidden * plan.tokens
    if plan.gpu:
        return hidden + 4.0 * plan.shape.embedding * (plan.kind == "full")  # the head's gradient in fp32
    return hidden + 3 * 4.0 * plan.shape.vocab * plan.tokens * plan.scored
