"""The vllm backend against Rank1's own way of calling vLLM, same weights, same pairs, same engine, same run.

    python benchmarks/rerank/vllm_run.py RUN [--student think] [--pairs 1024] [--repeats 3] [--model NAME --bf16]

In an environment with vLLM: its CPU build (`make test-vllm` installs it), or a GPU. RUN is a folder of `distill run`.
On a GPU with a large model give `--model`: the pairs are still those of RUN. Rank1's way is our own reference, after
its paper: one call of `generate` over all prompts with the top 20 log-probabilities at every token, stopped after the
verdict; what did not end is cut at its last sentence, closed, and given a second pass that allows two tokens.
"""

from __future__ import annotations

import os
from typing import Any

from workload import MAX_NEW, Judged, arguments, pairs_of, race, thought

from distill.records import Pair
from distill.rerank.student_format import StudentFormat

TOP = 20


def rank1(llm: Any, form: StudentFormat, pairs: list[Pair]) -> Judged:
    """Rank1's way. The end of the reasoning is forbidden for two tokens, as in ours, so that both do the same work."""
    from vllm import SamplingParams

    rows = [each.rows[0] for each in form.prompts(pairs, MAX_NEW + len(form.close))]
    sampling = SamplingParams(
        temperature=0, max_tokens=MAX_NEW + 1, min_tokens=2, logprobs=TOP, stop=["</think> true", "</think> false"],
        skip_special_tokens=False,
    )  # fmt: skip
    outputs = llm.generate([{"prompt_token_ids": row} for row in rows], sampling, use_tqdm=False)
    margins: list[float] = [0.0] * len(rows)
    tokens = [0] * len(rows)
    again: list[tuple[int, list[int]]] = []
    for at, output in enumerate(outputs):
        ids, steps = list(output.outputs[0].token_ids), output.outputs[0].logprobs
        tokens[at] = len(ids)
        if len(ids) > 1 and ids[-2] == form.end and ids[-1] in form.verdicts:
            margins[at] = _margin(form, steps[-1])
        else:
            again.append((at, form.closed([token for token in ids if token not in form.stops], len(rows[at]))))
    if again:
        forced = SamplingParams(
            temperature=0, max_tokens=1, logprobs=TOP, allowed_token_ids=list(form.verdicts), skip_special_tokens=False
        )
        prompts = [{"prompt_token_ids": rows[at] + ids} for at, ids in again]
        for (at, ids), output in zip(again, llm.generate(prompts, forced, use_tqdm=False), strict=True):
            margins[at] = _margin(form, output.outputs[0].logprobs[0])
            tokens[at] = len(ids) + 1
    return margins, tokens


def _margin(form: StudentFormat, listed: Any) -> float:
    floor = min(each.logprob for each in listed.values()) - 1
    true, false = (listed[token].logprob if token in listed else floor for token in form.verdicts)
    return float(true - false)


def main() -> None:
    """Both methods on one engine."""
    parser = arguments(pairs=1024, batch=128, batch_help="max_num_seqs, for both")
    parser.add_argument("--model", help="a folder or hub name instead of the run's student")
    parser.add_argument("--bf16", action="store_true", help="on a GPU; float32 on a CPU")
    given = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from distill.rerank.backends.vllm import VllmBackend

    model = given.model or str(given.run / "students" / given.student)
    engine = {"dtype": "bfloat16"} if given.bf16 else {}
    backend = VllmBackend(model, batch=given.batch, **engine)
    pairs = pairs_of(given.run, given.pairs)
    methods = {
        "Rank1's way: top-20 log-probabilities at every token": lambda: rank1(backend._llm, backend.form, pairs),
        "distill: none while it reasons, then one exact token": lambda: thought(backend, pairs),
    }
    for method in methods.values():  # warm
        backend._llm.reset_prefix_cache()
        method()
    race(methods, given.repeats, before=backend._llm.reset_prefix_cache)


if __name__ == "__main__":
    main()
