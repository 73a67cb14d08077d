"""The run against the one before it in the same folder of runs, over the queries that both have. Called by `build`."""

from __future__ import annotations

from typing import Any

from distill.report.evaluated import EvaluationSet, evaluation_sets, paired
from distill.report.files import RunFiles
from distill.report.words import count, measure, signed


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """The earlier run's name and a row for each system of both; None where there is none to compare with."""
    main = next((each for each in sets if each.students and each.primary), None)
    before = _earlier(files, main) if main else None
    if main is None or before is None:
        return None
    same = _common(before, main)
    rows = []
    for system in main.order:
        both = [each.per_query(system, main.primary) for each in (before, main)]
        left, right = ({query: value for query, value in values.items() if query in same} for values in both)
        gain = paired(left, right)
        if gain:
            earlier = sum(left[query] for query in gain.values) / len(gain.values)
            values = (measure(earlier), measure(earlier + gain.mean), signed(gain.mean))
            rows.append((system, *values, f"{signed(gain.low)} to {signed(gain.high)}", gain.low > 0))
    if not rows:
        return None
    return {
        "name": before.files.name,
        "href": before.files.run.name,
        "measure": f"{main.primary} on {main.name}",
        "queries": count(len(same)),
        "rows": rows,
        "command": f"distill compare {before.files.run} {files.run}",
    }


def _earlier(files: RunFiles, main: EvaluationSet) -> EvaluationSet | None:
    """The set of that name, with at least half of its queries, in the run next to this one evaluated last before it."""
    now, found = _evaluated(files), []
    for folder in sorted(files.run.resolve().parent.iterdir()):
        other = RunFiles(files.run.parent / folder.name)
        when = _evaluated(other) if folder != files.run.resolve() and (folder / "metrics.json").is_file() else ""
        if when and when < now:
            alike = (each for each in evaluation_sets(other) if each.name == main.name)
            found += [(when, each) for each in alike if 2 * len(_common(each, main)) >= len(main.detail.queries)]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _common(before: EvaluationSet, main: EvaluationSet) -> set[str]:
    """The queries that both have, by id and text."""
    return {query for query, text in main.detail.queries.items() if before.detail.queries.get(query) == text}


def _evaluated(files: RunFiles) -> str:
    return str(files.manifests.get("evaluation", {}).get("written", ""))
