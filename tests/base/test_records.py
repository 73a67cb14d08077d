"""Rows from columns: equal to those made one by one, and as frozen."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from distill.records import Pair, Trace, from_columns, make_pair


def test_rows_from_columns_are_rows_like_any_other() -> None:
    pairs = [make_pair(f"q{n}", "d", "query", f"passage {n}", label=n) for n in range(3)]
    columns = [[getattr(pair, field.name) for pair in pairs] for field in fields(Pair)]
    rows = list(from_columns(Pair, columns))
    assert rows == pairs and list(map(hash, rows)) == list(map(hash, pairs))
    assert all(type(row) is Pair for row in rows) and rows[1].relevant
    with pytest.raises(FrozenInstanceError):
        rows[0].label = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        next(from_columns(Trace, [["p"], [0]]))
