"""Lines of log.jsonl as progress for the terminal: training steps, measures on held-out pairs.

Used by `distill.pipeline.run`.
"""

from __future__ import annotations

import time

from distill.results import Counts, Json

EVERY = 5.0  # seconds between two lines of training; the last step is always shown


class Progress:
    """Says which events are worth a line now."""

    def __init__(self) -> None:
        self._shown = 0.0

    def line(self, event: Counts) -> str | None:
        """The text for an event; None where it is none of progress, or follows too soon."""
        if "student" in event:
            return self._training(event)
        return None

    def step(self, event: Counts) -> tuple[str, float, float, str] | None:
        """(student, step, steps, pace) of an event that is one of training's steps, for a bar; else None."""
        if "student" not in event or {"warning", "note", "dev_spread"} & event.keys():
            return None
        return str(event["student"]), number(event["step"]), number(event.get("steps")), _pace(event)

    def _training(self, event: Counts) -> str | None:
        step, steps = number(event["step"]), number(event.get("steps"))
        if "warning" in event:
            where = f" at step {step:.0f}" if step else ""
            return f"  {event['student']}: WARNING{where}: {event['warning']}"
        if "note" in event:
            return f"  {event['student']}: {event['note']}"
        where = f"  {event['student']}: step {step:.0f}/{steps:.0f}"
        if "dev_spread" in event:
            shown = [f"{key[4:]} {number(value):.3f}" for key, value in event.items() if key.startswith("dev_")]
            return f"{where}  held out: {', '.join(shown)}"
        if not self._due(step == steps):
            return None
        return f"{where}  {_pace(event)}"

    def _due(self, last: bool) -> bool:
        due = last or time.monotonic() - self._shown > EVERY
        if due:
            self._shown = time.monotonic()
        return due


def _pace(event: Counts) -> str:
    step, steps = number(event["step"]), number(event.get("steps"))
    left = number(event["seconds"]) / max(step, 1) * (steps - step)
    paid = f"reward {number(event['reward']):.3f}  " if "reward" in event else ""
    right = f"right {number(event['right']):.0%}  " if "right" in event else ""
    pace = f"{number(event['tokens_per_s']):,.0f} tokens/s  {left:.0f} s left"
    return f"loss {number(event['loss']):.3f}  {paid}{right}{pace}"


def number(value: Json) -> float:
    """A number of an event; NaN for what is none."""
    return float(value) if isinstance(value, int | float) else float("nan")
