"""What is seen while a student trains: held-out measures, the best checkpoint, a loss that grows, scores all alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.errors import ConfigError, DistillError
from distill.records import Pair, make_pair
from sft.callbacks import Diverging
from sft.train import train
from sft.validation import collapse, measures
from tests.sft.kept import hold_out
from tests.sft.tiny import base_folder, job_of, train_tiny, weights, world


def pairs_of(labels: list[int], queries: int = 2) -> list[Pair]:
    return [make_pair(f"q{i % queries}", f"d{i}", "q", f"p{i}", label=label) for i, label in enumerate(labels)]


def test_the_measures_on_scores_worked_out_by_hand() -> None:
    pairs = pairs_of([1, 0, 0, 1], queries=1)
    found = measures([0.9, 0.8, 0.1, 0.4], pairs)
    assert found["accuracy"] == 0.5
    assert found["auc"] == 0.75  # three of the four pairs of a relevant and another are in order
    assert found["ndcg"] == pytest.approx((1 + 0.5) / (1 + 1 / 1.584963), abs=1e-6)
    tied = measures([0.5, 0.5, 0.5, 0.5], pairs)
    assert tied["auc"] == 0.5 and tied["spread"] == 0 and tied["ndcg"] < 0.7
    assert set(measures([0.1, 0.9], pairs_of([1, 1]))) == {"accuracy", "spread"}


def test_scores_all_alike_are_said_with_the_likely_cause() -> None:
    assert collapse({"spread": 0.3}, 0.5) is None
    assert "95% of the training pairs are relevant" in str(collapse({"spread": 0.001}, 0.95))
    assert "learning rate is likely too high" in str(collapse({"spread": 0.001}, 0.5))


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([3, 2, 1, 0.9, 0.8, 0.8, 0.7, 0.9, 0.7], None),
        ([0.2, 0.3, 0.1, 0.4, 0.2, 0.1, 0.5, 0.1], None),
        ([2, 2, 2, 3, 5, 9, 12], ("diverges", True)),
        ([3, 2, 1, 0.5, 0.4, 0.4, 1.6, 1.8, 1.7], ("is 1", False)),
    ],
)
def test_a_loss_that_grows_is_told_from_one_that_is_noisy(losses: list[float], said: tuple[str, bool] | None) -> None:
    diverging = Diverging()
    found = [each for loss in losses if (each := diverging.see(loss)) is not None]
    if said is None:
        assert found == []
    else:
        assert said[0] in found[0][0] and found[0][1] is said[1]


def test_whole_queries_are_held_out_and_trained_on_by_nobody() -> None:
    pairs, traces = world(80)
    rest, held = hold_out(pairs, traces, 12, seed=3)
    queries = {pair.query_id for pair in held}
    assert len(held) == 12 and len(rest) == 68
    assert not queries & {pairs[trace.pair_id].query_id for trace in rest}
    assert hold_out(pairs, traces, 12, seed=3) == (rest, held) != hold_out(pairs, traces, 12, seed=4)
    assert len(hold_out(pairs, traces, 10_000, seed=0)[1]) <= 40
    unknown = {key: make_pair(p.query_id, p.doc_id, p.query, p.passage) for key, p in pairs.items()}
    labels = {pair.pair_id: pair.label for pair in hold_out(unknown, traces, 12, seed=3)[1]}
    assert labels == {pair.pair_id: pair.label for pair in held}, "nobody judged them: the teacher's verdict"


def dev_job(folder: Path, base: Path, target: str, training: dict[str, Any], **dev: Any) -> dict[str, Any]:
    pairs, traces = world(400)
    _, held = hold_out(pairs, traces, 80, seed=0)
    values = {"training": training, "dev": {"pairs": 80, "max_new_tokens": 40, **dev}}
    job = job_of(folder, base, target, count=320, **values)
    store.write_rows(job["dev"], held, Pair)
    return job


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("base"))


LONG = {"max_steps": 120, "per_device_train_batch_size": 16, "learning_rate": 3e-3, "logging_steps": 20}


@pytest.mark.parametrize("target", ["direct", "think"])
def test_the_best_checkpoint_is_kept_and_the_curve_is_told(
    target: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measure is made to peak at the second look, so that the best is not the last."""
    import sft.validation

    looks: list[dict[str, float]] = []
    kept: list[dict[str, Any]] = []
    measure = sft.validation.ValidationSet.measure

    def peak(self: Any, model: Any) -> dict[str, float]:
        found = measure(self, model)
        looks.append(dict(found))
        kept.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {**found, "auc": 0.9 if len(looks) == 2 else 0.1}

    monkeypatch.setattr(sft.validation.ValidationSet, "measure", peak)
    steps = {**LONG, "max_steps": 12}
    result = train(dev_job(tmp_path, base, target, steps, every=0.25, score=24))
    assert len(looks) == 4 and result["best_step"] == 6 and result["dev"]["auc"] == 0.9
    final = weights(tmp_path / "students" / target)
    name = "model.layers.0.mlp.up_proj.weight"
    import torch

    assert torch.equal(final[name], kept[1][name]) and not torch.equal(final[name], kept[3][name])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    curve = [(event["step"], event["dev_auc"]) for event in events if "dev_auc" in event]
    assert curve == [(3, 0.1), (6, 0.9), (9, 0.1), (12, 0.1)]
    assert ("unfinished" in looks[0]) == (target == "think")
    assert [event["step"] for event in events if "loss" in event] == [1]  # before logging_steps: a sign of life


def test_a_direct_student_that_learns_is_seen_to_learn(base: Path, tmp_path: Path) -> None:
    result = train(dev_job(tmp_path, base, "direct", LONG, every=0.5))
    assert result["dev"]["auc"] > 0.6 and result["warnings"] == []


def test_looking_on_changes_nothing_of_the_training(base: Path, tmp_path: Path) -> None:
    steps = {**LONG, "max_steps": 8}
    train(dev_job(tmp_path / "seen", base, "direct", steps, every=1.0))
    job = dev_job(tmp_path / "unseen", base, "direct", steps, every=1.0)
    job["settings"]["dev"] = None
    train(job)
    import torch

    unseen = weights(tmp_path / "unseen" / "students" / "direct")
    seen = weights(tmp_path / "seen" / "students" / "direct")
    assert all(torch.equal(tensor, seen[name]) for name, tensor in unseen.items())


def test_a_kill_between_two_looks_changes_nothing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    steps = {**LONG, "max_steps": 8}
    train(dev_job(tmp_path / "whole", base, "direct", steps, every=0.25))
    with monkeypatch.context() as patch:
        patch.setattr("sft.train.shutil.rmtree", lambda *_, **__: None)
        patch.setattr("sft.train.SftSettings.model_validate", _with_many_checkpoints())
        train(dev_job(tmp_path / "again", base, "direct", steps, every=0.25))
    folder = tmp_path / "again" / "students" / "direct"
    for step in (6, 8):
        shutil.rmtree(folder / "checkpoints" / f"checkpoint-{step}")
    result = train(dev_job(tmp_path / "again", base, "direct", steps, every=0.25))
    assert result["resumed"]
    whole = weights(tmp_path / "whole" / "students" / "direct")
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(folder).items())


def _with_many_checkpoints() -> Any:
    from sft.settings import SftSettings

    validate = SftSettings.model_validate

    def more(values: dict[str, Any]) -> Any:
        return validate({**values, "training": {**values["training"], "save_total_limit": 10}})

    return more


def test_a_student_that_calls_everything_alike_is_said(base: Path, tmp_path: Path) -> None:
    """Trained on one verdict only, at a rate that teaches nothing else."""
    from distill.records import Example

    job = dev_job(tmp_path, base, "direct", {**LONG, "max_steps": 60}, every=0.5)
    rows = [
        Example(row.pair_id, row.prompt, "\n</think> true", "direct")
        for row in store.read_rows(job["examples"], Example)
    ]
    store.write_rows(job["examples"], rows, Example)
    result = train(job)
    assert any(
        "every pair gets the same; 100% of the training pairs are relevant" in text for text in result["warnings"]
    )


def test_training_that_diverges_ends_with_its_likely_cause(base: Path, tmp_path: Path) -> None:
    wild = {"max_steps": 60, "per_device_train_batch_size": 8, "logging_steps": 1, "learning_rate": 3.0}
    wild |= {"warmup_steps": 0, "max_grad_norm": 1e9, "lr_scheduler_type": "constant", "optim": "sgd"}
    with pytest.raises(DistillError, match=r"training diverges|the loss is (nan|inf)"):
        train_tiny(tmp_path, base, count=80, training=wild)


def test_curves_go_to_tensorboard_and_outlive_the_checkpoints(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    train_tiny(tmp_path, base, training={**LONG, "max_steps": 2, "logging_steps": 1, "report_to": "tensorboard"})
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR")
    folder = tmp_path / "students" / "think"
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*")) and not (folder / "checkpoints").exists()


def test_a_tracker_that_is_not_installed_is_said(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    with pytest.raises(ConfigError, match="sft.training.report_to: wandb is not installed; pip install wandb"):
        train_tiny(tmp_path, base, training={**LONG, "report_to": ["wandb"]})
