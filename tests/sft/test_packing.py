"""Packed rows: whole, apart from one another, and with the loss and the gradients of the same rows unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distill.prompts import END_THINK, FALSE, TRUE
from sft.tokens import Encoded
from tests.sft.tiny import base_folder, train_tiny, weights


@pytest.fixture(scope="module", params=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp(request.param), tied=request.param == "tied")


def collect(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the trainer's steps see: every batch, and the gradients before the first update."""
    from sft.trainer import StudentTrainer

    seen: dict[str, Any] = {"batches": [], "losses": [], "gradients": None}
    compute, clip = StudentTrainer.compute_loss, torch.nn.utils.clip_grad_norm_

    def watch(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        seen["batches"].append({name: value.clone() for name, value in inputs.items() if hasattr(value, "clone")})
        loss = compute(self, model, inputs, *args, **kwargs)
        seen["losses"].append(float(loss.detach()))
        return loss

    def grab(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        given = list(parameters)
        if seen["gradients"] is None:
            seen["gradients"] = [p.grad.clone() for p in given if p.grad is not None]
        return clip(given, *args, **kwargs)

    monkeypatch.setattr(StudentTrainer, "compute_loss", watch)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", grab)
    return seen


ONE_STEP = {"max_steps": 1, "learning_rate": 1e-3, "logging_steps": 1, "save_strategy": "no"}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_and_unpacked_have_the_same_loss_and_gradients(
    attention: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss to 1e-5 of its value, gradients to 1e-4 of their norm, in fp32; the whole data is one step in both."""
    attended = {"model_init_kwargs": {"attn_implementation": attention}}
    found = {}
    for kind, more in (
        ("plain", {"per_device_train_batch_size": 24}),
        ("packed", {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 64, "packing": True}),
    ):
        with monkeypatch.context() as patch:
            seen = collect(patch)
            settings: dict[str, Any] = {"training": {**ONE_STEP, **more, **attended}, "max_length": 260}
            train_tiny(tmp_path / kind, base, count=24, **settings)
            found[kind] = seen
    assert len(found["packed"]["batches"]) < 24, "rows were packed"
    assert sum(found["packed"]["losses"]) == pytest.approx(sum(found["plain"]["losses"]), rel=1e-5)
    for one, two in zip(found["plain"]["gradients"], found["packed"]["gradients"], strict=True):
        assert float((one - two).norm()) <= 1e-4 * max(float(one.norm()), 1e-3)


def test_nothing_is_cut_and_each_packed_example_ends_in_its_verdict(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    encoded: list[Encoded] = []
    import sft.encoded

    whole = sft.encoded.encode

    def keep(*args: Any, **kwargs: Any) -> Any:
        good, bad = whole(*args, **kwargs)
        encoded.extend(good)
        return good, bad

    monkeypatch.setattr(sft.encoded, "encode", keep)
    seen = collect(monkeypatch)
    training = {**ONE_STEP, "gradient_accumulation_steps": 64, "per_device_train_batch_size": 1, "packing": True}
    result = train_tiny(tmp_path, base, count=40, training=training, max_length=260, pack_length=700)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "students" / "think")
    ends = {tokenizer.encode(END_THINK + word)[-1] for word in (TRUE, FALSE)}
    rows = []
    for batch in seen["batches"]:
        ids, starts = batch["input_ids"][0], (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
        rows += [ids[a:b].tolist() for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]
        assert len(ids) <= 700
    assert sorted(rows) == sorted(row.input_ids for row in encoded), "every example whole, none lost, none added"
    assert len(rows) == result["examples"] == 40 and result["rejected"] == 0
    for row in rows:
        assert row[-1] == tokenizer.eos_token_id and row[-2] in ends
    assert 0.5 < result["real_share"] <= 1


def test_weights_of_one_change_nothing_and_others_scale_the_loss(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill import store
    from distill.records import Example
    from sft.train import train
    from tests.sft.kept import examples
    from tests.sft.tiny import job_of, world

    pairs, traces = world(24)
    weighted = {}
    for packing in (False, True):
        for name, by_verdict in (("even", (1.0, 1.0)), ("uneven", (1.0, 3.0))):
            more = {"gradient_accumulation_steps": 64, "per_device_train_batch_size": 1} if packing else {}
            training = {**ONE_STEP, "per_device_train_batch_size": 24, **more, "packing": packing}
            job = job_of(tmp_path / f"{packing}{name}", base, count=24, training=training, max_length=260)
            rows = examples(pairs, traces, "think", weights=by_verdict)
            store.write_rows(job["examples"], rows, Example)
            with monkeypatch.context() as patch:
                seen = collect(patch)
                train(job)
            weighted[packing, name] = sum(seen["losses"])
            if not packing and name == "uneven":
                assert {row.weight for row in rows} == {1.0, 3.0}
    assert weighted[False, "uneven"] != pytest.approx(weighted[False, "even"], rel=1e-4)
    assert weighted[True, "uneven"] == pytest.approx(weighted[False, "uneven"], rel=1e-5)
    assert weighted[True, "even"] == pytest.approx(weighted[False, "even"], rel=1e-5)


def test_a_weight_of_zero_teaches_nothing(base: Path, tmp_path: Path) -> None:
    """What stands in rows of weight 0 makes no difference to the weights that come out."""
    from distill import store
    from distill.records import Example
    from sft.train import train
    from tests.sft.kept import examples
    from tests.sft.tiny import job_of, world

    pairs, traces = world(24)
    found = []
    for word in (TRUE, FALSE):
        rows = examples(pairs, traces, "direct", weights=(0.0, 1.0))
        assert {row.weight for row in rows} == {0.0, 1.0}
        rows = [
            row if row.weight else Example(row.pair_id, row.prompt, f"\n{END_THINK}{word}", "direct", 0.0)
            for row in rows
        ]
        training = {**ONE_STEP, "per_device_train_batch_size": 24}
        job = job_of(tmp_path / word.strip(), base, "direct", count=24, training=training)
        store.write_rows(job["examples"], rows, Example)
        train(job)
        found.append(weights(tmp_path / word.strip() / "students" / "direct"))
    assert all(torch.equal(one, found[1][name]) for name, one in found[0].items())
