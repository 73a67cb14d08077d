"""What an ablation found: one table over all variants and students, with what each of them cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill import store
from distill.pipeline.run import Run
from distill.pipeline.variants import Variant
from distill.results import EvaluationResult, SetDetail, as_json, read_as

OWN = "as configured"
NOT_STUDENTS = ("first_stage", "untrained")
SEEDS = {"seed", "sft.seed"}


def stale(run: Run, runs: Sequence[tuple[Variant, Run]]) -> bool:
    """Whether the table is of other evaluations than are there now."""
    found = store.read_json(run.ablation / "ablation.json")
    return not isinstance(found, dict) or found.get("made_of") != _made_of(run, runs)


def _made_of(run: Run, runs: Sequence[tuple[Variant, Run]]) -> list[str]:
    manifests = [store.read_manifest(each.evaluation) for each in (run, *(r for _, r in runs))]
    return [f"{m['fingerprint']} {m['written']}" if m else "" for m in manifests]


def write(run: Run, runs: Sequence[tuple[Variant, Run]], linked: Mapping[str, list[str]]) -> None:
    """ablation/ablation.json, table.md and table.tex."""
    from distill.evaluation import tables
    from distill.evaluation.evaluate import summarise

    every = [(OWN, {}, run, []), *((v.label, v.changes, each, linked.get(v.name, [])) for v, each in runs)]
    rows: list[dict[str, Any]] = []
    values: dict[str, dict[str, Mapping[str, Mapping[str, float]]]] = {}
    for label, changes, each, reused in every:
        rows += _rows(label, changes, each, reused)
        for one in each.config.evaluation.sets:
            detail = read_as(SetDetail, store.read_json(each.evaluation / f"{one.name}.json"))
            for system, by in detail.per_query.items():
                if system != "untrained" and not (system == "first_stage" and label != OWN):
                    values.setdefault(one.name, {})[_row_name(label, system)] = by
    sets, text, latex = {}, [], []
    place = {row["row"]: at for at, row in enumerate(sorted(rows, key=lambda row: row["variant"] != OWN))}
    for name, unordered in values.items():
        by_row = dict(sorted(unordered.items(), key=lambda each: place.get(each[0], -1)))
        baseline = next((row for row in by_row if row.startswith(f"{OWN}: ")), next(iter(by_row)))
        result = summarise(by_row, run.config.seed, baseline)
        sets[name] = replace(result, per_query=None)
        text.append(f"## {name}\n\n{tables.markdown_table(result)}")
        latex.append(tables.latex_table(result, f"Ablations on {name}."))
    seeds = [each.folder for variant, each in runs if variant.changes and set(variant.changes) <= SEEDS]
    spread = _over_seeds(seeds, run.config.seed)
    text += [f"## {name}, over {len(seeds)} seeds\n\n{tables.markdown_table(one)}" for name, one in spread.items()]
    folder = run.ablation
    folder.mkdir(exist_ok=True)
    (folder / "table.md").write_text("\n".join([*text, "## What each cost", "", costs(rows)]) + "\n", encoding="utf-8")
    (folder / "table.tex").write_text("\n".join(latex), encoding="utf-8")
    made = {"made_of": _made_of(run, runs), "rows": rows, "sets": sets, "seeds": spread}
    store.write_json(folder / "ablation.json", as_json(made))


def _over_seeds(folders: Sequence[Path], seed: int) -> dict[str, EvaluationResult]:
    """The spread over variants that differ in nothing but their seed, where there are two or more."""
    from distill.evaluation.seeds import across

    measured = [folder for folder in folders if any((folder / "evaluation").glob("*.json"))]
    return across(measured, seed) if len(measured) > 1 else {}


def _row_name(label: str, system: str) -> str:
    return system if system == "first_stage" else f"{label}: {system}"


def _rows(label: str, changes: Mapping[str, Any], run: Run, reused: Sequence[str]) -> list[dict[str, Any]]:
    """One row a student: what it was made from, what that cost, what it scores."""
    metrics = run.metrics()
    stages = metrics.stages
    students = stages.get("sft", {}).get("students", {})
    examples = stages.get("dataset", {}).get("examples", {})
    teacher = _asked(run)
    found = []
    seen = {s for by in metrics.evaluation.values() for s in by if s not in NOT_STUDENTS}
    targets = [student.name for student in run.config.sft.targets]
    systems = sorted(seen, key=lambda s: (next((n for n, t in enumerate(targets) if s == t), len(targets)), s))
    for system in systems:
        name = system if system in students else system.rpartition(".")[0]
        made = students.get(name, {})
        found.append(
            {
                "row": _row_name(label, system),
                "variant": label,
                "student": system,
                "target": name,
                "changes": dict(changes),
                "kept": stages.get("filter", {}).get("kept"),
                "examples": examples.get(name),
                **teacher,
                "train_seconds": made.get("seconds"),
                "train_tokens": made.get("tokens"),
                "reused": list(reused),
                "measures": {one: by[system] for one, by in metrics.evaluation.items() if system in by},
            }
        )
    return found


def _asked(run: Run) -> dict[str, Any]:
    """What the variant's traces cost, had it been the only one: shared answers are counted for each that uses them."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found = {"traces": 0, "teacher_usd": 0.0, "teacher_tokens": 0}
    for shard in sorted(run.traces.glob("*.parquet")):
        table = pq.read_table(shard, columns=["cost_usd", "prompt_tokens", "completion_tokens"])
        found["traces"] += table.num_rows
        found["teacher_usd"] += pc.sum(table["cost_usd"]).as_py() or 0.0
        found["teacher_tokens"] += sum(pc.sum(table[n]).as_py() or 0 for n in ("prompt_tokens", "completion_tokens"))
    return {**found, "teacher_usd": round(found["teacher_usd"], 6)}


def costs(rows: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table of what each student cost."""
    head = [
        "student",
        "pairs trained on",
        "traces asked",
        "teacher tokens",
        "teacher USD",
        "training s",
        "tokens a pair",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        tokens = next((m["tokens_per_pair"] for m in row["measures"].values() if "tokens_per_pair" in m), None)
        cells = [
            str(row["row"]).replace("|", "\\|"), _number(row["examples"]), _number(row["traces"]),
            _number(row["teacher_tokens"]), f"{row['teacher_usd']:.2f}", _number(row["train_seconds"], 1),
            _number(tokens, 1),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    note = "Each as if it were alone; what variants share was paid for once."
    return "\n".join([*lines, "", note])


def _number(value: Any, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
