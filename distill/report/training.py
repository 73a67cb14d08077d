"""How the students were trained: one row a student, and the curves out of log.jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from distill import store
from distill.records import Rollout
from distill.report.files import RunFiles
from distill.report.plots import curves as chart_of
from distill.report.words import colours, compact, count, duration, measure, share
from distill.results import AFTER, ROLLOUTS, AfterSft, StudentCounts, read_as

CURVES = (
    ("loss", "Training loss"),
    ("token_accuracy", "Token accuracy in training"),
    ("dev_auc", "AUC on held-out pairs"),
    ("dev_ndcg", "nDCG@10 on held-out pairs"),
    ("dev_accuracy", "Verdict accuracy on held-out pairs"),
    ("after_loss", "After SFT: loss"),
    ("well_formed", "After SFT: share of well-formed answers"),
    ("right", "After SFT: share of right verdicts"),
    ("answer_tokens", "After SFT: tokens an answer"),
    ("kl", "After SFT: KL divergence from the SFT student"),
)
SHOWN = 3  # answers of a training's first step, and of its last
REWARD = "reward_"  # begins the name of a reward in log.jsonl; one's own have a curve too
COLUMNS: tuple[tuple[str, Callable[[StudentCounts], float | None], Callable[[float | None], str]], ...] = (
    ("rows left out", lambda student: student.rejected, count),
    ("steps", lambda student: student.steps, count),
    ("time", lambda student: student.seconds, duration),
    ("tokens", lambda student: student.tokens, compact),
    ("of them written", lambda student: student.generated_tokens, compact),
    ("tokens/s", lambda student: student.tokens_per_s, count),
    ("of positions real", lambda student: student.real_share, share),
    ("final loss", lambda student: student.final_loss, measure),
    ("best step, kept", lambda student: student.best_step, count),
    ("peak GiB", lambda student: student.peak_gib, measure),
    ("parameters", lambda student: student.parameters, compact),
)


def section(files: RunFiles) -> dict[str, Any] | None:
    """Charts and a table; None before training has said anything."""
    lines = curves(files)
    students = files.counts("sft").students
    names = list(dict.fromkeys([*students, *(name for series in lines.values() for name in series)]))
    if not names:
        return None
    paint = colours(names)
    titles = dict(CURVES) | {key: f"After SFT: reward {key.removeprefix(REWARD)}" for key in lines if REWARD in key}
    drawn = ((title, chart_of("step", lines[key], title, students=True)) for key, title in titles.items())
    columns = [column for column in COLUMNS if any(column[1](student) is not None for student in students.values())]
    return {
        "charts": [(title, chart) for title, chart in drawn if chart],
        "columns": [title for title, _, _ in columns],
        "students": [
            (name, paint[name], [show(value(student)) for _, value, show in columns], files.link("students", name))
            for name, student in students.items()
        ],
        "warnings": [(name, text) for name, student in students.items() for text in student.warnings],
        "left_out": [(name, student.left_out) for name, student in students.items() if student.left_out],
        "log_href": files.link("log.jsonl"),
        "after": [shown for name in students if (shown := _after(files, name)) is not None],
    }


def _after(files: RunFiles, name: str) -> dict[str, Any] | None:
    """P(true) at the verdict at the start and at the end of a training after SFT, and some of its answers."""
    made = read_as(AfterSft, store.read_json(files.run / "students" / name / AFTER))
    if not made.method:
        return None
    bins = len(made.p_true_first)
    spans = [f"{number / bins:.1f} to {(number + 1) / bins:.1f}" for number in range(bins)]
    return {
        "name": name,
        "method": made.method,
        "histogram": list(zip(spans, made.p_true_first, made.p_true_last, strict=True))
        if any(made.p_true_first + made.p_true_last)
        else [],
        "answers": [(row.step, row.prompt, row.answer, _paid(row)) for row in _some(files, name)],
        "href": files.link("students", name, ROLLOUTS),
    }


def _some(files: RunFiles, name: str) -> list[Rollout]:
    """An answer each to some pairs of the first step, and of the last."""
    first: dict[str, Rollout] = {}
    last: dict[str, Rollout] = {}
    start = step = None
    for row in files.rows(f"students/{name}/{ROLLOUTS}", Rollout):
        if step != row.step:
            start, step, last = start or row.step, row.step, {}
        for found in (first,) if step == start else (last,):
            if len(found) < SHOWN:
                found.setdefault(row.pair_id, row)
    return [*first.values(), *last.values()]


def _paid(row: Rollout) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in json.loads(row.rewards).items() if value is not None)


def curves(files: RunFiles) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """{measure: {student: [(step, value)]}}. Steps that were repeated after a resumption or a new start count once,
    as they were last."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {key: {} for key, _ in CURVES}
    for event in files.log():
        name = event.get("student") or event.get("target")
        step = event.get("step")
        if event.get("stage") != "sft" or not isinstance(name, str) or not isinstance(step, int | float):
            continue
        if "well_formed" in event:  # another loss than SFT's
            event = {**event, "after_loss": event.get("loss"), "loss": None}
        for key in event:
            if key.startswith(REWARD):
                curves.setdefault(key, {})
        for key, series in curves.items():
            value = event.get(key)
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue
            points = series.setdefault(name, [])
            while points and points[-1][0] >= step:
                points.pop()
            points.append((float(step), float(value)))
    return curves
