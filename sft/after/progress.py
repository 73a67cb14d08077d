"""The callback of a training after SFT: lines for log.jsonl, checkpoints, answers, early stop. Used by `.train`."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from distill.errors import DistillError
from distill.records import Rollout
from distill.store import read_json, write_json
from sft.after.rollouts import Rollouts, StepMeans, means
from sft.after.settings import ThenSettings
from sft.together import COMPLETE

FLOOR = 0.9  # share of well-formed answers below which a training has collapsed
WINDOW = 5  # steps whose shares are averaged
FLAT = 0.9  # share of steps without a difference in reward from which on a training has learnt nothing
TIME = "seconds.json"  # in the checkpoint: what was trained before it


class WellFormed:
    """The share of well-formed answers over the last steps. A training has collapsed where it is below FLOOR and a
    tenth below what it was over the first steps: samples of a small student may be below FLOOR from the start."""

    def __init__(self) -> None:
        self.shares: list[float] = []
        self.healthy = 0  # the last step at which all was well
        self.fallen: str | None = None

    def see(self, point: StepMeans) -> str | None:
        """Why the training ends with this step, None where it goes on."""
        self.shares.append(point.well_formed)
        first = sum(self.shares[:WINDOW]) / len(self.shares[:WINDOW])
        now = sum(self.shares[-WINDOW:]) / len(self.shares[-WINDOW:])
        if len(self.shares) <= WINDOW or now >= min(FLOOR, first - 0.1):
            self.healthy = point.step - 1  # this step's answers are of the weights before it
            return None
        self.fallen = (
            f"only {now:.0%} of the answers of the last {WINDOW} steps are well-formed ({first:.0%} at the start): the "
            f"training has collapsed and ends here, with the weights before it; lower then.learning_rate, or give "
            "the reward form more weight"
        )
        return self.fallen


class AfterProgress(TrainerCallback):
    """What is said and kept of a training; `answers` is where the trainers put each step's answers."""

    def __init__(
        self,
        head: dict[str, Any],
        say: Callable[[dict[str, Any]], None],
        kept: Rollouts,
        watch: WellFormed,
        then: ThenSettings,
    ) -> None:
        self.head, self.say, self.kept, self.watch, self.then = head, say, kept, watch, then
        self.started = self.at = time.monotonic()
        self.before = 0.0  # seconds of the training that this one goes on from
        self.point: StepMeans | None = None
        self.losses: list[tuple[int, float]] = []
        self.flat: list[int] = []  # steps in which the answers to each prompt had the same reward
        self.kl: list[tuple[int, float]] = []  # from the SFT student, where the method measures it
        self.warnings: list[str] = []

    def answers(self, rows: list[Rollout]) -> None:
        """Take in one step's answers."""
        self.kept.fresh += rows
        self.point = means(rows)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What was trained before a checkpoint comes with it."""
        self.started = self.at = time.monotonic()
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / TIME
        self.before, self.losses, self.kl, self.flat = 0.0, [], [], []
        if state.global_step and (saved := read_json(path)):
            self.before = saved["seconds"]
            self.losses = [(step, loss) for step, loss in saved["losses"]]
            self.kl = [(step, kl) for step, kl in saved.get("kl", [])]
            self.flat = list(saved.get("flat", []))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """End a training whose answers have lost their form."""
        reason = self.watch.see(self.point) if self.point is not None else None
        if reason:
            self.warnings.append(reason)
            self.say({**self.head, "step": state.global_step, "steps": state.max_steps, "warning": reason})
            control.should_training_stop = True
            control.should_save = False
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The answers up to here are written, and then the mark of a whole checkpoint."""
        self.kept.flush(state.global_step)
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(
            checkpoint / TIME, {"seconds": self.seconds(), "losses": self.losses, "kl": self.kl, "flat": self.flat}
        )
        (checkpoint / COMPLETE).write_text(uuid.uuid4().hex, encoding="ascii")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """A line with the loss and the answers' means. Raises DistillError for a loss that is no number."""
        if not logs or "loss" not in logs or self.point is None:
            return
        loss, now = float(logs["loss"]), time.monotonic()
        if not math.isfinite(loss):
            raise DistillError(
                f"{self.head['student']}: the loss is {loss} at step {state.global_step}; lower then.learning_rate"
            )
        self.losses.append((state.global_step, loss))
        tokens = self.point.tokens * self.then.answers
        line = {
            "loss": loss,
            "learning_rate": logs.get("learning_rate"),
            "tokens_per_s": round(tokens / max(now - self.at, 1e-9), 1),
            "seconds": round(self.seconds(), 2),
            "well_formed": round(self.point.well_formed, 4),
            "right": round(self.point.right, 4),
            "answer_tokens": round(self.point.tokens, 1),
            **{f"reward_{name}": round(value, 4) for name, value in self.point.rewards.items()},
        }
        if (kl := logs.get("kl")) is not None:
            self.kl.append((state.global_step, float(kl)))
            line["kl"] = float(kl)
        if (reward := logs.get("reward")) is not None:
            line["reward"] = round(float(reward), 4)
        self.at = now
        self.say({**self.head, "step": state.global_step, "steps": state.max_steps, **line})
        self._see_differences(state, logs)

    def _see_differences(self, state: Any, logs: dict[str, Any]) -> None:
        """Say where grpo learns nothing, since no answer to a prompt was better than another."""
        step, steps = state.global_step, state.max_steps
        if logs.get("frac_reward_zero_std") == 1:
            self.flat.append(step)
        if len(self.flat) < max(1, FLAT * step) or step not in (WINDOW, steps):
            return
        remedy = "set select: disagree or pairs: labelled, or raise then.temperature"
        if not self.point or not self.point.well_formed:
            remedy = "no answer is well-formed: train the SFT student for longer"
        same = f"in {len(self.flat)} of {step} steps all answers to a prompt had the same reward, and taught nothing"
        text = f"{same}; {remedy}"
        if step == steps:
            self.warnings.append(text)
        self.say({**self.head, "step": step, "steps": steps, "warning": text})

    def seconds(self) -> float:
        """How long this training has taken, with what came before a kill."""
        return self.before + time.monotonic() - self.started
