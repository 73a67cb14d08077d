"""The transformers backend against a loop of `generate`, same weights, same pairs, same run.

    python benchmarks/rerank/transformers_run.py RUN [--student think] [--pairs 256] [--batch 64] [--repeats 3]

RUN is a folder of `distill run`. Prints JSON lines; `ratio` is to the loop over single pairs. The loop is as good as
`generate` allows: it stops at `</think>`, and reads the verdict with one more step on the cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from workload import MAX_NEW, compared, line, pairs_of

from distill.records import Pair
from distill.rerank.backends.transformers import TransformersBackend, load
from distill.rerank.form import Form
from distill.rerank.reranker import Reranker

Judged = tuple[list[float], list[int]]


def looped(model: Any, form: Form, pairs: list[Pair], size: int) -> Judged:
    """`generate` on batches of `size`, in the order given; a row that does not end is closed by force."""
    rows = [each.rows[0] for each in form.prompts(pairs, MAX_NEW + len(form.close))]
    true, false = form.verdicts
    margins, tokens = [], []
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        longest = max(map(len, chosen))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in chosen], device=model.device)
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in chosen], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=MAX_NEW,
                min_new_tokens=2,
                do_sample=False,
                eos_token_id=[form.end, *form.stops],
                pad_token_id=next(iter(form.stops)),
                return_dict_in_generate=True,
            )
        for row, written in zip(chosen, out.sequences[:, longest:].tolist(), strict=True):
            ended = form.end in written
            kept = written[: written.index(form.end) + 1] if ended else form.closed(written)
            with torch.inference_mode():
                if ended and size == 1:
                    last = torch.tensor([[form.end]], device=model.device)
                    logits = model(last, past_key_values=out.past_key_values).logits[0, -1]
                else:
                    whole = torch.tensor([row + kept], device=model.device)
                    logits = model(whole, logits_to_keep=1).logits[0, -1]
            margins.append(float(logits[true] - logits[false]))
            tokens.append(len(kept) + 1)
    return margins, tokens


def main() -> None:
    """All methods, the repeats interleaved; medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--student", default="think")
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    given = parser.parse_args()
    model, form = load(str(given.run / "students" / given.student), given.device)
    pairs = pairs_of(given.run, given.pairs)

    def ours(batch: int) -> Judged:
        backend = TransformersBackend("", batch=batch, loaded=(model, form))
        found = Reranker(backend, "think", max_new_tokens=MAX_NEW).predict(pairs)
        return [j.margin for j in found], [j.tokens for j in found]

    methods: dict[str, Callable[[], Judged]] = {
        "generate, one pair at a time": lambda: looped(model, form, pairs, 1),
        "generate, batches of 16": lambda: looped(model, form, pairs, 16),
        f"distill, {given.batch} rows refilled": lambda: ours(given.batch),
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    found: dict[str, Judged] = {}
    ours(given.batch)  # warm
    for _ in range(given.repeats):
        for name, method in methods.items():
            started = time.monotonic()
            found[name] = method()
            times[name].append(time.monotonic() - started)
    results = [(line(name, statistics.median(times[name]), *found[name]), found[name][0]) for name in methods]
    for result in compared(results):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
