"""A student loaded for scoring: model, tokenizer, and the few token ids that the format needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill.errors import InputError
from distill.prompts import END_THINK, prompt_ids, rank1_prompt, suffix_ids
from distill.records import Pair

# What a think-mode student may write at most: Rank1 allows 8,192; a context that holds less sets the bound.
MAX_REASONING = 8192


@dataclass(frozen=True, slots=True)
class Student:
    """Weights and token ids: `close` is `\\n</think>`, which ends reasoning by force; `end` is `</think>`'s one id."""

    model: Any
    tokenizer: Any
    true_id: int
    false_id: int
    close: list[int]
    end: int | None
    context: int

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether generated `ids` end with `</think>`, as one token or as text."""
        if self.end is not None:
            return bool(ids) and ids[-1] == self.end
        return self.tokenizer.decode(ids[-8:]).rstrip().endswith(END_THINK)

    def prompts(self, pairs: Sequence[Pair], room: int) -> tuple[list[list[int]], list[bool]]:
        """(ids, cut): prompts of the pairs that leave `room` tokens of the context.

        A prompt that does not is made from the passage's first part; its query, frame and suffix are never lost.
        Raises InputError where even the query alone leaves no room.
        """
        limit = self.context - room
        rows = prompt_ids(self.tokenizer, [rank1_prompt(p.query, p.passage, p.instruction) for p in pairs])
        cut = [len(row) > limit for row in rows]
        for at, too_long in enumerate(cut):
            pair, row = pairs[at], rows[at]
            characters = len(pair.passage)
            while too_long and len(row) > limit:
                if characters == 0:
                    raise InputError(f"query {pair.query_id}: it alone is longer than the student's {limit} tokens")
                characters = min(characters - 1, int(characters * limit / len(row) * 0.95))
                text = rank1_prompt(pair.query, pair.passage[:characters], pair.instruction)
                row = prompt_ids(self.tokenizer, [text])[0]
            rows[at] = row
        return rows, cut


def load(path: str, device: str | None = None) -> Student:
    """A student from a folder or a hub name. Raises InputError where it cannot be scored (no single " true" token)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16 if where == "cuda" else torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a student that loads ({str(error).strip().splitlines()[0]})") from None
    try:
        true_id, false_id = suffix_ids(tokenizer)
    except ValueError as error:
        raise InputError(f"{path}: {error}; its scores would be garbage") from None
    close = tokenizer.encode(f"\n{END_THINK}", add_special_tokens=False)
    single = tokenizer.encode(END_THINK, add_special_tokens=False)
    context = int(getattr(model.config.get_text_config(), "max_position_embeddings", 4096))
    end = single[0] if len(single) == 1 else None
    model.to(torch.device(where))  # type: ignore[arg-type]
    return Student(model.eval(), tokenizer, true_id, false_id, close, end, context)
