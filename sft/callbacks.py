"""Callbacks of the trainer: progress lines, diverging losses, scores on held-out pairs. Used by sft.train."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from distill.errors import DistillError
from distill.store import filesystem
from sft.together import COMPLETE, barrier
from sft.training_job import TrainingJob
from sft.validation import MEASURES, collapse

WINDOW = 3  # logged losses that are averaged before they are compared


class Diverging:
    """Tells a loss that grows from one that is noisy: means of three logged losses, against the first and the best."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.best = math.inf
        self.warned = False

    def see(self, loss: float) -> tuple[str, bool] | None:
        """(what to say, whether training should end), or None. Worse than at the start, by half and more: end."""
        self.losses.append(loss)
        if len(self.losses) < 2 * WINDOW:
            self.best = min(self.best, sum(self.losses[-WINDOW:]) / WINDOW) if len(self.losses) >= WINDOW else self.best
            return None
        first, now = sum(self.losses[:WINDOW]) / WINDOW, sum(self.losses[-WINDOW:]) / WINDOW
        if now > 1.5 * first + 0.5:
            return f"the loss went from {first:.3g} to {now:.3g}: training diverges", True
        if now > 2 * self.best + 0.5 and not self.warned:
            self.warned = True
            return f"the loss was {self.best:.3g} and is {now:.3g} again", False
        self.best = min(self.best, now)
        return None


class ProgressCallback(TrainerCallback):
    """Lines for log.jsonl, a mark on whole checkpoints, and an end to a run that cannot come to anything."""

    def __init__(
        self,
        job: TrainingJob,
        say: Callable[[dict[str, Any]], None],
        relevant_share: float,
        keep: Callable[[Path], None] | None = None,
    ) -> None:
        self.name, self.target, self.say, self.keep = job["name"], job["target"], say, keep
        self.relevant_share = relevant_share
        self.started = self.at = time.monotonic()
        self.tokens = 0
        self.diverging = Diverging()
        self.warnings: list[str] = []
        self.curve: list[dict[str, Any]] = []

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Every worker has written its part before the mark is made; then `keep` has it, called by every worker."""
        barrier()
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero:
            (checkpoint / COMPLETE).write_text(uuid.uuid4().hex, encoding="ascii")
        if self.keep is not None:
            self.keep(checkpoint)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """The last step is looked at as well, so that it can be the best."""
        if args.eval_strategy != "no" and state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        """A line with the held-out measures, and a word where all scores are alike."""
        named = {key.removeprefix("eval_"): value for key, value in (metrics or {}).items()}
        measured = {key: named[key] for key in MEASURES if key in named}
        self.curve.append({"step": state.global_step, **measured})
        self._line(state, {f"dev_{key}": round(value, 5) for key, value in measured.items()})
        warning = collapse(measured, self.relevant_share) if "spread" in measured else None
        if warning and state.global_step * 3 >= state.max_steps:
            self._warn(state, warning)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """A line with the loss. Raises DistillError where it is no number, or grows beyond where it began."""
        if not logs or "loss" not in logs:
            return
        now, tokens, loss = time.monotonic(), int(logs.get("num_tokens", 0)), float(logs["loss"])
        line = {
            "loss": loss,
            "learning_rate": logs.get("learning_rate"),
            "token_accuracy": logs.get("mean_token_accuracy"),
            "tokens_per_s": round((tokens - self.tokens) / max(now - self.at, 1e-9), 1),
            "seconds": round(now - self.started, 2),
        }
        self.tokens, self.at = tokens, now
        self._line(state, line)
        if not math.isfinite(loss):
            raise DistillError(
                f"{self.name}: the loss is {loss} at step {state.global_step}; "
                "lower sft.training.learning_rate, or look for broken rows in the dataset"
            )
        verdict = self.diverging.see(loss)
        if verdict is not None:
            text = f"{verdict[0]} (step {state.global_step}); lower sft.training.learning_rate, or warm up for longer"
            if verdict[1]:
                raise DistillError(f"{self.name}: {text}")
            self._warn(state, text)

    def _line(self, state: Any, values: dict[str, Any]) -> None:
        head = {"stage": "sft", "student": self.name, "target": self.target}
        if state.is_world_process_zero:
            self.say({**head, "step": state.global_step, "steps": state.max_steps, **values})

    def _warn(self, state: Any, text: str) -> None:
        self.warnings.append(text)
        self._line(state, {"warning": text})


def event_writer(path: str | None) -> Callable[[dict[str, Any]], None]:
    """Where lines go: to standard output, or appended to a file that another process reads."""

    def say(event: dict[str, Any]) -> None:
        text = json.dumps(event)
        if path is None:
            print(text, flush=True)
        else:
            fs, inner = filesystem(path)
            with fs.open(inner, "ab") as out:
                out.write(f"{text}\n".encode())

    return say
