"""Each student in each format: what is refused and why, and how far the log-odds are from the student's own.

    python benchmarks/exports/matrix.py "quickstart, direct" runs/quickstart/students/direct [--texts N] [--to gguf]

Needs the extras gguf, onnx and dense; llama.cpp too where LLAMA_PYTHON names a Python that has xllamacpp. The rows go
into docs/benchmarks/exports.json, in the place of this student's earlier ones; tests/rerank/test_exports.py compares
the table of docs/benchmarks/exports.md with them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.errors import InputError
from distill.rerank.exports import FORMATS, load
from distill.rerank.exports.base import ExportedStudent, check_pairs, check_rows, own_margins, student_of
from distill.rerank.exports.gguf import Gguf
from distill.store import write_json
from distill.tables import markdown

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "benchmarks" / "exports.json"
LLAMA = "llama.cpp"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="the student's name in the table")
    parser.add_argument("folder", type=Path, help="the student's folder")
    parser.add_argument("--texts", type=int, default=100, help="how many texts are compared (default: 100)")
    parser.add_argument("--to", nargs="+", default=list(FORMATS), choices=list(FORMATS), help="default: all formats")
    given = parser.parse_args()
    student = student_of(given.folder)
    pairs = check_pairs(student.form)[: given.texts]
    own = own_margins(student, pairs)
    for to in given.to:
        for row in measured(student, to, pairs, own):
            print(json.dumps(row), flush=True)
            add({"student": given.name, "format": to, **row})


def measured(student: ExportedStudent, to: str, pairs: Sequence[Any], own: list[float]) -> list[dict[str, Any]]:
    """The rows of one format: a refusal, or one row for each that reads it."""
    format_ = load(to)
    try:
        format_.check(student)
        with tempfile.TemporaryDirectory() as temporary:
            out = Path(temporary)
            format_.write(student, out)
            rows = [row(format_.read_by, own, format_.margins(student, out, pairs))]
            if isinstance(format_, Gguf) and os.environ.get("LLAMA_PYTHON"):
                rows.append(row(LLAMA, own, llama_margins(student, out / format_.file, pairs)))
    except InputError as error:
        return [{"refused": str(error).removeprefix(f"{student.folder}: ")}]
    return rows


def row(reader: str, own: Sequence[float], read: Sequence[float]) -> dict[str, Any]:
    """The largest difference of log-odds, to two digits. Raises ValueError where one is no number."""
    worst = max(abs(one - other) for one, other in zip(own, read, strict=True))
    if not all(map(math.isfinite, read)):
        raise ValueError(f"{reader} gives log-odds that are no numbers")
    return {"read_by": reader, "texts": len(own), "difference": float(f"{worst:.1e}")}


def llama_margins(student: ExportedStudent, file: Path, pairs: Sequence[Any]) -> list[float]:
    """By llama.cpp's own /completion, from the token ids that the student reads; of graded students' margins, see
    `distill rerank --backend openai`, which asks as here."""
    script = ROOT / "benchmarks" / "real" / "serve.py"
    command = [os.environ["LLAMA_PYTHON"], str(script), str(file), "--port", "0", "--slots", "1", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip().removesuffix("/v1")
        return [_margin(student, url, ids) for ids in check_rows(student.form, pairs)]
    finally:
        process.kill()
        process.wait()


def _margin(student: ExportedStudent, url: str, ids: list[int]) -> float:
    body = {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": len(student.form.tokenizer)}
    body |= {
        "cache_prompt": False,
        "logit_bias": [[student.true, 1000.0]],
    }  # a text is sampled; probabilities are before
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        listed = json.load(answer)["completion_probabilities"][0]["top_logprobs"]
    logprobs = {token["id"]: token["logprob"] for token in listed}
    top = max(student.form.grades)
    grades = [
        (grade / top, math.exp(logprobs[word]))
        for grade, word in zip(student.form.grades, student.form.verdicts, strict=True)
    ]
    relevant = sum(share * chance for share, chance in grades)
    return math.log(relevant) - math.log(sum((1 - share) * chance for share, chance in grades))


def figures() -> list[dict[str, Any]]:
    """The rows of docs/benchmarks/exports.json."""
    rows: list[dict[str, Any]] = json.loads(FIGURES.read_text()) if FIGURES.exists() else []
    return rows


def add(new: dict[str, Any]) -> None:
    """Put the row into the file, in the place of an earlier one of that student, format and reader."""
    key = ("student", "format", "read_by")
    kept = [row for row in figures() if [row.get(name) for name in key] != [new.get(name) for name in key]]
    write_json(FIGURES, [*kept, new])


def table() -> str:
    """The docs' table of all rows, and under it why students are refused."""
    rows = figures()
    columns = list(dict.fromkeys((to, read_by) for to in FORMATS for read_by in _readers(rows, to)))
    lines, reasons = [], dict[str, set[str]]()
    for student in dict.fromkeys(row["student"] for row in rows):
        own = [row for row in rows if row["student"] == student]
        cells = {(row["format"], row["read_by"]): f"{row['difference']:.1e}" for row in own if "refused" not in row}
        refused = {row["format"]: row["refused"] for row in own if "refused" in row}
        for to, reason in refused.items():
            reasons.setdefault(reason, set()).add(f"{student} `--to {to}`")
        texts = max((row["texts"] for row in own if "refused" not in row), default=0)
        lines.append([student, str(texts), *(cells.get(each, "no" if each[0] in refused else "") for each in columns)])
    head = ("student", "texts", *(f"`{to}` in {read_by}" for to, read_by in columns))
    why = [f"- {', '.join(sorted(whose))}: {reason}" for reason, whose in sorted(reasons.items())]
    return "\n".join([markdown(head, lines).rstrip(), "", *why]) + "\n"


def _readers(rows: Sequence[dict[str, Any]], to: str) -> list[str]:
    return [row["read_by"] for row in rows if row["format"] == to and "refused" not in row]


if __name__ == "__main__":
    main()
