"""A spinner, a bar, its share and a text on the terminal's last lines. Used by pipeline and teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def bars() -> Progress:
    """Rich's progress on standard error, gone when it stops; a text that is too long for the line is cut."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
    from rich.table import Column

    text = TextColumn(
        "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
    )
    columns = SpinnerColumn(), BarColumn(16), TaskProgressColumn(), text
    return Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4, expand=True)
