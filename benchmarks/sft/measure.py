"""What the training benchmarks share: rows as long as Rank1's, a line in a process of its own, a trainer's pace."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

LONGEST = 1024  # tokens of a row; the few longer ones are left out


def assumed_rows(count: int, vocabulary: int) -> list[tuple[list[int], int]]:
    """(ids, prompt tokens), lengths from sft/estimate/lengths.json; the ids are random, which costs the same."""
    from sft.estimate.lengths import assumed

    rng = random.Random(0)
    found = [([rng.randrange(3, vocabulary) for _ in range(row.whole)], row.prompt) for row in assumed(count, "think")]
    return [row for row in found if len(row[0]) <= LONGEST]


def dataset(rows: list[tuple[list[int], int]]) -> Any:
    """The rows as TRL takes tokens: `input_ids`, and `labels` that leave the prompt out."""
    from datasets import Dataset

    labels = [[-100] * prompt + ids[prompt:] for ids, prompt in rows]
    return Dataset.from_dict({"input_ids": [ids for ids, _ in rows], "labels": labels})


def found_by(command: list[str], seconds: float) -> dict[str, Any]:
    """What a script in a process of its own prints after `FOUND ` as JSON; {"failed": why} where it does not."""
    try:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": "ran past the time"}
    said = [line[6:] for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    return dict(json.loads(said[0])) if said else {"failed": last[:160]}


def tokens_per_second(trainer: Any, seconds: float, synchronize: Callable[[], None] = lambda: None) -> float:
    """Real tokens a second of a trainer that is stopped after `seconds`; two steps warm up and do not count.

    `synchronize` waits for the device, where that works on by itself.
    """
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Counts from the third step on."""

        began = tokens = rate = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            synchronize()
            now, tokens = time.perf_counter(), trainer._total_train_tokens
            if state.global_step == 2:
                self.began, self.tokens = now, tokens
            elif state.global_step > 2:
                self.rate = (tokens - self.tokens) / (now - self.began)
                control.should_training_stop = now - self.began > seconds
            return control

    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    return clock.rate
