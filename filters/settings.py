"""The YAML list of filters: names, or one name with its thresholds; checked whole before anything runs."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import RootModel, ValidationInfo, field_validator

KNOWN = {
    "finished": "filters.finished:Finished",
    "parses": "filters.parses:Parses",
    "has_reasoning": "filters.has_reasoning:HasReasoning",
    "verdict_matches_label": "filters.verdict_matches_label:VerdictMatchesLabel",
    "length": "filters.length:Length",
    "language": "filters.language:Language",
    "degenerate": "filters.degenerate:Degenerate",
    "leak": "filters.leak:Leak",
    "self_contradiction": "filters.self_contradiction:SelfContradiction",
    "consensus": "filters.consensus:Consensus",
    "label_dispute": "filters.label_dispute:LabelDispute",
    "self_filter": "filters.self_filter:SelfFilter",
    "near_duplicate": "filters.near_duplicate:NearDuplicate",
    "decontaminate": "filters.decontaminate:Decontaminate",
    "balance": "filters.balance:Balance",
}
# What earns its place on real traces (docs/filters.md): the rest is for those who know why they want it.
DEFAULT: list[Any] = ["finished", "parses", "has_reasoning", "degenerate", "language", "leak", "verdict_matches_label"]


class FilterSettings(RootModel[list[dict[str, dict[str, Any]]]]):
    """The filters in their order, each as {name: thresholds}. A name is one of ours, or `FILE.py:Class`."""

    root: list[dict[str, dict[str, Any]]] = [{name: {}} for name in DEFAULT]

    @field_validator("root", mode="before")
    @classmethod
    def _entries(cls, entries: Any, info: ValidationInfo) -> list[dict[str, dict[str, Any]]]:
        from filters.engine.build import make  # imports the filters that are named, none of them heavy

        if entries is None or not isinstance(entries, list):
            raise ValueError("filters are a list of names, or of {name: {threshold: value}}")
        base = Path((info.context or {}).get("base", "."))
        found = []
        for entry in entries:
            name, thresholds = _one(entry)
            make(name, thresholds, base)
            found.append({name: thresholds})
        return found

    def files(self, base: Path) -> list[Path]:
        """The user's own files that the list names: a change in one is a change of the settings."""
        names = [name.rpartition(":")[0] for entry in self.root for name in entry if ".py:" in name]
        decided = [v["decisions"] for entry in self.root for v in entry.values() if isinstance(v.get("decisions"), str)]
        return [base / name for name in dict.fromkeys([*names, *decided])]


def _one(entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(f"{entry!r} is no filter; write a name or {{name: {{threshold: value}}}}")
    ((name, thresholds),) = entry.items()
    if not isinstance(name, str) or (name not in KNOWN and ".py:" not in name):
        near = difflib.get_close_matches(str(name), KNOWN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KNOWN)}; or FILE.py:Class"
        raise ValueError(f"{name!r} is no filter; {hint}")
    if not isinstance(thresholds or {}, dict):
        raise ValueError(f"{name}: thresholds are a mapping, such as {{{name}: {{threshold: value}}}}")
    return name, dict(thresholds or {})
