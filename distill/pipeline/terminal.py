"""The terminal's last lines while a run works: a spinner with its reason, or bars. Used by `distill.pipeline.run`.

Without a terminal it shows nothing, and the run prints plain lines in its place.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from distill.bars import bars

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class TerminalBars:
    """A spinner, then a bar for each student or system that works; `clear` before anybody else draws there."""

    def __init__(self, quiet: bool) -> None:
        self.shown = not quiet and sys.stderr.isatty()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def wait(self, reason: str) -> None:
        """A spinner with the reason, until there is something else to show."""
        if self.shown:
            self._task("", None, reason)

    def bar(self, name: str, done: float, of: float, text: str) -> None:
        """The bar called `name`, moved to `done` of `of`; a full one stays until `clear`."""
        if self.shown:
            self._forget("")
            self._task(name, of, f"{name}  {text}", done)

    def clear(self) -> None:
        """Take everything away."""
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._tasks = None, {}

    def _task(self, name: str, total: float | None, text: str, done: float = 0) -> None:
        if self._progress is None:
            self._progress = bars()
            self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(text, total=total)
        self._progress.update(self._tasks[name], completed=done, description=text)

    def _forget(self, name: str) -> None:
        if name in self._tasks and self._progress is not None:
            self._progress.remove_task(self._tasks.pop(name))
