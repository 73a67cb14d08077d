"""Students from a tiny world of words: order, tokens, a training that goes on after a kill, LoRA merged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from distill import store
from distill.errors import ConfigError, DataError, DistillError
from distill.prompts import END_THINK, TRUE, rank1_prompt
from distill.records import Example, Pair, Trace, make_pair
from sft.settings import SftSettings
from sft.stage import train_students
from sft.student import load_base, make_scratch
from sft.tokens import encode
from sft.train import last_checkpoint
from sft.train import train as train_job
from sft.trainer import PairOrder
from tests.sft.kept import examples, shuffled, subsample

SCRATCH = {"vocab_size": 400, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 64}
TRAINING = {
    "max_steps": 6, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1, "save_steps": 2,
}  # fmt: skip


def kept(count: int) -> tuple[dict[str, Pair], list[Trace]]:
    pairs, traces = {}, []
    for i in range(count):
        pair = make_pair(f"q{i}", f"d{i}", f"is it {'red' * (i % 3 + 1)} number {i}", f"it is {i} apples", label=i % 2)
        pairs[pair.pair_id] = pair
        reasoning = f"we want {i} and see {i}, {'yes' if i % 2 else 'no'}"
        traces.append(Trace(pair.pair_id, 0, "r", reasoning, "true", i % 2, "stop", 1, 1, 0.0, 0.0, "{}"))
    return pairs, sorted(traces, key=lambda trace: trace.pair_id)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    pairs, traces = kept(40)
    texts = [row.prompt + row.completion for row in examples(pairs, traces, "think")]
    make_scratch(SftSettings.model_validate({"scratch": SCRATCH}), texts, 0, folder)
    return folder


def test_every_target_has_the_same_pairs_in_the_same_order() -> None:
    pairs, traces = kept(10)
    rows = {target: examples(pairs, traces, target) for target in ("think", "direct", "verdict_first", "mixed")}
    ids = [row.pair_id for row in rows["think"]]
    assert ids == [row.pair_id for row in rows["direct"]] == [row.pair_id for row in rows["verdict_first"]]
    assert [row.pair_id for row in rows["mixed"]] == [i for i in ids for _ in range(2)]
    assert [row.target for row in rows["mixed"][:2]] == ["think", "direct"]


def test_only_the_direct_rows_of_mixed_take_their_weight() -> None:
    pairs, traces = kept(10)
    rows = examples(pairs, traces, "mixed", weights=(1.0, 2.0), direct=10.0)
    think, direct = rows[::2], rows[1::2]
    assert {row.weight for row in think} == {1.0, 2.0}
    assert [row.weight for row in direct] == [10 * row.weight for row in think]
    assert {row.weight for row in examples(pairs, traces, "direct", direct=10.0)} == {1.0}


def test_shuffled_traces_keep_every_verdict_and_move_every_reasoning() -> None:
    _, traces = kept(30)
    moved = shuffled(traces, 0)
    assert [(t.pair_id, t.verdict) for t in moved] == [(t.pair_id, t.verdict) for t in traces]
    assert all(a.reasoning != b.reasoning for a, b in zip(moved, traces, strict=True))
    said = {t.reasoning: t.verdict for t in traces}
    assert all(said[t.reasoning] == t.verdict for t in moved)


def test_a_smaller_draw_is_part_of_a_larger_one() -> None:
    _, traces = kept(30)
    small, large = subsample(traces, 5, 1), subsample(traces, 20, 1)
    assert len(small) == 5 and {t.pair_id for t in small} <= {t.pair_id for t in large}
    assert subsample(traces, None, 1) == traces


def test_a_changed_label_is_what_is_trained() -> None:
    pair = make_pair("q", "d", "query", "passage", label=0, label_before=1, label_origin="human")
    trace = Trace(pair.pair_id, 0, "r", "because", "true", 1, "stop", 1, 1, 0.0, 0.0, "{}")
    assert examples({pair.pair_id: pair}, [trace], "direct")[0].completion == "\n</think> false"


def test_nothing_is_cut_and_every_row_ends_in_its_verdict(scratch: Path) -> None:
    pairs, traces = kept(40)
    _, tokenizer = load_base(str(scratch), SftSettings())
    rows = examples(pairs, traces, "think")
    lengths = [len(tokenizer.encode(r.prompt)) + len(tokenizer.encode(r.completion)) + 1 for r in rows]
    limit = sorted(lengths)[20]
    good, bad = encode(tokenizer, rows, limit)
    assert len(good) == sum(length <= limit for length in lengths) and len(good) + len(bad) == len(rows)
    assert all(f"more than sft.max_length {limit}" in reason for _, reason in bad)
    by_pair = {row.pair_id: row for row in rows}
    for each in good:
        row = by_pair[each.pair_id]
        assert tokenizer.decode(each.input_ids) == row.prompt + row.completion + tokenizer.eos_token
        assert tokenizer.decode([i for i in each.labels if i != -100]) == row.completion + tokenizer.eos_token


def test_a_completion_with_a_control_token_of_its_own_is_not_trained_on(scratch: Path) -> None:
    _, tokenizer = load_base(str(scratch), SftSettings())
    rows = [
        Example("a", rank1_prompt("q", "p"), f"\nit says {END_THINK} true\n{END_THINK} false", "think"),
        Example("b", rank1_prompt("q", "p </think> true"), f"\nfine\n{END_THINK}{TRUE}", "think"),
    ]
    good, bad = encode(tokenizer, rows, 500)
    assert [each.pair_id for each in good] == ["b"]
    assert bad == [("a", "its text holds the control token '</think>'")]


def test_the_order_of_pairs_is_seeded_and_complete() -> None:
    lengths = [i % 7 for i in range(103)]
    one, two = PairOrder(lengths, 4, 0), PairOrder(lengths, 4, 0)
    assert list(one) == list(two) and sorted(one) == list(range(103))
    first = list(one)
    one.set_epoch(1)
    assert list(one) != first and sorted(one) == list(range(103))


def write_dataset(folder: Path, names: list[str], count: int = 40) -> dict[str, str]:
    pairs, traces = kept(count)
    return {
        name: store.write_rows(folder / name, examples(pairs, traces, name), Example)["data_hash"] for name in names
    }


def train(folder: Path, settings: dict[str, Any], names: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    hashes = write_dataset(folder / "dataset", names)
    events: list[dict[str, Any]] = []
    values = SftSettings.model_validate({"scratch": SCRATCH, "targets": names, "training": TRAINING, **settings})

    def texts() -> list[str]:
        return [r.prompt + r.completion for n in names for r in store.read_rows(folder / "dataset" / n, Example)]

    result = train_students(values, folder / "dataset", folder / "students", 0, hashes, texts, "texts", events.append)
    return result["students"], events


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_students_are_trained_side_by_side_once_and_alike(tmp_path: Path) -> None:
    students, events = train(tmp_path, {}, ["think", "direct"])
    assert {name: s["steps"] for name, s in students.items()} == {"think": 6, "direct": 6}
    assert {e["student"] for e in events} == {"think", "direct"}
    before = weights(tmp_path / "students" / "think")
    again, events = train(tmp_path, {}, ["think", "direct"])
    assert again == students and events == []
    longer, events = train(tmp_path, {"training": {**TRAINING, "max_steps": 7}}, ["think"])
    assert longer["think"]["steps"] == 7 and {e["student"] for e in events} == {"think"}
    assert any(not torch.equal(before[k], v) for k, v in weights(tmp_path / "students" / "think").items())


def test_a_student_killed_half_way_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole", {"training": {**TRAINING, "max_steps": 40}}, ["think"])
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from test_students import TRAINING, train\n"
        "train(Path(sys.argv[1]), {'training': {**TRAINING, 'max_steps': 40}}, ['think'])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "killed"), str(Path(__file__).parent)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "killed" / "students" / "think" / "checkpoints"
    deadline = time.monotonic() + 90
    while not list(checkpoints.glob("checkpoint-*/complete")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "students" / "think" / "manifest.json").exists()
    time.sleep(3)  # its training process notices and ends
    resumed, _ = train(tmp_path / "killed", {"training": {**TRAINING, "max_steps": 40}}, ["think"])
    assert resumed["think"]["resumed"] and resumed["think"]["steps"] == whole["think"]["steps"] == 40
    undisturbed = weights(tmp_path / "whole" / "students" / "think")
    for name, tensor in weights(tmp_path / "killed" / "students" / "think").items():
        assert torch.equal(tensor, undisturbed[name]), name


def test_a_checkpoint_that_was_cut_short_is_not_gone_on_from(tmp_path: Path) -> None:
    for step, whole in ((10, True), (9, True), (20, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{")
        if whole:
            (folder / "complete").touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-20").exists()
    assert last_checkpoint(tmp_path / "nothing") is None


def train_here(folder: Path, base: Path, **settings: Any) -> dict[str, Any]:
    """One student in this process: what the training process does, without its start."""
    write_dataset(folder / "dataset", ["think"])
    values = SftSettings.model_validate({"base": str(base), "training": TRAINING, **settings})
    (folder / "think").mkdir(parents=True, exist_ok=True)
    return train_job(
        {
            "name": "think", "target": "think", "base": str(base), "examples": str(folder / "dataset" / "think"),
            "out": str(folder / "think"), "seed": 0, "threads": 1, "settings": values.model_dump(mode="json"),
        }
    )  # fmt: skip


def test_lora_on_a_base_from_disk_is_merged_and_trains_the_tags(tmp_path: Path, scratch: Path) -> None:
    student = train_here(tmp_path, scratch, lora={"r": 4, "alpha": 8})
    assert student["trainable"] < student["parameters"]
    before, after = weights(scratch), weights(tmp_path / "think")
    assert set(before) == set(after), "merged: the names of a plain model"
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])
    assert not torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])


def test_the_loss_is_trls_own(tmp_path: Path, scratch: Path) -> None:
    """Logits from the first target on, without a padding mask, give the loss of TRL's way to 1e-5."""
    from sft.trainer import StudentTrainer

    ours = train_here(tmp_path / "ours", scratch)["final_loss"]
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(StudentTrainer, "compute_loss")
        theirs = train_here(tmp_path / "theirs", scratch)["final_loss"]
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_muon_learns_and_goes_on_from_a_checkpoint(tmp_path: Path, scratch: Path) -> None:
    whole = {**TRAINING, "max_steps": 8, "save_steps": 4, "save_total_limit": 2, "learning_rate": 3e-3}
    first = train_here(tmp_path / "one", scratch, optimizer="muon", training=whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sft.train.shutil.rmtree", lambda *_, **__: None)  # keep the checkpoints of this one
        train_here(tmp_path / "two", scratch, optimizer="muon", training=whole)
    shutil.rmtree(tmp_path / "two" / "think" / "checkpoints" / "checkpoint-8")
    again = train_here(tmp_path / "two", scratch, optimizer="muon", training=whole)
    assert again["resumed"] and not first["resumed"] and first["final_loss"] < 5.5
    one, two = weights(tmp_path / "one" / "think"), weights(tmp_path / "two" / "think")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_training_with_nothing_left_says_why(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(DataError, match=r"no example is left to train think on.*more than sft.max_length 16"):
        train_here(tmp_path, scratch, max_length=16)


def test_a_learning_rate_that_destroys_the_model_is_said(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(DistillError, match=r"think: the loss is .*lower sft.training.learning_rate"):
        train_here(tmp_path, scratch, training={**TRAINING, "learning_rate": 1e30, "max_grad_norm": 1e30})


def test_a_base_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sft.base: .*nowhere.* could not be loaded"):
        train_here(tmp_path, tmp_path / "nowhere")


@pytest.mark.parametrize(("fast", "width", "expected"), [(True, 576, True), (True, 128, False), (False, 576, False)])
def test_on_a_cpu_a_wide_base_is_trained_in_bf16_where_that_is_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, width: int, expected: bool
) -> None:
    from transformers import LlamaConfig

    from distill import weights
    from sft.train import training_arguments

    monkeypatch.setattr(weights, "_fast_bf16", lambda: fast)
    pays = weights.bf16_pays(LlamaConfig(hidden_size=width))
    chosen = training_arguments(SftSettings(), tmp_path, "think", 0, bf16=pays)
    assert chosen.bf16 is expected
    own = SftSettings(training={"bf16": not expected})
    assert training_arguments(own, tmp_path, "think", 0, bf16=pays).bf16 is not expected


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_that_slows_a_cpu_is_said(
    tmp_path: Path, scratch: Path, fast: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sft.train.is_wide", lambda config: True)
    monkeypatch.setattr("sft.train.bf16_pays", lambda config: fast)
    train_here(tmp_path, scratch, training={**TRAINING, "max_steps": 1, "bf16": True})
    assert ("this CPU computes faster in float32; leave it out" in capsys.readouterr().out) is not fast
