"""What stages count and what is measured, typed. Written by pipeline and evaluation, read by them and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Union

Json = Union[None, bool, int, float, str, Sequence["Json"], Mapping[str, "Json"]]  # noqa: UP007 (a recursive alias)
"""A value that JSON can hold."""

Counts = Mapping[str, Json]
"""What a stage counted, as metrics.json and its manifest hold it."""
