"""Spinners and bars in a real terminal, plain lines without one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from teacher.progress import describe
from tests.terminal import in_terminal

CODE = """
import sys
from distill.pipeline.terminal import TerminalBars
bars = TerminalBars(quiet=False)
bars.wait("loading torch")
for done in range(5):
    bars.bar("think", done, 8, f"loss {done}")
print("a plain line", file=sys.stderr)
bars.clear()
"""


def test_in_a_terminal_there_are_a_reason_and_a_bar() -> None:
    text = in_terminal(["-c", CODE])
    assert "loading torch" in text and "think  loss 4" in text and "50%" in text and "a plain line" in text


def test_without_a_terminal_nothing_is_drawn() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stderr == "a plain line\n" and not result.stdout


@pytest.mark.parametrize("in_flight", [0, 7])
def test_no_rate_is_shown_while_nothing_is_in_flight(in_flight: int) -> None:
    event = {"answered": 0, "due": 9, "in_flight": in_flight, "tokens_per_s": 336.0, "cost_usd": 0.0, "failed": 0,
             "unreadable": 0, "seconds_left": None, "workers": 0, "faults": {}}  # fmt: skip
    shown = describe(event)
    assert shown.startswith("waiting for Ray") and ("336 tokens/s" in shown) == bool(in_flight)
