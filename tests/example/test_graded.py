"""Graded verdicts from end to end: the example's teacher grades by its world, and every stage reads its scale."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from distill import store
from distill.cli import main
from distill.example.teacher import Teacher, TeacherSettings
from distill.example.world import WorldSettings, build
from distill.prompts import GRADES, PROMPTS, is_relevant, teacher_prompt
from distill.records import Example, Judgement, Pair, Rejected, Trace
from distill.verdicts import parse_verdict

TINY = str(Path(__file__).resolve().parents[2] / "configs" / "tiny.yaml")


@pytest.mark.parametrize("prompt", ["graded_4", "graded_10"])
def test_grades_follow_from_how_many_conditions_hold(prompt: str) -> None:
    """Another kind or place is zero; all conditions met is the highest grade; each one more makes it no lower."""
    split = build(WorldSettings(queries={"train": 150}), seed=3)["train"]
    teacher, top = Teacher(TeacherSettings()), len(PROMPTS[prompt].verdicts) - 1
    by_share: dict[float, set[int]] = {}
    for query_id, labels in split.qrels.items():
        text, query = split.queries[query_id]
        for doc, label in labels.items():
            title, body, thing = split.documents[doc]
            reply = teacher.reply(teacher_prompt(text, f"{title} {body}", None, prompt))
            grade = parse_verdict(reply.verdict, prompt)
            assert grade is not None and is_relevant(grade, prompt) == bool(label)
            same = thing.kind is query.kind and thing.place == query.place
            met = sum(condition.met(thing) for condition in query.conditions) if same else 0
            by_share.setdefault(met / len(query.conditions) if same else -1.0, set()).add(grade)
            if same:
                assert f"That is {met} of {len(query.conditions)}." in reply.reasoning
    assert by_share.pop(-1.0) == {0} and by_share.pop(1.0) == {top}
    assert all(len(grades) == 1 for grades in by_share.values()), "equal shares, equal grades"
    ordered = [grade for share in sorted(by_share) for grade in by_share[share]]
    assert ordered == sorted(ordered) and len(set(ordered)) > 1


def test_a_graded_teacher_that_errs_says_a_grade_on_the_other_side() -> None:
    split = build(WorldSettings(queries={"train": 40}), seed=4)["train"]
    teacher = Teacher(TeacherSettings(wrong=1.0))
    for query_id, labels in split.qrels.items():
        for doc, label in labels.items():
            message = teacher_prompt(split.queries[query_id][0], " ".join(split.documents[doc][:2]), None, "graded_10")
            grade = parse_verdict(teacher.reply(message).verdict, "graded_10")
            assert grade is not None and is_relevant(grade, "graded_10") != bool(label)


@pytest.mark.slow
def test_graded_pairs_go_through_the_whole_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Teacher, filters, dataset, students, reranking by expected grade, evaluation, report, and the exports."""
    out, prompt = tmp_path / "run", "graded_4"
    steps = "sft.training={max_steps: 60, per_device_train_batch_size: 16, learning_rate: 5.0e-3, logging_steps: 20}"
    assert main(["run", TINY, f"prompt={prompt}", steps, "--out", str(out)]) == 0
    scale, top = PROMPTS[prompt], len(PROMPTS[prompt].verdicts) - 1
    pairs = {pair.pair_id: pair for pair in store.read_rows(out / "pairs", Pair)}
    kept = list(store.read_rows(out / "kept", Trace))
    assert {0, top} < {trace.verdict for trace in kept} <= set(range(top + 1))
    assert all(is_relevant(trace.verdict, prompt) == pairs[trace.pair_id].relevant for trace in kept)  # type: ignore[arg-type]
    wrong = [r for r in store.read_rows(out / "rejected", Rejected) if r.filter == "verdict_matches_label"]
    said = {f"the teacher says {word.strip()}, the label says not relevant" for word in scale.verdicts}
    assert wrong and {r.reason for r in wrong if not pairs[r.trace.pair_id].relevant} <= said
    written = Counter(
        row.completion.rpartition("</think>")[2] for row in store.read_rows(out / "dataset/think", Example)
    )
    assert written == Counter(scale.verdicts[trace.verdict] for trace in kept)  # type: ignore[index]
    for system in ("untrained", "direct", "think"):
        judged = list(store.read_rows(out / "evaluation" / f"test.{system}", Judgement))
        assert len(judged) == 40 and all(0 <= j.score <= 1 for j in judged) and len({j.score for j in judged}) > 5
        assert {j.verdict for j in judged} <= {None, 0, 1}
        lines = [line.split() for line in (out / "evaluation" / f"test.{system}.trec").read_text().splitlines()]
        by_margin = {(j.query_id, j.doc_id): j.margin for j in judged}
        for query in {line[0] for line in lines}:
            margins = [by_margin[query, line[2]] for line in lines if line[0] == query]
            assert margins == sorted(margins, reverse=True)
    measured = json.loads((out / "metrics.json").read_text())["evaluation"]["test"]
    assert measured["direct"]["unparsable"] < 0.5, "a direct student says one of the scale's words"
    page = (out / "report.html").read_text()
    assert f"teacher: {GRADES[top].strip()}" in page and "teacher: true" not in page and "teacher: false" not in page
    capsys.readouterr()
    assert main(["validate", str(out)]) == 0
    assert f"{len(kept):,} sound, 0 broken" in capsys.readouterr().out
    assert main(["export", str(out), "--to", "messages", "--out", str(tmp_path / "chat")]) == 0
    rows = [json.loads(line) for line in next((tmp_path / "chat").glob("*.jsonl")).read_text().splitlines()]
    answers = Counter(row["messages"][1]["content"] for row in rows)
    assert answers == Counter(scale.verdicts[trace.verdict].strip() for trace in kept)  # type: ignore[index]
