"""A training that is interrupted in its middle, for tests of what goes on from its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def interrupted(monkeypatch: pytest.MonkeyPatch, train: Callable[[Any], Any], job: Any, before_step: int = 5) -> None:
    """Train the job, and raise KeyboardInterrupt in it before that step."""
    begun = 0

    def on_step_begin(*_: Any, **__: Any) -> None:
        nonlocal begun
        begun += 1
        if begun == before_step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sft.callbacks.ProgressCallback.on_step_begin", on_step_begin, raising=False)
        with pytest.raises(KeyboardInterrupt):
            train(job)
