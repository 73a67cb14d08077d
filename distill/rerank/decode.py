"""The decoding loop of the transformers backend: greedy, batched, with a KV cache that sheds finished rows.

Rows are sorted by length and padded on the left. A row is done one step after its `</think>`, where the logits of
" true" and " false" are read; when half of a batch is done, the cache keeps the other half only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distill.prompts import END_THINK
from distill.rerank.student import Student


@dataclass(slots=True)
class Decoded:
    """What came of one prompt: the ids written before the verdict, the two logits, and why it stopped."""

    ids: list[int]
    true: float
    false: float
    finish_reason: str


def read_verdicts(student: Student, rows: list[list[int]], batch: int) -> list[tuple[float, float]]:
    """The logits of " true" and " false" after each row of ids; one forward pass a batch."""
    import torch

    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: list[tuple[float, float]] = [(0.0, 0.0)] * len(rows)
    pair = [student.true_id, student.false_id]
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            ids, mask, positions = _padded(student, [rows[i] for i in chosen])
            logits = student.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1, use_cache=False
            ).logits[:, -1, pair]
            for i, (true, false) in zip(chosen, logits.float().tolist(), strict=True):
                found[i] = (true, false)
    return found


def think(student: Student, prompts: list[list[int]], max_new: int, batch: int) -> list[Decoded]:
    """Let the student reason to its `</think>` and read its verdict; one Decoded a prompt, in the order given.

    A row that does not end within `max_new` tokens, or writes end-of-text before `</think>`, is closed by force, as
    Rank1 closes it: cut after its last whole sentence, `</think>`, and one of the two verdicts.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    done: list[Decoded | None] = [None] * len(prompts)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        for i, each in zip(chosen, _batch(student, [prompts[i] for i in chosen], max_new), strict=True):
            done[i] = each
    results = [each for each in done if each is not None]
    forced = [i for i, each in enumerate(results) if each.finish_reason != "stop"]
    for i in forced:
        results[i].ids = _closed(student, results[i].ids)
    logits = read_verdicts(student, [[*prompts[i], *results[i].ids] for i in forced], batch)
    for i, (true, false) in zip(forced, logits, strict=True):
        results[i].true, results[i].false = true, false
    return results


def _padded(student: Student, rows: list[list[int]]) -> tuple[Any, Any, Any]:
    import torch

    longest = max(len(row) for row in rows)
    pad = student.tokenizer.pad_token_id or student.tokenizer.eos_token_id or 0
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=student.model.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=student.model.device)
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def _batch(student: Student, prompts: list[list[int]], max_new: int) -> list[Decoded]:
    import torch

    pair = [student.true_id, student.false_id]
    written: list[list[int]] = [[] for _ in prompts]
    results: list[Decoded | None] = [None] * len(prompts)
    live = list(range(len(prompts)))
    ids, mask, positions = _padded(student, prompts)
    last = positions[:, -1:]
    cache = None
    with torch.inference_mode():
        for _ in range(max_new + 1):
            out = student.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache, logits = out.past_key_values, out.logits[:, -1]
            step, verdicts = logits.argmax(-1).tolist(), logits[:, pair].float().tolist()
            for slot, row in enumerate(live):
                if results[row] is not None:
                    continue
                if student.ended(written[row]):
                    results[row] = Decoded(written[row], verdicts[slot][0], verdicts[slot][1], "stop")
                elif step[slot] == student.tokenizer.eos_token_id:
                    results[row] = Decoded(written[row], 0.0, 0.0, finish_reason="no_end")
                elif len(written[row]) >= max_new:
                    results[row] = Decoded(written[row], 0.0, 0.0, finish_reason="length")
                else:
                    written[row].append(step[slot])
            going = [slot for slot, row in enumerate(live) if results[row] is None]
            if not going:
                break
            ids, last = torch.tensor(step, device=ids.device)[:, None], last + 1
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
            if len(going) <= len(live) // 2:
                keep = torch.tensor(going, device=ids.device)
                cache.batch_select_indices(keep)
                ids, mask, last = ids[keep], mask[keep], last[keep]
                live = [live[slot] for slot in going]
            positions = last
    return [result for result in results if result is not None]


def _closed(student: Student, ids: list[int]) -> list[int]:
    """`ids` up to the last sentence end (all of them where there is none), and `\n</think>`, encoded together."""
    text = student.tokenizer.decode(ids)
    end = max(text.rfind(mark) for mark in (". ", "? ", "! ", ".\n", "。"))
    kept = text[: end + 1] if end > 0 else text
    return list(student.tokenizer.encode(f"{kept.rstrip()}\n{END_THINK}", add_special_tokens=False))
