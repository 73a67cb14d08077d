"""The teacher's sources, one a file, and `source_of`, by which the settings make theirs.

`teacher.source` names one of them by its file's name (`import` for `import_.py`), or one's own as `file.py:Class`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from distill.plugins import Kind
from teacher.sources.base import TeacherSource

if TYPE_CHECKING:
    from teacher.settings import TeacherSettings

SOURCES = Kind(
    "teacher source", "teacher.sources", TeacherSource, inherit="teacher.sources.base.WorkerSource, and define `ask`"
)


def source_of(settings: TeacherSettings) -> TeacherSource:
    """The source that the settings name. Raises ConfigError where it cannot be loaded."""
    return _class_of(settings.source)(settings)


@lru_cache(maxsize=16)
def _class_of(name: str) -> type[TeacherSource]:
    return SOURCES.load(name)
