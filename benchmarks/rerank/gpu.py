"""How fast large students judge on a GPU, and how near that is to what the hardware allows. Eight minutes at most.

    python benchmarks/rerank/gpu.py [--seconds 450] [--batch N]
    python benchmarks/rerank/gpu.py --quick            a tiny shape, on whatever device there is

The shapes are Qwen2.5-1.5B's and 7B's with random weights in bfloat16: speed does not depend on the values, and nothing
is downloaded. Modes direct (prompts of about 125 tokens, DL19's) and think (400 tokens read and 300 written, since
random weights never close a reasoning), by the transformers backend, and by vLLM where it is installed. Each result is
one JSON line, printed as soon as it is there: pairs and tokens (read and written) a second, and the share of the bound.

The bound, with what this device reached in a product of large matrices (F operations a second) and in copying memory
(B bytes a second), N parameters without the embedding, H those of the head, P tokens read, W written, R rows together:

    direct  pairs/s = F / (2 N P)
    think   seconds a pair = 2 N P / F + W max(2 (N + H) / F, (2 (N + H) + R K) / (R B))

where K = 4 (P + W / 2) layers x kv heads x head size are the bytes of keys and values that one row reads at each step.

It has been run with --quick on a CPU, and never on a GPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random

import torch

from distill.records import Pair, make_pair
from distill.rerank.backends.base import Backend
from distill.rerank.backends.transformers import TransformersBackend
from distill.rerank.backends.vllm import VllmBackend
from distill.rerank.reranker import Reranker
from distill.rerank.student_format import StudentFormat, form_of

WORDS = [first + second for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u", "an", "er", "is")]
MOST = 4096  # pairs of one measurement


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the speed of a Qwen2."""

    width: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool

    @property
    def body(self) -> int:
        """Parameters of the layers."""
        kv = self.width // self.heads * self.kv_heads
        return self.layers * (2 * self.width**2 + 2 * self.width * kv + 3 * self.width * self.ffn)

    @property
    def head(self) -> int:
        """Parameters of the head."""
        return self.width * self.vocabulary


@dataclass(frozen=True, slots=True)
class Mode:
    """A mode's prompts in words, about a token each, and the tokens written."""

    words: int
    written: int


SHAPES = {
    "Qwen2.5-1.5B": Shape(1536, 8960, 28, 12, 2, 151_936, True),
    "Qwen2.5-7B": Shape(3584, 18_944, 28, 28, 4, 152_064, False),
}
QUICK = {"tiny": Shape(128, 256, 2, 4, 2, 2048, True)}
MODES = {"direct": Mode(93, 1), "think": Mode(368, 300)}


def pairs_of(mode: Mode, count: int) -> list[Pair]:
    """So many pairs of random words, each passage another."""
    rng = Random(0)
    return [
        make_pair(f"q{n // 100}", f"d{n}", "which word is it", " ".join(rng.choices(WORDS, k=mode.words)))
        for n in range(count)
    ]


def saved(shape: Shape, folder: Path) -> StudentFormat:
    """The configuration and a small tokenizer in `folder`, where vLLM finds them, as the student's format."""
    from transformers import Qwen2Config

    from distill.prompts import rank1_prompt
    from sft.scratch import train_tokenizer

    text = " ".join(WORDS)
    tokenizer = train_tokenizer([rank1_prompt("which word is it", text), text], 1000)
    config = Qwen2Config(
        hidden_size=shape.width, intermediate_size=shape.ffn, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied, max_position_embeddings=4096, dtype="bfloat16",
        architectures=["Qwen2ForCausalLM"], eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return form_of(str(folder), weights=False)


def backend_of(name: str, folder: Path, form: StudentFormat, device: str, batch: int | None) -> Backend:
    """The engine with random weights."""
    if name == "vllm":
        return VllmBackend(str(folder), batch, load_format="dummy", dtype="bfloat16")
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device(device):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    return TransformersBackend("", batch, loaded=(model.eval(), form))


def reached(device: str) -> tuple[float, float]:
    """(operations a second in a product of matrices, bytes a second in copying) of this device, in bfloat16."""
    size = 8192 if device == "cuda" else 1024
    one = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    two = torch.empty_like(one)
    flops = 2 * size**3 / _seconds(lambda: torch.mm(one, one, out=two), device)
    large = torch.empty(1 << (30 if device == "cuda" else 26), device=device, dtype=torch.bfloat16)
    other = torch.empty_like(large)
    return flops, 2 * large.nbytes / _seconds(lambda: other.copy_(large), device)


def _seconds(work: object, device: str, times: int = 10) -> float:
    assert callable(work)
    for number in range(times + 2):
        if number == 2:
            _wait(device)
            started = time.perf_counter()
        work()
    _wait(device)
    return (time.perf_counter() - started) / times


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def bound(shape: Shape, mode: Mode, read: float, rows: int, flops: float, copied: float) -> float:
    """Pairs a second, as the module's text has it."""
    reading = 2 * shape.body * read / flops
    if mode.written == 1:
        return 1 / reading
    kv = 4 * (read + mode.written / 2) * shape.layers * shape.kv_heads * shape.width // shape.heads
    weights = 2 * (shape.body + shape.head)
    return 1 / (reading + mode.written * max(weights / flops, (weights + rows * kv) / (rows * copied)))


def measured(backend: Backend, kind: str, mode: Mode, seconds: float) -> tuple[int, float, int, int]:
    """(pairs, seconds, tokens read, tokens written) of about so many seconds, after pairs that warm it up."""
    reranker = Reranker(backend, "direct" if kind == "direct" else "think", max_new_tokens=mode.written, loops="run")
    rows = int(getattr(backend, "batch", 32))
    started = time.perf_counter()
    reranker.predict(pairs_of(mode, rows))
    warm = time.perf_counter() - started
    started = time.perf_counter()
    reranker.predict(pairs_of(mode, rows))
    rate = rows / min(warm, time.perf_counter() - started)
    pairs = pairs_of(mode, max(rows, min(MOST, int(rate * seconds))))
    started = time.perf_counter()
    judgements = reranker.predict(pairs)
    took = time.perf_counter() - started
    read = sum(len(row) for each in backend.form.prompts(pairs, 1) for row in each.rows)
    return len(pairs), took, read, sum(judgement.tokens for judgement in judgements)


def main() -> None:
    """All shapes, engines and modes, for as long as the seconds last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny shape, a few seconds")
    parser.add_argument("--seconds", type=float, default=450, help="of all together")
    parser.add_argument("--batch", type=int, help="rows together (default: the backend's)")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ends, shapes = time.monotonic() + given.seconds, QUICK if given.quick else SHAPES
    modes = {name: Mode(mode.words, min(mode.written, 16)) for name, mode in MODES.items()} if given.quick else MODES
    flops, copied = reached(device)
    gpu = torch.cuda.get_device_name(0) if device == "cuda" else "CPU"
    print(json.dumps({"device": gpu, "tflops": round(flops / 1e12, 2), "gb_per_s": round(copied / 1e9)}), flush=True)
    engines = ["transformers"] + (["vllm"] if device == "cuda" and find_spec("vllm") else [])
    cases = len(shapes) * len(engines) * len(modes)
    for engine in engines:
        for name, shape in shapes.items():
            with tempfile.TemporaryDirectory() as folder:
                form = saved(shape, Path(folder))
                backend = backend_of(engine, Path(folder), form, device, given.batch)
                for kind, mode in modes.items():
                    left = ends - time.monotonic()
                    if left < 20 and not given.quick:
                        print(json.dumps({"shape": name, "mode": kind, "left_out": "no time left"}), flush=True)
                        continue
                    pairs, took, read, written = measured(
                        backend, kind, mode, 1 if given.quick else min(60, left / cases / 3)
                    )
                    cases -= 1
                    rows = int(getattr(backend, "batch", 32))
                    most = bound(shape, mode, read / pairs, min(rows, pairs), flops, copied)
                    result = {
                        "engine": engine, "shape": name, "mode": kind, "pairs": pairs, "rows": rows,
                        "read": round(read / pairs, 1), "written": round(written / pairs, 1),
                        "pairs_per_s": round(pairs / took, 2), "tokens_per_s": round((read + written) / took, 1),
                        "bound_pairs_per_s": round(most, 2), "share_of_bound": round(pairs / took / most, 3),
                    }  # fmt: skip
                    print(json.dumps(result), flush=True)
                backend.close()
                del backend
                if device == "cuda":
                    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
