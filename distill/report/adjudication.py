"""What a person decided about single traces: `adjudication.jsonl` in the run folder, which the filters read.

One JSON object a line: {"pair_id", "sample", "action": "accept" | "reject" | "relabel", "label" (with relabel), "note",
"time" (UTC)}; at most one line a trace. `accept` keeps the trace whatever the filters say, `reject` puts it out,
`relabel` says that the pair's label is `label`.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from distill import store
from distill.errors import DataError

NAME = "adjudication.jsonl"
ACTIONS = ("accept", "reject", "relabel")
MAX_NOTE = 2000


class Adjudications:
    """The file as a mapping from (pair_id, sample); every change is on disk before it is confirmed."""

    def __init__(self, run: Path) -> None:
        self.path = run / NAME
        self._lock = threading.Lock()

    def read(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The decisions, the last line of a trace winning. Raises DataError with the line that is none."""
        if not self.path.exists():
            return {}
        decisions = {}
        for number, line in enumerate(self.path.read_text(encoding="utf-8").split("\n"), 1):
            if not line.strip():
                continue
            try:
                decision = checked(json.loads(line))
            except ValueError as error:
                raise DataError(f"{self.path}, line {number}: {error}; mend or remove the line") from None
            decisions[decision["pair_id"], decision["sample"]] = decision
        return decisions

    def change(self, decision: Any) -> dict[str, Any]:
        """Add a decision, or withdraw it with the action `clear`; returns it as written.

        Raises ValueError for what is no decision, DataError where the file was damaged in the meantime.
        """
        one = checked(decision, (*ACTIONS, "clear"))
        with self._lock:
            decisions = self.read()
            decisions.pop((one["pair_id"], one["sample"]), None)
            if one["action"] != "clear":
                one["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                decisions[one["pair_id"], one["sample"]] = one
            lines = (json.dumps(decided, ensure_ascii=True) + "\n" for decided in decisions.values())
            store.write_text(self.path, "".join(lines))
        return one


def checked(value: Any, actions: tuple[str, ...] = ACTIONS) -> dict[str, Any]:
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
    one: dict[str, Any] = {"pair_id": pair_id, "sample": sample, "action": action}
    if action == "relabel":
        if type(value.get("label")) is not int or not 0 <= value["label"] <= 100:
            raise ValueError(f"label is {value.get('label')!r}, not a grade from 0 on")
        one["label"] = value["label"]
    if value.get("note"):
        one["note"] = str(value["note"])[:MAX_NOTE]
    if isinstance(value.get("time"), str):
        one["time"] = value["time"][:40]
    return one
