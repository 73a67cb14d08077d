"""How a student scores held-out pairs while it trains, read where a reranker reads it. Used by the trainer."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from distill.prompts import END_THINK, prompt_ids, student_prompt, verdict_ids
from distill.records import Pair
from distill.statistics.ndcg import ndcg
from sft.settings import DevSettings

MEASURES = ("accuracy", "auc", "ndcg", "spread", "unfinished")  # what a look at held-out pairs may say
ALIKE = 0.02  # scores whose middle nine tenths span less than this say the same of every pair


class ValidationSet:
    """Held-out pairs, encoded once. `mode` is think (reason first) or direct (the empty block prefilled)."""

    def __init__(self, tokenizer: Any, pairs: Sequence[Pair], settings: DevSettings, prompt: str, mode: str) -> None:
        chosen = list(pairs)
        if settings.score is not None and settings.score < len(chosen):
            chosen = random.Random("dev").sample(chosen, settings.score)
        self.pairs = [pair for pair in chosen if pair.relevant is not None]
        self.tokenizer, self.settings, self.mode = tokenizer, settings, mode
        self.verdicts = verdict_ids(tokenizer, prompt)
        self.close = tokenizer.encode(f"\n{END_THINK}", add_special_tokens=False)
        end = tokenizer.encode(END_THINK, add_special_tokens=False)
        self.end = end[0] if len(end) == 1 else None
        texts = [student_prompt(p.query, p.passage, p.instruction, prompt) for p in self.pairs]
        self.rows = prompt_ids(tokenizer, texts)

    def measure(self, model: Any) -> dict[str, float]:
        """accuracy, auc, ndcg (over queries with both kinds of passages), spread of the scores, share unfinished."""
        import torch

        was_training = model.training
        model.eval()
        scores = [0.0] * len(self.rows)
        forced = 0
        order = sorted(range(len(self.rows)), key=lambda i: len(self.rows[i]))
        try:
            with torch.inference_mode():
                for start in range(0, len(order), self.settings.batch):
                    chosen = order[start : start + self.settings.batch]
                    prompts = [self.rows[i] for i in chosen]
                    whole, unfinished = self._reasoned(model, prompts) if self.mode == "think" else (prompts, 0)
                    forced += unfinished
                    if self.mode != "think":
                        whole = [row + self.close for row in prompts]
                    for i, score in zip(chosen, self._scores(model, whole), strict=True):
                        scores[i] = score
        finally:
            model.train(was_training)
        measured = measures(scores, self.pairs)
        return {**measured, "unfinished": forced / len(self.rows)} if self.mode == "think" else measured

    def _reasoned(self, model: Any, prompts: list[list[int]]) -> tuple[list[list[int]], int]:
        """The prompts with what the model reasons, up to `</think>`; how many had to be closed by force."""
        ids, mask = padded(model, prompts, self.tokenizer.pad_token_id)
        stop: dict[str, Any] = {}
        if self.end is None:
            stop = {"stop_strings": [END_THINK], "tokenizer": self.tokenizer}
        ends = [token for token in (self.end, self.tokenizer.eos_token_id) if token is not None]
        pad = self.tokenizer.pad_token_id
        written = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=self.settings.max_new_tokens, do_sample=False,
            temperature=None, top_p=None, top_k=None, eos_token_id=ends, pad_token_id=pad, **stop,
        )[:, ids.shape[1] :].tolist()  # fmt: skip
        rows, forced = [], 0
        for prompt, answer in zip(prompts, written, strict=True):
            kept = self._to_end(answer)
            if kept is None:
                forced += 1
                text = [token for token in answer if token not in (pad, self.tokenizer.eos_token_id)]
                kept = text + self.close
            rows.append(prompt + kept)
        return rows, forced

    def _to_end(self, answer: list[int]) -> list[int] | None:
        if self.end is not None:
            return answer[: answer.index(self.end) + 1] if self.end in answer else None
        for count in range(1, len(answer) + 1):
            if self.tokenizer.decode(answer[max(0, count - 8) : count]).endswith(END_THINK):
                return answer[:count]
        return None

    def _scores(self, model: Any, rows: list[list[int]]) -> list[float]:
        return expected_grades(model, rows, self.verdicts, self.tokenizer.pad_token_id)


def expected_grades(model: Any, rows: list[list[int]], verdicts: list[int], pad: int) -> list[float]:
    """The expected grade, from 0 to 1, by the model's probabilities of the `verdicts` (token ids) at each row's end.

    `rows` are token ids that end in `</think>`. To be called without gradients, the model in evaluation mode.
    """
    import torch

    ids, mask = padded(model, rows, pad)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1, use_cache=False
    ).logits[:, -1, verdicts]
    shares = torch.softmax(logits.float(), dim=-1)
    grades = torch.arange(len(verdicts), device=shares.device, dtype=shares.dtype) / (len(verdicts) - 1)
    return [float(score) for score in (shares * grades).sum(-1)]


def padded(model: Any, rows: list[list[int]], pad: int) -> tuple[Any, Any]:
    """Token ids and mask, padded on the left."""
    import torch

    longest = max(map(len, rows))
    device = next(model.parameters()).device
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def measures(scores: Sequence[float], pairs: Sequence[Pair]) -> dict[str, float]:
    """accuracy at 0.5, AUC, mean nDCG@10 of queries that have both kinds of passages, and the spread of the scores.

    The spread is from the 5th to the 95th percentile. AUC and nDCG are left out where there is nothing to rank.
    """
    import numpy as np
    from scipy.stats import mannwhitneyu

    labels = np.array([bool(pair.relevant) for pair in pairs])
    values = np.array(scores)
    low, high = np.percentile(values, [5, 95])
    measured = {"accuracy": float(((values > 0.5) == labels).mean()), "spread": float(high - low)}
    relevant, others = values[labels], values[~labels]
    if len(relevant) and len(others):
        measured["auc"] = float(mannwhitneyu(relevant, others).statistic / (len(relevant) * len(others)))
    by_query: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for score, pair in zip(scores, pairs, strict=True):
        by_query[pair.query_id].append((score, bool(pair.relevant)))
    # of equal scores the relevant ones come last, so that ties win nothing
    ranked = ([label for _, label in sorted(rows, key=lambda row: (-row[0], row[1]))] for rows in by_query.values())
    gains = [float(ndcg(grades, grades)) for grades in ranked if len(set(grades)) == 2]
    if gains:
        measured["ndcg"] = sum(gains) / len(gains)
    return measured


def collapse(measured: dict[str, float], relevant_share: float) -> str | None:
    """What to say of a student whose scores are all alike, with the likely cause; None where they differ."""
    if measured["spread"] >= ALIKE:
        return None
    finding = (
        f"the scores of the held-out pairs lie within {measured['spread']:.3f} of one another: every pair gets the same"
    )
    if max(relevant_share, 1 - relevant_share) > 0.9:
        return f"{finding}; {relevant_share:.0%} of the training pairs are relevant: balance them (filter balance)"
    return f"{finding}; the learning rate is likely too high, or there were too few steps to learn anything yet"
