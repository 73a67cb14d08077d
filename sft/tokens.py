"""Rows to token ids, and what is checked before a step is taken.

Prompt and completion are encoded apart, as at inference, where the prompt is encoded and the rest generated. So what
is trained is what is scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill.errors import DataError
from distill.prompts import END_THINK, PROMPT_NAME, prompt_ids, verdict_ids
from distill.records import Example

CONTROL = "its text holds the control token"
MANY_LEFT_OUT = 0.05  # of the rows: so many are a warning
MAX_LENGTH = "sft.max_length"
TOO_LONG = "tokens, more than {} {}"  # what bounds them, and how many


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one example; `prompt_tokens` of them carry no loss. Ends in the tokenizer's end-of-text."""

    pair_id: str
    input_ids: list[int]
    prompt_tokens: int
    weight: float = 1.0

    @property
    def labels(self) -> list[int]:
        """-100 on the prompt, the ids on the completion."""
        return [-100] * self.prompt_tokens + self.input_ids[self.prompt_tokens :]


def encode(
    tokenizer: Any, rows: Sequence[Example], max_length: int, prompt: str = PROMPT_NAME
) -> tuple[list[Encoded], list[tuple[str, str]]]:
    """(encoded rows, [(pair_id, reason)] of those that cannot be trained on whole).

    Nothing is cut: a row longer than `max_length` tokens is returned with a reason. So is a row whose completion
    holds a control token of this tokenizer, beyond the format's own closing tag. Raises DataError where the tokenizer
    cannot carry the verdicts (`distill.prompts.verdict_ids`).
    """
    try:
        verdict_ids(tokenizer, prompt)
    except ValueError as error:
        raise DataError(f"sft.base: {error}; no student can be scored with it") from None
    control = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    end = tokenizer.encode(END_THINK, add_special_tokens=False)[-1]
    if not rows:
        return [], []
    prompts = prompt_ids(tokenizer, [row.prompt for row in rows])
    completions = tokenizer([row.completion for row in rows], add_special_tokens=False)["input_ids"]
    good, bad = [], []
    for row, asked, answer in zip(rows, prompts, completions, strict=True):
        length = len(asked) + len(answer) + 1
        stray: list[int] = []
        if found := control.intersection(answer):
            stray = [token for token in answer if token in found and token != end]
            stray += [end] * (answer.count(end) - 1 if end in found else 0)
        if stray:
            name = tokenizer.convert_ids_to_tokens(stray[0])
            bad.append((row.pair_id, f"{CONTROL} {name!r}"))
        elif length > max_length:
            bad.append((row.pair_id, f"{length} {TOO_LONG.format(MAX_LENGTH, max_length)}"))
        else:
            good.append(Encoded(row.pair_id, [*asked, *answer, tokenizer.eos_token_id], len(asked), row.weight))
    return good, bad


def left_out_text(
    left_out: Sequence[tuple[str, str]], rows: int, max_length: int, bound: str = MAX_LENGTH
) -> str | None:
    """How many of `rows` are left out of the training and why, with the remedy where they are many; None for none.

    `bound` is what allows `max_length` tokens."""
    if not left_out:
        return None
    too_long = TOO_LONG.format(bound, max_length)
    tokens = [int(reason.partition(" ")[0]) for _, reason in left_out if reason.endswith(too_long)]
    reasons = []
    if tokens:
        reasons.append(f"{len(tokens):,} longer than {bound} {max_length} (up to {max(tokens):,} tokens)")
    others = Counter(reason for _, reason in left_out if not reason.endswith(too_long))
    control = sum(count for reason, count in others.items() if reason.startswith(CONTROL))
    if control:
        reasons.append(f"{control:,} with a control token in their text")
    reasons += [f"{count:,} since {reason}" for reason, count in others.items() if not reason.startswith(CONTROL)]
    text = f"{len(left_out):,} of {rows:,} rows ({len(left_out) / rows:.1%}) are left out of the training: "
    text += " and ".join(reasons)
    if tokens and len(left_out) > MANY_LEFT_OUT * rows and bound == MAX_LENGTH:
        text += f"; raise sft.max_length to {max(tokens)} to train on them, or filter the long traces"
    return text
