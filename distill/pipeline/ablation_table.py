"""What an ablation found: one table over all variants and students, with what each of them cost.

Called by `distill.pipeline.ablation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from distill import store
from distill.pipeline.run import Run
from distill.pipeline.variants import Variant
from distill.records import Trace
from distill.results import (
    BASELINES,
    Ablation,
    AblationRow,
    ByUnit,
    EvaluationResult,
    SetDetail,
    StudentCounts,
    as_json,
    read_as,
)
from distill.tables import cell, markdown

OWN = Variant("as configured", "", {})
SEEDS = {"seed", "sft.seed"}
COSTS = (
    "student", "pairs trained on", "traces asked", "teacher tokens", "teacher USD", "training s", "tokens a pair",
)  # fmt: skip


def stale(run: Run, runs: Sequence[tuple[Variant, Run]]) -> bool:
    """Whether the table is of other evaluations than are there now."""
    ablation = read_as(Ablation, store.read_json(run.ablation / "ablation.json"))
    return ablation.made_of != _made_of(run, runs)


def _made_of(run: Run, runs: Sequence[tuple[Variant, Run]]) -> list[str]:
    manifests = [store.read_manifest(variant_run.evaluation) for variant_run in (run, *(r for _, r in runs))]
    return [f"{manifest['fingerprint']} {manifest['written']}" if manifest else "" for manifest in manifests]


def write(run: Run, runs: Sequence[tuple[Variant, Run]], linked: Mapping[str, list[str]]) -> None:
    """ablation/ablation.json, table.md and table.tex."""
    from distill.evaluation import tables
    from distill.evaluation.evaluate import summarise

    rows: list[AblationRow] = []
    values: dict[str, dict[str, Mapping[str, Mapping[str, float]]]] = {}
    for variant, variant_run in ((OWN, run), *runs):
        rows += _rows(variant, variant_run, linked.get(variant.name, []))
        for entry in variant_run.config.evaluation.sets:
            for system, by_measure in _per_query(variant_run, entry.name).items():
                if system != "untrained" and (system != "first_stage" or variant is OWN):
                    values.setdefault(entry.name, {})[_row_name(variant, system)] = by_measure
    sets, text, latex = {}, [], []
    place = {row.row: number for number, row in enumerate(rows)}
    for name, unordered in values.items():
        by_row = {row: unordered[row] for row in sorted(unordered, key=lambda row: place.get(row, -1))}
        baseline = next((row for row in by_row if row.startswith(f"{OWN.label}: ")), next(iter(by_row)))
        result = summarise(by_row, run.config.seed, baseline)
        sets[name] = replace(result, per_query=None)
        text.append(f"## {name}\n\n{tables.markdown_table(result)}")
        latex.append(tables.latex_table(result, f"Ablations on {name}."))
    seeds = [variant_run for variant, variant_run in runs if variant.changes and set(variant.changes) <= SEEDS]
    spread = _over_seeds(seeds, run.config.seed)
    text += [f"## {name}, over {len(seeds)} seeds\n\n{tables.markdown_table(one)}" for name, one in spread.items()]
    folder = run.ablation
    folder.mkdir(exist_ok=True)
    (folder / "table.md").write_text("\n".join([*text, "## What each cost", "", costs(rows)]) + "\n", encoding="utf-8")
    (folder / "table.tex").write_text("\n".join(latex), encoding="utf-8")
    ablation = as_json(Ablation(_made_of(run, runs), [], sets, spread))
    store.write_json(folder / "ablation.json", {**ablation, "rows": [asdict(row) for row in rows]})


def _per_query(run: Run, set_name: str) -> ByUnit:
    return read_as(SetDetail, store.read_json(run.evaluation / f"{set_name}.json")).per_query


def _over_seeds(runs: Sequence[Run], seed: int) -> dict[str, EvaluationResult]:
    """The spread over variants that differ in nothing but their seed, where there are two or more."""
    from distill.evaluation.seeds import across

    measured = [run.folder for run in runs if any(run.evaluation.glob("*.json"))]
    return across(measured, seed) if len(measured) > 1 else {}


def _row_name(variant: Variant, system: str) -> str:
    return system if system == "first_stage" else f"{variant.label}: {system}"


def _rows(variant: Variant, run: Run, reused: list[str]) -> list[AblationRow]:
    """One row a student, in the order of the configuration: what it was made from, its cost, its measures."""
    metrics = run.metrics()
    students, examples = metrics.counts("sft").students, metrics.counts("dataset").examples
    targets = [student.name for student in run.config.sft.students]
    systems = {name for measures in metrics.evaluation.values() for name in measures if name not in BASELINES}
    traces, usd, tokens = _asked(run)
    rows = []
    for system in sorted(systems, key=lambda name: (targets.index(name) if name in targets else len(targets), name)):
        target = system if system in students else system.rpartition(".")[0]
        student = students.get(target, StudentCounts())
        rows.append(
            AblationRow(
                row=_row_name(variant, system),
                variant=variant.label,
                student=system,
                target=target,
                changes=variant.changes,
                kept=metrics.counts("filter").kept,
                examples=examples.get(target),
                traces=traces,
                teacher_usd=usd,
                teacher_tokens=tokens,
                train_seconds=student.seconds,
                train_tokens=student.tokens,
                reused=reused,
                measures={name: by[system] for name, by in metrics.evaluation.items() if system in by},
            )
        )
    return rows


def _asked(run: Run) -> tuple[int, float, int]:
    """(traces, dollars, tokens) of the variant, as if it were alone: answers that variants share count for each."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["cost_usd", "prompt_tokens", "completion_tokens"]
    tables = [pq.read_table(shard, columns=columns) for shard in sorted(run.traces.glob("*.parquet"))]
    table = pa.concat_tables([store.schema_of(Trace).empty_table().select(columns), *tables])
    usd, prompt, completion = (pc.sum(table[name]).as_py() or 0 for name in columns)
    return table.num_rows, round(float(usd), 6), prompt + completion


def costs(rows: Sequence[AblationRow]) -> str:
    """The Markdown table of what each student cost."""
    table = []
    for row in rows:
        tokens = next((m["tokens_per_pair"] for m in row.measures.values() if "tokens_per_pair" in m), None)
        counts = map(_number, (row.examples, row.traces, row.teacher_tokens))
        spent = (f"{row.teacher_usd:.2f}", _number(row.train_seconds, 1), _number(tokens, 1))
        table.append([cell(row.row), *counts, *spent])
    return f"{markdown(COSTS, table)}\n\nEach as if it were alone; what variants share was paid for once."


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
