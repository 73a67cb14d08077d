"""The transformers backend against a loop of `generate`, same weights, same pairs, same run.

    python benchmarks/rerank/transformers_run.py RUN [--student think] [--pairs 256] [--batch 64] [--repeats 3]

RUN is a folder of `distill run`. Prints JSON lines; `ratio` is to the loop over single pairs. The loop is as good as
`generate` allows: it stops at `</think>`, and reads the verdict with one more step on the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from workload import MAX_NEW, Judged, arguments, pairs_of, race, thought

from distill.records import Pair
from distill.rerank.backends.transformers import TransformersBackend, load
from distill.rerank.student_format import StudentFormat


def looped(model: Any, form: StudentFormat, pairs: list[Pair], size: int) -> Judged:
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
            kept = written[: written.index(form.end) + 1] if ended else form.closed(written, len(row))
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
    """All methods on one model."""
    parser = arguments(pairs=256, batch=64, batch_help="rows at once, of ours")
    parser.add_argument("--device")
    given = parser.parse_args()
    model, form = load(str(given.run / "students" / given.student), given.device)
    pairs = pairs_of(given.run, given.pairs)

    def ours() -> Judged:
        return thought(TransformersBackend("", batch=given.batch, loaded=(model, form)), pairs)

    methods: dict[str, Callable[[], Judged]] = {
        "generate, one pair at a time": lambda: looped(model, form, pairs, 1),
        "generate, batches of 16": lambda: looped(model, form, pairs, 16),
        f"distill, {given.batch} rows refilled": ours,
    }
    ours()  # warm
    race(methods, given.repeats)


if __name__ == "__main__":
    main()
