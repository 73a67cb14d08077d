"""No teacher: what a configuration without `teacher` has. `distill pairs` needs none where nothing is asked."""

from __future__ import annotations

from distill.errors import ConfigError
from teacher.sources.base import TeacherSource


class NoTeacher(TeacherSource):
    """Answers nothing."""

    asks = False

    def check_files(self) -> None:
        """Raise ConfigError: whoever looks needs a teacher."""
        raise ConfigError("teacher: none is named; say who is asked, or which traces are imported (docs/teacher.md)")
