"""The filters over rows in memory, by the engine that users run; quality.py and leaks.py call it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

from distill import store
from distill.records import Pair, Rejected, Trace
from filters.engine.run import filter_folders
from filters.settings import FilterSettings


@dataclass(frozen=True)
class Sifted:
    """What the filters wrote. `changed` are the pairs that got another label, by pair_id."""

    kept: list[Trace]
    rejected: list[Rejected]
    changed: dict[str, Pair]


def sifted(rows: list[tuple[Pair, Trace]], filters: list[Any]) -> Sifted:
    """The filters over the rows, written into a temporary folder and read back."""
    with tempfile.TemporaryDirectory() as folder:
        store.write_rows(f"{folder}/pairs", {p.pair_id: p for p, _ in rows}.values(), Pair)
        store.write_rows(f"{folder}/traces", [t for _, t in rows], Trace)
        names = [f"{folder}/{name}" for name in ("pairs", "traces", "kept", "rejected", "changed")]
        filter_folders(*names, FilterSettings.model_validate(filters), processes=1)
        return Sifted(
            list(store.read_rows(f"{folder}/kept", Trace)),
            list(store.read_rows(f"{folder}/rejected", Rejected)),
            {pair.pair_id: pair for pair in store.read_rows(f"{folder}/changed", Pair)},
        )
