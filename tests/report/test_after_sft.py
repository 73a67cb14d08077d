"""What the report shows of a training on a student's own answers: curves, P(true) at both ends, answers."""

from __future__ import annotations

import json
from pathlib import Path

from distill.records import Rollout
from distill.report.files import RunFiles
from distill.report.training import curves, section
from distill.results import AFTER, AfterSft, as_json
from distill.store import write_json
from sft.after.rollouts import Rollouts


def made(run: Path) -> Path:
    """A run folder with one SFT student and one that came of it."""
    student = run / "students" / "think_grpo"
    student.mkdir(parents=True)
    after = AfterSft("grpo", {"mine": 1.0}, p_true_first=[3, 1] + [0] * 8, p_true_last=[0] * 9 + [4])
    write_json(student / AFTER, as_json(after))
    kept = Rollouts(student)
    kept.fresh = [
        Rollout(
            step, f"p{step}", "q", "which? <think>", f"\nanswer {step}\n</think> true", 1, 1, 0.9, 5, '{"mine": 0.5}'
        )
        for step in range(1, 6)
    ]
    kept.flush(5)
    write_json(
        run / "metrics.json", {"stages": {"sft": {"students": {"think": {"steps": 9}, "think_grpo": {"steps": 5}}}}}
    )
    head = {"stage": "sft", "student": "think_grpo", "steps": 5}
    lines = [{"stage": "sft", "student": "think", "step": 1, "loss": 2.5}]
    lines += [{**head, "step": n, "loss": 0.1, "well_formed": 1.0, "reward_mine": n / 10} for n in (1, 2)]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_a_reward_of_ones_own_has_a_curve_and_the_losses_are_kept_apart(tmp_path: Path) -> None:
    drawn = curves(RunFiles(made(tmp_path)))
    assert drawn["loss"] == {"think": [(1.0, 2.5)]}
    assert drawn["after_loss"] == {"think_grpo": [(1.0, 0.1), (2.0, 0.1)]}
    assert drawn["reward_mine"] == {"think_grpo": [(1.0, 0.1), (2.0, 0.2)]}


def test_the_divergence_has_a_chart_where_it_was_measured(tmp_path: Path) -> None:
    run, title = made(tmp_path), "After SFT: KL divergence from the SFT student"
    shown = section(RunFiles(run))
    assert shown is not None and title not in dict(shown["charts"])
    line = {"stage": "sft", "student": "think_grpo", "loss": 0.1, "well_formed": 1.0}
    with open(run / "log.jsonl", "a", encoding="utf-8") as log:
        log.writelines(json.dumps({**line, "step": step, "kl": kl}) + "\n" for step, kl in ((1, 0.0), (2, 0.3)))
    assert curves(RunFiles(run))["kl"] == {"think_grpo": [(1.0, 0.0), (2.0, 0.3)]}
    shown = section(RunFiles(run))
    assert shown is not None and title in dict(shown["charts"])


def test_answers_and_p_true_at_both_ends_are_shown(tmp_path: Path) -> None:
    shown = section(RunFiles(made(tmp_path)))
    assert shown is not None
    (after,) = shown["after"]
    assert (after["name"], after["method"]) == ("think_grpo", "grpo")
    assert after["histogram"][0] == ("0.0 to 0.1", 3, 0) and after["histogram"][-1] == ("0.9 to 1.0", 0, 4)
    assert [(step, rewards) for step, _, _, rewards in after["answers"]] == [(n, "mine 0.5") for n in (1, 5)]
    assert after["href"] == "students/think_grpo/rollouts"
