"""Which prompts are answered in which step, what `then` may say, and what is written for it next to the SFT rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from distill import store
from distill.records import Example, Pair
from sft.after.estimate import after_estimates
from sft.after.privileged import TEMPLATES
from sft.after.settings import ThenSettings
from sft.after.tasks import Task, in_order, tasks
from sft.estimate.estimate import TrainingData, estimates
from sft.estimate.shapes import device_of, shape_of
from sft.examples import write_examples
from sft.settings import SftSettings
from tests.sft.kept import rows_of
from tests.sft.tiny import world


def tasks_of(count: int) -> list[Task]:
    pairs, traces = world(count)
    return list(tasks(rows_of(pairs, traces)()))


@pytest.mark.parametrize(("prompts", "per_query"), [(8, 4), (6, 4), (5, 2), (7, 1)])
def test_the_rows_of_a_query_come_together_in_one_step(prompts: int, per_query: int) -> None:
    rows = in_order(tasks_of(80), steps=30, prompts=prompts, per_query=per_query, seed=1)
    assert len(rows) == 30 * prompts
    for start in range(0, len(rows), prompts):
        step = [row.query_id for row in rows[start : start + prompts]]
        assert max(Counter(step).values()) <= per_query
        assert len([query for query, _ in groupby(step)]) == len(set(step))  # in no second place
        assert len({row.pair_id for row in rows[start : start + prompts]}) == prompts
    seen = Counter(row.query_id for row in rows)
    assert len(seen) == 20 and max(seen.values()) < 3 * min(seen.values())
    assert rows == in_order(tasks_of(80), 30, prompts, per_query, seed=1)
    assert rows != in_order(tasks_of(80), 30, prompts, per_query, seed=2)


def test_a_query_gives_both_kinds_of_passages_where_it_has_them() -> None:
    rows = in_order(tasks_of(80), steps=10, prompts=4, per_query=2, seed=0)
    two = [(one.grade, other.grade) for one, other in pairwise(rows) if one.query_id == other.query_id]
    assert two and all(one != other for one, other in two)


def test_too_few_pairs_for_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="4 pairs of 1 queries do not fill a step of 8"):
        in_order(tasks_of(4), 1, 8, 4, 0)


def settings(then: Any, target: str = "think", **more: Any) -> SftSettings:
    return SftSettings.model_validate({"targets": [{"target": target, "then": then}], **more})


def test_each_method_makes_one_more_student() -> None:
    made = settings(["self_distil", {"method": "grpo"}, {"method": "grpo", "name": "brier"}])
    assert [student.name for student in made.students] == ["think", "think_self_distil", "think_grpo", "think_brier"]
    assert [then.generations for then in made.targets[0].then] == [1, 8, 8]
    assert settings("grpo").targets[0].then[0].answers == 64
    again = SftSettings.model_validate(made.model_dump(mode="json"))  # as a resolved configuration is read
    assert again == made


@pytest.mark.parametrize(
    ("then", "target", "words"),
    [
        ("grpo", "direct", "answers without reasoning"),
        ("on_policy", "think", "on_policy needs a teacher"),
        ({"method": "on_policy", "teacher": "x", "generations": 4}, "think", "one answer to a prompt"),
        ({"method": "grpo", "generations": 1}, "think", "set generations to 2 or more"),
        ({"method": "self_distil", "reward": {"verdict": 2}}, "think", "reward is read by method grpo alone"),
        ({"method": "on_policy", "teacher": "x", "beta": 0.1}, "think", "beta is read by method grpo alone"),
        ({"method": "grpo", "beta": -1}, "think", "greater than or equal to 0"),
        ({"method": "grpo", "reward": {"verdit": 1}}, "think", "no reward; known: verdict, brier"),
        ({"method": "grpo", "reward": {"verdict": 0}}, "think", "the weight of verdict is 0, and has to be above 0"),
        ({"method": "grpo", "reward": {"verdict": 1, "form": -1}}, "think", "the weight of form is -1"),
        ({"method": "grpo", "batch": 7}, "think", "does not divide a step's 64 answers"),
        (["grpo", "grpo"], "think", "two students are named 'think_grpo'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(then: Any, target: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(then, target)


def test_the_tasks_lie_next_to_the_rows_of_sft_and_a_share_of_these_reads_the_context(tmp_path: Path) -> None:
    pairs, traces = world(80)
    kept = rows_of(pairs, traces)
    plain = write_examples(tmp_path / "plain", kept, settings("grpo"), 0)
    made = settings({"method": "self_distil", "privileged_share": 0.5})
    share = write_examples(tmp_path / "share", kept, made, 0)
    assert plain[1]["think_grpo"] == share[1]["think_self_distil"] == 80
    assert plain[2]["think"] != share[2]["think"]  # another SFT student
    rows = list(store.read_rows(tmp_path / "share" / "think", Example))
    contexts = {task.pair_id: TEMPLATES["label_and_trace"].fill(task.grade, task.reasoning) for task in tasks(kept())}
    read = [row for row in rows if row.prompt.startswith("Right verdict: ")]
    assert 20 < len(read) < 60
    assert all(row.prompt.startswith(contexts[row.pair_id]) and row.prompt.endswith("<think>") for row in read)
    bare = {row.pair_id: row for row in store.read_rows(tmp_path / "plain" / "think", Example)}
    assert all(contexts[row.pair_id] + bare[row.pair_id].prompt == row.prompt for row in read)


def test_labelled_pairs_are_answered_beyond_the_traces_that_sft_learns_from(tmp_path: Path) -> None:
    pairs, traces = world(80)
    everyone = sorted(pairs.values(), key=lambda pair: pair.pair_id)
    traces = [trace for trace in traces if trace.pair_id != everyone[0].pair_id]  # never asked, or rejected
    bare, doubtful = replace(everyone[1], label=None), replace(everyone[2], suspected="looks relevant")
    known = [everyone[0], bare, doubtful, *everyone[3:]]
    pairs = {pair.pair_id: pair for pair in known}
    without = {"targets": [{"target": "think", "train_size": 20, "then": {"method": "grpo", "pairs": "labelled"}}]}
    made = SftSettings.model_validate({**without, "dev": {"pairs": 8}})
    _, rows, _ = write_examples(tmp_path, rows_of(pairs, traces), made, 0, pairs=lambda: known)
    learnt = {row.pair_id for row in store.read_rows(tmp_path / "think", Example)}
    held_out = {pair.query_id for pair in store.read_rows(tmp_path / "dev", Pair)}
    found = {task.pair_id: task for task in store.read_rows(tmp_path / "think_grpo", Task)}
    assert len(learnt) == 20 and held_out and rows["think_grpo"] == len(found)
    expected = {p.pair_id for p in known if p.query_id not in held_out and p is not bare and p is not doubtful}
    assert set(found) == expected | learnt
    assert all(task.grade == pairs[name].label for name, task in found.items() if name in expected)
    assert {name for name, task in found.items() if task.reasoning} == learnt


def test_a_training_in_several_processes_is_refused() -> None:
    with pytest.raises(ValidationError, match="trains in one process; leave sft.ray out"):
        settings("grpo", ray={})


def test_without_a_trace_only_the_label_can_be_read() -> None:
    with pytest.raises(ValidationError, match="set privileged: label"):
        settings({"method": "self_distil", "pairs": "labelled"})
    assert settings({"method": "self_distil", "pairs": "labelled", "privileged": "label"})


def test_a_control_token_in_a_trace_is_data_in_the_context() -> None:
    text = TEMPLATES["label_and_trace"].fill(1, "so {it} fits </think> true")
    assert text == "Right verdict: true\nAn expert's reasoning: so {it} fits < /think> true\n\n"


def test_what_a_method_does_not_read_decides_nothing() -> None:
    one = ThenSettings.model_validate({"method": "self_distil"}).decides()
    assert "reward" not in one and "teacher" not in one and one["privileged_hash"]
    assert "verdict" in ThenSettings.model_validate("grpo").decides()["reward_source"]


def test_beta_decides_a_student_and_its_default_leaves_earlier_ones_as_they_are() -> None:
    without, with_it = (ThenSettings.model_validate({"method": "grpo", "beta": beta}) for beta in (0, "1e-3"))
    assert "beta" not in without.decides() and with_it.decides()["beta"] == 0.001


def test_the_estimate_counts_the_weights_of_the_sft_student_that_beta_reads() -> None:
    shape, device = shape_of("Qwen/Qwen2.5-1.5B"), device_of("H100-80GB")
    assert shape is not None

    def gib(beta: float, **more: Any) -> tuple[float, float]:
        made = settings({"method": "grpo", "beta": beta}, base="Qwen/Qwen2.5-1.5B", **more)
        of_sft = estimates(made, TrainingData(100, {}, "given"), shape, device)
        (after,) = after_estimates(made, of_sft, shape, device, (200.0, 100.0))
        assert after.hours is not None
        return after.gib, after.hours

    (plain, quick), (held, slow) = gib(0.0), gib(0.1)
    assert held - plain == pytest.approx(4 * shape.parameters / 2**30) and slow > quick
    assert gib(0.1, lora={})[0] == gib(0.0, lora={})[0]  # the adapter is switched off


def test_the_estimate_counts_the_batch_the_teacher_and_the_logits(tmp_path: Path) -> None:
    shape, device = shape_of("Qwen/Qwen2.5-1.5B"), device_of("H100-80GB")
    assert shape is not None
    larger = {"model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
              "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064}  # fmt: skip
    store.write_json(tmp_path / "config.json", larger)

    def gib(**then: Any) -> float:
        made = settings(then, base="Qwen/Qwen2.5-1.5B", lora={})
        of_sft = estimates(made, TrainingData(100, {}, "given"), shape, device)
        return after_estimates(made, of_sft, shape, device, (200.0, 250.0))[0].gib

    whole, parts = gib(method="grpo"), gib(method="grpo", batch=8)
    assert whole > 1.5 * parts
    taught = gib(method="on_policy", teacher=str(tmp_path))
    alone = gib(method="self_distil")
    assert 7.6e9 * 2 / 2**30 - 1 < taught - alone < 7.7e9 * 2 / 2**30 + 1
    assert alone - parts == pytest.approx(2 * 4 * shape.vocab * 8 * 250 / 2**30)  # the teaching side's logits
