"""The check of an export: what is read back from its files says of 100 texts what the student says. For `export`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from distill.errors import InputError
from distill.rerank.exports.base import ExportedStudent, Format, check_pairs, own_margins


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the margins of `texts` texts are from the student's own at most, and by what the export was read."""

    texts: int
    difference: float
    tolerance: float
    read_by: str

    def text(self) -> str:
        """One sentence for the terminal and the card."""
        return (
            f"{self.texts} texts, read by {self.read_by}: the margins differ from the student's own by at most "
            f"{self.difference:.1e} (allowed: {self.tolerance:g})"
        )


def check(student: ExportedStudent, format_: Format, out: Path) -> Parity:
    """Compare the export in `out` with the student, both in float32. Raises InputError where they differ by more than
    the format's tolerance."""
    pairs = check_pairs(student.form)
    expected = own_margins(student, pairs)
    read = format_.margins(student, out, pairs)
    differences = [abs(one - other) for one, other in zip(read, expected, strict=True)]
    worst = max(differences, key=lambda value: math.inf if math.isnan(value) else value)
    parity = Parity(len(pairs), worst, format_.tolerance, format_.read_by)
    if not worst <= parity.tolerance:
        query, passage = pairs[differences.index(worst)].query, pairs[differences.index(worst)].passage
        raise InputError(
            f"{student.folder}: nothing was exported, since the copy does not score as the student does: "
            f"{parity.text()}, such as query {query!r}, passage {passage!r}"
        )
    return parity
