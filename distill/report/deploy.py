"""How to use the student that the report recommends: server, curl and Python, with texts of the run.

Called by `build`.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from distill.report.choice import choice
from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.modes import students_modes
from distill.report.words import clean

MAX_TEXT = 200  # characters of a query or passage
PORT = 8000
WRITE_NOTHING = ("encoder",)
MODES = ("think", "direct", "verdict_first", "budget", "adaptive")


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """The commands; None where no student was evaluated or trained here."""
    main = next((each for each in sets if each.students and each.primary), None)
    found = served(files, main, choice(files, main).system or main.students[0]) if main else None
    if main is None or found is None:
        return None
    student, mode, budget = found
    folder = str(files.run / "students" / student)
    query, passages = _example(main)
    asked = {"query": query, "documents": passages, "top_n": len(passages)}
    body = shlex.quote(json.dumps(asked, ensure_ascii=False))
    address = f"http://127.0.0.1:{PORT}/v1/rerank"
    python = (
        f"from distill.rerank import Reranker\n\nreranker = Reranker({folder!r}, mode={mode!r}"
        f"{f', budget={budget}' if budget else ''})\n"
        f"passages = {json.dumps(passages, ensure_ascii=False, indent=4)}\n"
        f"for hit in reranker.rank({json.dumps(query, ensure_ascii=False)}, passages):\n"
        '    print(f"{hit.score:.3f}  {hit.document}")\n'
    )
    return {
        "student": student,
        "blocks": [
            ("Serve it", f"distill serve --model {shlex.quote(folder)} {flags(mode, budget)} --port {PORT}"),
            ("Ask it", f"curl {address} -H 'Content-Type: application/json' -d {body}"),
            ("In Python", python),
        ],
    }


def served(files: RunFiles, each: EvaluationSet, system: str) -> tuple[str, str, int | None] | None:
    """(the trained student that a system is, its mode, the bound of mode budget); of a system that was not trained
    here, and is no mode of a student, the best student; None where none was trained here."""
    trained, asked = sorted(files.counts("sft").students, key=len, reverse=True), students_modes(files, each)
    for name in (system.removesuffix(".fused"), *each.students):
        student = next((one for one in trained if f"{name}.".startswith(f"{one}.")), None)
        if student is not None:
            known = asked[student].systems.get(name) if student in asked else None
            said = known.mode if known and known.mode else name.rpartition(".")[2]
            mode, _, budget = said.partition(":")
            return student, mode if mode in MODES else _usual(files, student), int(budget) if budget.isdigit() else None
    return None


def _usual(files: RunFiles, student: str) -> str:
    """The mode of a student whose name says none: `direct` of those that write nothing, else `think`."""
    targets = [one if isinstance(one, dict) else {"target": one} for one in files.setting("sft", "targets") or []]
    target = next((one["target"] for one in targets if student in (one.get("name"), one.get("target"))), "think")
    return "direct" if target in WRITE_NOTHING else "think"


def flags(mode: str, budget: int | None) -> str:
    """The options of `distill serve` for a mode."""
    return f"--mode {mode}{f' --budget {budget}' if budget else ''}"


def _example(each: EvaluationSet) -> tuple[str, list[str]]:
    """The first query with a judged relevant passage, that passage, and another one, cut short."""
    detail = each.detail
    for query, labels in detail.qrels.items():
        graded = sorted((doc for doc in labels if doc in detail.passages), key=lambda doc: -labels[doc])
        if query in detail.queries and graded and labels[graded[0]] > 0:
            docs = [graded[0], graded[-1]] if len(graded) > 1 else graded
            return _short(detail.queries[query]), [_short(detail.passages[doc]) for doc in docs]
    return "your query", ["a passage", "another one"]


def _short(text: str) -> str:
    return clean(text)[:MAX_TEXT]
