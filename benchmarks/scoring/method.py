"""One way of judging pairs, in a process of its own: prints its pairs, seconds and tokens as JSON. `run.py` calls it.

    python benchmarks/scoring/method.py WAY MODEL DL19 direct|think BOUND

DL19 is a folder with corpus.jsonl, queries.jsonl and runs/BM25.top100.trec, whose pairs are judged. Loading is not
counted. WAY `prompts` writes prompts.json into DL19, for `peers.py`. `old` imports the `distill` of an older commit,
which PYTHONPATH names.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from distill.records import Pair, make_pair

Way = Callable[[str, str, int, list[Pair]], tuple[float, int]]
"""(model, mode, bound, pairs) to (seconds, tokens written)."""
GENERATED = 32  # rows of a batch of `generate`


def pairs_of(data: Path) -> list[Pair]:
    """The pairs of the folder's run."""
    texts: dict[str, dict[str, str]] = {}
    for name in ("queries", "corpus"):
        rows = map(json.loads, (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
        texts[name] = {row["_id"]: row["text"] for row in rows}
    lines = (data / "runs/BM25.top100.trec").read_text(encoding="utf-8").splitlines()
    ids = [line.split()[:3:2] for line in lines]
    return [make_pair(query, doc, texts["queries"][query], texts["corpus"][doc]) for query, doc in ids]


def reranker(model: str, mode: str, bound: int, pairs: list[Pair]) -> tuple[float, int]:
    """`Reranker` in this process, on all cores."""
    from distill.rerank.reranker import Reranker

    student = Reranker(model, mode, "transformers", max_new_tokens=bound, loops="run")
    started = time.perf_counter()
    judgements = student.predict(pairs)
    return time.perf_counter() - started, sum(judgement.tokens for judgement in judgements)


def ours(model: str, mode: str, bound: int, pairs: list[Pair]) -> tuple[float, int]:
    """The scorer behind `distill evaluate` and `distill rerank`, as it comes, after it has loaded the student."""
    from distill.rerank.jobs import Student, job_of
    from distill.rerank.scorer import Scorer
    from distill.rerank.settings import ScoringSettings

    settings = ScoringSettings(backend="transformers", loops="run")
    others = [make_pair(str(n), str(n), f"Query {n}?", pair.passage) for n, pair in enumerate(pairs)]
    with Scorer() as scoring:
        list(scoring.score([job_of("loading", Student(model, "direct", settings), others)]))
        job = job_of("measured", Student(model, mode, settings, max_new_tokens=bound), pairs)
        started = time.perf_counter()
        (judged,) = scoring.score([job])
        return time.perf_counter() - started, sum(judgement.tokens for judgement in judged.found)


def old(model: str, mode: str, bound: int, pairs: list[Pair]) -> tuple[float, int]:
    """The evaluation as it was at commit 221dad9: a process a core, half of the pairs each."""
    from distill.rerank.pool import Task, judge  # type: ignore[import-not-found]

    halves = [Task(str(half), model, mode, pairs[half::2]) for half in range(2)]
    found = list(judge(halves, lambda event: None, max_new_tokens=bound))
    return max(seconds for _, _, seconds in found), sum(row.tokens for _, rows, _ in found for row in rows)


def generate(model: str, mode: str, bound: int, pairs: list[Pair]) -> tuple[float, int]:
    """transformers' own `generate` in bfloat16, batches of like length; it reads no verdict afterwards."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from distill.prompts import prompt_ids, student_prompt

    tokenizer = AutoTokenizer.from_pretrained(model)
    weights = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
    started, tokens = time.perf_counter(), 0
    prompts = prompt_ids(tokenizer, [student_prompt(p.query, p.passage, p.instruction) for p in pairs])
    prompts.sort(key=len)
    for start in range(0, len(prompts), GENERATED):
        batch = prompts[start : start + GENERATED]
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch])
        ends = tokenizer.eos_token_id
        with torch.inference_mode():
            written = weights.generate(
                ids, attention_mask=mask, max_new_tokens=bound, min_new_tokens=2, do_sample=False,
                eos_token_id=ends, pad_token_id=ends,
            )[:, longest:]  # fmt: skip
        tokens += int((written != ends).sum())
    return time.perf_counter() - started, tokens


def prompts(model: str, mode: str, bound: int, pairs: list[Pair], out: Path) -> None:
    """Write what `peers.py` asks: the very tokens that the other ways read."""
    from distill.rerank.modes import JudgementPlan
    from distill.rerank.student_format import form_of

    form = form_of(model)
    room = JudgementPlan("direct" if mode == "direct" else "think", bound).room(form)
    rows = [row for each in form.prompts(pairs, room) for row in each.rows]
    asked = [row + form.close for row in rows] if mode == "direct" else rows
    out.write_text(json.dumps({"prompts": asked, "words": list(form.verdicts), "bound": bound}))


WAYS: dict[str, Way] = {"ours": ours, "reranker": reranker, "old": old, "generate": generate}


def main() -> None:
    """The command line."""
    way, model, data, mode, bound = sys.argv[1:]
    pairs = pairs_of(Path(data))
    if way == "prompts":
        prompts(model, mode, int(bound), pairs, Path(data) / "prompts.json")
        return
    seconds, tokens = WAYS[way](model, mode, int(bound), pairs)
    print(json.dumps({"pairs": len(pairs), "seconds": seconds, "tokens": tokens}))


if __name__ == "__main__":
    main()
