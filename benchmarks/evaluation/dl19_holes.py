"""What filling holes with an LLM judge is worth, on TREC DL 2019: hide, fill, compare.

    python benchmarks/evaluation/dl19_holes.py FOLDER     # a folder as tests/evaluation uses it: qrels/, runs/, ...

Eleven rankings: the six of runs/ and the five best official submissions by nDCG@10. Judgements of passages that stand
in the top ten of exactly one of them are hidden, as if that ranker had not been in the pool; then the holes are filled
by each LLM judge of qrels/llm_labels.tsv. Prints a Markdown table: nDCG@10 before, hidden, filled, with Kendall's tau
between the systems' order and the order before; and writes JSON with --json FILE.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau

from distill.evaluation.files import read_qrels
from distill.evaluation.holes import agreement, filled, redrawn
from distill.evaluation.measures import per_query
from distill.files.runs import ranked, read_run

MEASURE, DEPTH, RELEVANT = "nDCG@10", 10, 2


def mean(qrels: Any, run: Any) -> float:
    values = per_query(qrels, run, [MEASURE])[MEASURE].values()
    return sum(values) / len(values)


def systems(folder: Path, qrels: Any) -> dict[str, Any]:
    """The six and the five best official ones."""
    own = {path.name.split(".")[0]: read_run(path) for path in sorted((folder / "runs").glob("*.trec"))}
    official = {path.name.split(".")[0]: read_run(path) for path in sorted((folder / "runs-trec2019").glob("*.gz"))}
    best = sorted(official, key=lambda name: -mean(qrels, official[name]))[:5]
    return {**own, **{name: official[name] for name in best}}


def hide(qrels: Any, runs: Any) -> tuple[Any, list[tuple[str, str]]]:
    """(judgements without, which pairs) stand in the top ten of exactly one run."""
    seen: Counter[tuple[str, str]] = Counter()
    for run in runs.values():
        seen.update((q, doc) for q in run if q in qrels for doc, _ in ranked(run[q])[:DEPTH])
    gone = sorted(key for key, count in seen.items() if count == 1 and key[1] in qrels[key[0]])
    left = {q: {d: g for d, g in labels.items() if (q, d) not in set(gone)} for q, labels in qrels.items()}
    return left, gone


def simulate(folder: Path) -> dict[str, Any]:
    """Everything that the table shows."""
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    lines = [line.split("\t") for line in (folder / "qrels" / "llm_labels.tsv").read_text().splitlines()]
    judges, rows = lines[0][3:], lines[1:]
    runs = systems(folder, qrels)
    left, gone = hide(qrels, runs)
    columns = {"before": {name: mean(qrels, run) for name, run in runs.items()}}
    columns["hidden"] = {name: mean(left, run) for name, run in runs.items()}
    known, bars, corrected = {}, {}, {}
    hidden = set(gone)
    tops = {(q, d) for run in runs.values() for q in run if q in qrels for d, _ in ranked(run[q])[:DEPTH]}
    for at, judge in enumerate(judges, 3):
        said = {(row[0], row[1]): int(row[at]) for row in rows}
        given = {key: said[key] for key in gone}
        control = [(qrels[q][d], said[q, d]) for q, d in sorted(tops - hidden) if d in qrels[q] and (q, d) in said]
        columns[judge] = {name: mean(filled(left, given), run) for name, run in runs.items()}
        known[judge] = agreement(control, RELEVANT)
        drawn = redrawn(left, runs, [MEASURE], given, control, DEPTH, 0)
        bars[judge] = {name: by[MEASURE] for name, by in drawn["error"].items()}
        corrected[judge] = {name: by[MEASURE] for name, by in drawn["corrected"].items()}
    order = list(runs)
    before = [columns["before"][name] for name in order]

    def tau(values: dict[str, float]) -> float:
        return float(kendalltau(before, [values[name] for name in order]).statistic)

    def apart(values: dict[str, float]) -> float:
        return max(abs(values[name] - columns["before"][name]) for name in order)

    contributed = {
        name: sum(doc in {d for d, _ in ranked(run[q])[:DEPTH]} for q, doc in gone if q in run)
        for name, run in runs.items()
    }
    return {
        "hidden": len(gone),
        "hidden_relevant": sum(qrels[q][d] >= RELEVANT for q, d in gone),
        "contributed": contributed,
        "columns": columns,
        "corrected": corrected,
        "tau": {name: tau(values) for name, values in columns.items()},
        "largest_error": {name: apart(values) for name, values in columns.items()},
        "tau_corrected": {name: tau(values) for name, values in corrected.items()},
        "largest_error_corrected": {name: apart(values) for name, values in corrected.items()},
        "agreement": known,
        "error_bars": bars,
    }


def table(found: dict[str, Any]) -> str:
    """The Markdown table."""
    columns = found["columns"]
    lines = ["| ranking | hidden of its top tens | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for name in sorted(columns["before"], key=lambda name: -columns["before"][name]):
        cells = [f"{columns[c][name]:.4f}" for c in columns]
        lines.append(f"| {name} | {found['contributed'][name]} | " + " | ".join(cells) + " |")
    lines.append("| Kendall's tau to before | | " + " | ".join(f"{found['tau'][c]:.3f}" for c in columns) + " |")
    apart = " | ".join(f"{found['largest_error'][c]:.4f}" for c in columns)
    lines.append("| largest error | | " + apart + " |")
    judges = [c for c in columns if c in found["agreement"]]
    for word, key in (("agrees on relevance", "relevant"), ("kappa", "kappa"), ("bias in grades", "bias")):
        cells = " | ".join(f"{found['agreement'][judge][key]:.2f}" for judge in judges)
        lines.append(f"| {word} | | | | {cells} |")
    for word, key, digits in (
        ("corrected: Kendall's tau", "tau_corrected", 3),
        ("corrected: largest error", "largest_error_corrected", 4),
    ):
        lines.append(f"| {word} | | | | " + " | ".join(f"{found[key][judge]:.{digits}f}" for judge in judges) + " |")
    before = columns["before"]
    held = [sum(low <= before[n] <= high for n, (low, high) in found["error_bars"][j].items()) for j in judges]
    lines.append(f"| error bars that hold the true value, of {len(before)} | | | | {' | '.join(map(str, held))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Hide and fill judgements of DL19")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    result = simulate(parsed.folder)
    print(f"{result['hidden']} judgements hidden, {result['hidden_relevant']} of them relevant (grade 2 or 3)\n")
    print(table(result))
    if parsed.json:
        parsed.json.write_text(json.dumps(result, indent=1) + "\n")
