"""`source: example`: the embedded teacher, which the pipeline starts and reaches as an endpoint. Costs nothing."""

from __future__ import annotations

from typing import ClassVar

from distill.store import fingerprint
from teacher.sources.endpoints import Endpoints


class ExampleTeacher(Endpoints):
    """`teacher.example` holds the embedded teacher's own settings, which its name in request ids follows."""

    priced: ClassVar[bool] = False
    sends: ClassVar[frozenset[str]] = frozenset()
    embedded: ClassVar[bool] = True

    @property
    def default_name(self) -> str:
        """`example`, with a hash of the settings where there are any."""
        settings = self.settings.example
        return f"example-{fingerprint(settings)[:8]}" if settings else "example"

    def check(self) -> None:
        """Nothing is needed."""
