"""Reasons in groups that a person can survey."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

FEW_REASONS = 4
_NUMBER = re.compile(r"\d[\d.,]*")


def filters_and_reasons(table: pa.Table) -> list[tuple[str, str]]:
    """(filter, reason) of each row of a table of rejected traces."""
    return list(zip(table["filter"].to_pylist(), table["reason"].to_pylist(), strict=True))


def grouped(rejected: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same (filter, reason) pairs, with N for every number where a filter gave more than four different reasons."""
    different: dict[str, set[str]] = {}
    for name, reason in rejected:
        different.setdefault(name, set()).add(reason)
    many = {name for name, reasons in different.items() if len(reasons) > FEW_REASONS}
    return [(name, _NUMBER.sub("N", reason) if name in many else reason) for name, reason in rejected]
