"""Which pairs are worth answering: those on which samples of the SFT student disagree. Used by `sft.after.train`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.prompts import PROMPTS, prompt_ids
from distill.rewards import verdict_of
from distill.store import read_json, write_json
from sft.after.settings import ThenSettings
from sft.after.tasks import Task

SAMPLES = 4  # answers to a pair
LOOKED_AT = 2  # times the prompts of the whole training: how many pairs are sampled at most
FILE = "disagree.json"  # in the student's folder, so that a training that was killed does not sample again


def disagreeing(
    model: Any, tokenizer: Any, rows: list[Task], then: ThenSettings, prompt: str, bound: int, seed: int, out: Path
) -> tuple[list[Task], int]:
    """(the tasks whose answers differ in their verdict, tokens that were written to find them).

    The rows looked at are drawn with the seed; an answer that is not well-formed counts as another verdict. Raises
    DataError where too few are left to fill a step.
    """
    made = read_json(out / FILE)
    if made is None:
        drawn = random.Random(f"disagree:{seed}").sample(rows, min(len(rows), LOOKED_AT * then.steps * then.prompts))
        made = _sampled(model, tokenizer, drawn, then, prompt, bound, seed)
        write_json(out / FILE, made)
    chosen = set(made["pairs"])
    kept = [row for row in rows if row.pair_id in chosen]
    if len(kept) < then.prompts:
        raise DataError(
            f"then.select: samples of the SFT student disagree on {len(kept)} of {made['looked_at']} pairs, fewer than "
            f"the {then.prompts} of a step; set select: random"
        )
    return kept, int(made["tokens"])


def _sampled(
    model: Any, tokenizer: Any, rows: list[Task], then: ThenSettings, prompt: str, bound: int, seed: int
) -> dict[str, Any]:
    import torch
    from transformers import set_seed

    from sft.validation import padded

    set_seed(seed)
    words, device = PROMPTS[prompt].verdicts, next(model.parameters()).device
    pairs, tokens = [], 0
    model.eval()
    for start in range(0, len(rows), then.answers):
        block = rows[start : start + then.answers]
        ids, mask = padded(model, prompt_ids(tokenizer, [row.prompt for row in block]), tokenizer.pad_token_id)
        with torch.inference_mode():
            written = model.generate(
                input_ids=ids.to(device), attention_mask=mask.to(device), max_new_tokens=bound, do_sample=True,
                temperature=then.temperature, top_p=1.0, top_k=0, num_return_sequences=SAMPLES,
                pad_token_id=tokenizer.pad_token_id,
            )[:, ids.shape[1] :]  # fmt: skip
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        tokens += int((written != tokenizer.pad_token_id).sum())
        said = [verdict_of(text, words) for text in texts]
        pairs += [row.pair_id for n, row in enumerate(block) if len(set(said[n * SAMPLES : (n + 1) * SAMPLES])) > 1]
    model.train()
    return {"looked_at": len(rows), "pairs": pairs, "tokens": tokens}
