"""What people decided about single traces: `adjudication.jsonl` in the run folder, which the filters read.

One JSON object a line: {"pair_id", "sample", "action": "accept" | "reject" | "relabel", "label" (with relabel), "note",
"unclear" (true where a reviewer could not say who is right), "reviewer", "time" (UTC)}; at most one line a trace and
reviewer. `accept` keeps the trace whatever the filters say, `reject` puts it out, `relabel` says that the pair's label
is `label`. Where several reviewers decided about a trace, the last of them counts.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

from distill import store
from distill.errors import DataError
from distill.statistics.agreement import cohen_kappa

NAME = "adjudication.jsonl"
ACTIONS = ("accept", "reject", "relabel")
MAX_NOTE, MAX_NAME = 2000, 100  # characters
Decision = dict[str, Any]


class Adjudications:
    """The file as a mapping from (pair_id, sample); every change is on disk before it is confirmed."""

    def __init__(self, run: Path) -> None:
        self.path = run / NAME
        self._lock = threading.Lock()

    def read(self) -> dict[tuple[str, int], Decision]:
        """The decision about each trace, its last line winning. Raises DataError with the line that is none."""
        return {(decision["pair_id"], decision["sample"]): decision for decision in self.all()}

    def all(self) -> list[Decision]:
        """Every reviewer's decisions, the last one last. Raises DataError with the line that is none."""
        if not self.path.exists():
            return []
        decisions: dict[tuple[str, int, str], Decision] = {}
        for number, line in enumerate(self.path.read_text(encoding="utf-8").split("\n"), 1):
            if not line.strip():
                continue
            try:
                decision = checked(json.loads(line))
            except ValueError as error:
                raise DataError(f"{self.path}, line {number}: {error}; mend or remove the line") from None
            decisions.pop(_key(decision), None)
            decisions[_key(decision)] = decision
        return list(decisions.values())

    def change(self, decision: Any) -> Decision:
        """Add a reviewer's decision, or withdraw it with the action `clear`; returns it as written.

        Raises ValueError for what is no decision, DataError where the file was damaged in the meantime.
        """
        one = checked(decision, (*ACTIONS, "clear"))
        with self._lock:
            decisions = [other for other in self.all() if _key(other) != _key(one)]
            if one["action"] != "clear":
                one["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                decisions.append(one)
            lines = (json.dumps(decided, ensure_ascii=True) + "\n" for decided in decisions)
            store.write_text(self.path, "".join(lines))
        return one


def _key(decision: Decision) -> tuple[str, int, str]:
    return decision["pair_id"], decision["sample"], decision.get("reviewer", "")


def agreement(decisions: Iterable[Decision]) -> list[tuple[str, str, int, int, float]]:
    """(reviewer, reviewer, traces that both decided, of these alike, Cohen's kappa) of each two who share a trace."""
    by_reviewer: dict[str, dict[tuple[str, int], str]] = {}
    for one in decisions:
        answer = "unclear" if one.get("unclear") else f"{one['action']} {one.get('label', '')}"
        by_reviewer.setdefault(one.get("reviewer", ""), {})[one["pair_id"], one["sample"]] = answer
    pairs = []
    for (name, ours), (other, theirs) in combinations(sorted(by_reviewer.items()), 2):
        if shared := sorted(ours.keys() & theirs.keys()):
            kappa = cohen_kappa([ours[key] for key in shared], [theirs[key] for key in shared])
            alike = sum(ours[key] == theirs[key] for key in shared)
            pairs.append((name, other, len(shared), alike, round(kappa, 3)))
    return pairs


def checked(value: Any, actions: tuple[str, ...] = ACTIONS) -> Decision:
    """The decision with its known fields only. Raises ValueError that names what is wrong."""
    if not isinstance(value, dict):
        raise ValueError("a decision is a JSON object")
    pair_id, sample, action = value.get("pair_id"), value.get("sample", 0), value.get("action")
    if not isinstance(pair_id, str) or not pair_id or len(pair_id) > 200:
        raise ValueError("pair_id is not a pair's id")
    if type(sample) is not int or sample < 0:
        raise ValueError(f"sample is {sample!r}, not a number from 0 on")
    if action not in actions:
        raise ValueError(f"action is {action!r}, not one of {', '.join(actions)}")
    one: Decision = {"pair_id": pair_id, "sample": sample, "action": action}
    if action == "relabel":
        if type(value.get("label")) is not int or not 0 <= value["label"] <= 100:
            raise ValueError(f"label is {value.get('label')!r}, not a grade from 0 on")
        one["label"] = value["label"]
    if value.get("unclear") is True:
        one["unclear"] = True
    if value.get("reviewer"):
        one["reviewer"] = str(value["reviewer"])[:MAX_NAME]
    if value.get("note"):
        one["note"] = str(value["note"])[:MAX_NOTE]
    if isinstance(value.get("time"), str):
        one["time"] = value["time"][:40]
    return one
