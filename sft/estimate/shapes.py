"""Models by their shapes and devices by their data sheets: what an estimate needs, without weights or a hub."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from distill.ray_cluster import Node, nodes, on_cluster
from sft.scratch import ScratchSettings

UNGATED = ("bert", "roberta", "xlm-roberta", "electra", "mpnet")  # whose feed-forward layers are two maps


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of the Qwen2, Qwen3 or Llama family, or an encoder of BERT's; counts are parameters."""

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool

    @property
    def linears(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of a layer's linear maps: q, k, v, o, gate, up, down; BERT's have no gate."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        h, f = self.hidden, self.ffn
        if self.family in UNGATED:
            return [(h, q), (h, kv), (h, kv), (q, h), (h, f), (f, h)]
        return [(h, q), (h, kv), (h, kv), (q, h), (h, f), (h, f), (f, h)]

    @property
    def matrices(self) -> int:
        """The layers' linear maps, without the head."""
        return self.layers * sum(a * b for a, b in self.linears)

    @property
    def embedding(self) -> int:
        """One matrix of the vocabulary; the head is another of that size, or the same where they are tied."""
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """All of them, biases and norms included."""
        small = 2 * self.hidden
        if self.family == "qwen2":  # biases on q, k and v
            small += (self.heads + 2 * self.kv_heads) * self.head_dim
        if self.family == "qwen3":  # norms on each head's q and k
            small += 2 * self.head_dim
        return self.matrices + self.embedding * (1 if self.tied else 2) + self.layers * small + self.hidden

    def lora(self, r: int) -> int:
        """LoRA of rank `r` on every linear map of the layers."""
        return self.layers * r * sum(a + b for a, b in self.linears)

    def flop_per_token(self, sequence: float, scored: float, trained: str, recomputed: bool) -> float:
        """FLOP of one training step for one token of rows `sequence` tokens long; a share `scored` has a target.

        Forward is 2 a weight, the gradient by the inputs 2 more, the gradient by the weights 2 more where they are
        trained (`full`; LoRA's own weights are left out, about 1 %). Recomputing adds a forward of the layers.
        """
        attention = 2 * sequence * self.heads * self.head_dim * self.layers  # QK and AV, the causal half
        body, head = 2 * self.matrices + attention, 2 * self.embedding * scored
        passes = 3 if trained == "full" else 2
        return body * (passes + recomputed) + attention * (3 - passes) + head * passes


@dataclass(frozen=True, slots=True)
class Device:
    """What training runs on: memory in GiB, peak dense bf16 TFLOP/s, dollars an hour; `given` or `found` says how.

    `utilisation` is the share of the peak that a training reaches.
    """

    name: str
    memory_gib: float
    tflops: float
    usd_per_hour: float
    how: str
    utilisation: float = 0.45


@cache
def _table() -> dict[str, Any]:
    return dict(json.loads((Path(__file__).parent / "shapes.json").read_text(encoding="utf-8")))


def known_models() -> list[str]:
    """Names that the table has."""
    return list(_table()["models"])


def known_devices() -> list[str]:
    """Names that `sft.assume.device` may say."""
    return list(_table()["devices"])


def shape_of(base: str, scratch: ScratchSettings | None = None) -> Shape | None:
    """The shape of a base: from the table, a local folder's config.json, or the settings of `base: scratch`.

    None where nothing here knows it. An instruction-tuned or otherwise derived name of the table's (`…-Instruct`,
    `…-Base`) has the shape of its base.
    """
    if base == "scratch":
        s = scratch or ScratchSettings()
        return Shape("qwen2", s.width, s.layers, s.heads, s.kv_heads, s.width // s.heads, s.ffn, s.vocab_size, True)
    models = _table()["models"]
    for name in (base, base.removesuffix("-Instruct"), f"{base}-Base"):
        if name in models:
            return Shape(**models[name])
    config = Path(base) / "config.json"
    if not config.is_file():
        return None
    try:
        fields = json.loads(config.read_text(encoding="utf-8"))
        heads = int(fields["num_attention_heads"])
        return Shape(
            family=str(fields.get("model_type", "")),
            hidden=int(fields["hidden_size"]),
            layers=int(fields["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(fields.get("num_key_value_heads") or heads),
            head_dim=int(fields.get("head_dim") or fields["hidden_size"] // heads),
            ffn=int(fields["intermediate_size"]),
            vocab=int(fields["vocab_size"]),
            tied=bool(fields.get("tie_word_embeddings", False)),
        )
    except (KeyError, ValueError, TypeError, OSError):
        return None


def encoder_shape(base: str, scratch: ScratchSettings) -> Shape:
    """The shape of an encoder's base, without a head of its vocabulary; of one that is not here BERT-base's."""
    if base == "scratch":
        s = scratch
        return Shape("bert", s.width, s.layers, s.heads, s.heads, s.width // s.heads, s.ffn, s.vocab_size, True)
    known = shape_of(base)
    return replace(known, tied=True) if known else Shape("bert", 768, 12, 12, 12, 64, 3072, 30522, True)


def device_of(told: str | None) -> Device:
    """The device that was named, else one of the cluster, else the GPU that nvidia-smi shows, else a CPU.

    A CPU has this machine's memory, unless the run is on a cluster.
    """
    devices = _table()["devices"]
    if told is not None:
        own = {"memory_gib": _machine_gib()} if told == "cpu" and not on_cluster() else {}
        return Device(told, how="given", **{**devices[told], **own})
    if on_cluster():
        return _of_nodes(nodes())
    try:
        command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        first = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()[0]
        name, memory = (part.strip() for part in first.rsplit(",", 1))
        gib = float(memory) / 1024
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return Device("cpu", how="no GPU found", **{**devices["cpu"], "memory_gib": _machine_gib()})
    fits = [d for d in devices if d.split("-")[-1 if d.startswith("RTX") else 0] in name.replace(" ", "")]
    near = min(fits, key=lambda d: abs(devices[d]["memory_gib"] - gib), default=None)
    if near is None:
        return Device(name, gib, 0.0, 0.0, "found; its speed is not in the table")
    return Device(name, gib, devices[near]["tflops"], devices[near]["usd_per_hour"], "found")


def _of_nodes(there: Sequence[Node]) -> Device:
    """What a student trains on in a cluster: its GPUs, by Ray's name of them, else the smallest node's CPUs.

    Ray does not say how much memory a GPU has: of a name with two sizes it is the larger one.
    """
    devices = _table()["devices"]
    kinds = [node.gpu_kind for node in there if node.gpus]
    if not kinds:
        smallest = min((node.memory_gib for node in there if node.cpus), default=devices["cpu"]["memory_gib"])
        return Device("cpu", how="of the cluster, without GPUs", **{**devices["cpu"], "memory_gib": smallest})
    fits = [name for name in devices if kinds[0] and name.replace("-", "").startswith(kinds[0].replace("-", ""))]
    name = max(fits, key=lambda name: float(devices[name]["memory_gib"]), default="")
    if not name:
        return Device(kinds[0] or "GPU", math.inf, 0.0, 0.0, "of the cluster; it is not in the table")
    return Device(name, how="of the cluster", **devices[name])


def _machine_gib() -> float:
    """The machine's memory, or the container's share of it, in GiB."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    share = limit.read_text(encoding="utf-8").strip() if limit.is_file() else "max"
    return (min(whole, int(share)) if share.isdigit() else whole) / 2**30
