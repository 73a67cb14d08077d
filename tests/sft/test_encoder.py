"""The target `encoder`: its rows and settings, and its training, killed and gone on with."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from distill.errors import DistillError
from distill.pipeline.config import RunConfig
from distill.pipeline.run import dump
from distill.records import LabelledPair, Pair, Trace, make_pair
from distill.store import read_json, write_rows
from sft.check import check_encoders
from sft.estimate.estimate import TrainingData, estimates
from sft.estimate.shapes import device_of, encoder_shape, shape_of
from sft.examples import labelled_pairs
from sft.settings import SftSettings
from sft.student_settings import StudentSettings
from sft.training_job import TrainingJob, train
from tests.sft.killed import interrupted

SCRATCH = {"vocab_size": 400, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 64, "max_positions": 64}


def trace(pair: Pair, sample: int, verdict: int | None) -> Trace:
    return Trace(pair.pair_id, sample, f"{pair.pair_id}{sample}", "why", "", verdict, "stop", 1, 1, 0.0, 0.0, "t")


def test_a_row_has_the_verdict_of_most_traces_and_the_label_where_it_was_changed() -> None:
    split = make_pair("q", "d1", "ferry", "at nine", label=1)
    changed = replace(make_pair("q", "d2", "ferry", "bees", "in summer", label=0), label_before=1, source="mined")
    unread = make_pair("q", "d3", "ferry", "maps")
    kept = [
        (split, trace(split, 0, 1)), (split, trace(split, 1, 0)), (split, trace(split, 2, 1)),
        (changed, trace(changed, 0, 1)), (unread, trace(unread, 0, None)),
    ]  # fmt: skip
    first, second = labelled_pairs(iter(kept))
    assert (first.doc_id, first.grade, first.relevant, first.instruction) == ("d1", 1, True, None)
    assert (second.doc_id, second.grade, second.relevant, second.instruction) == ("d2", 0, False, "in summer")
    assert second.source == "mined"


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"target": "think", "base": "folder"}, "base: only for students that write nothing"),
        ({"target": "encoder", "loss": "hinge"}, "loss 'hinge' is none of bce, mse"),
        ({"target": "encoder", "shuffle_traces": True}, "for students that learn from reasoning"),
        ({"target": "encoder", "training": {"learning_rat": 1}}, "did you mean 'learning_rate'"),
    ],
)
def test_what_does_not_suit_the_target_is_refused(student: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SftSettings.model_validate({"targets": [student]})


def test_a_configuration_that_asks_an_encoder_to_think_is_refused() -> None:
    given = {
        "name": "x", "pairs": {"source": "example"}, "sft": {"targets": ["encoder"]},
        "evaluation": {"modes": {"encoder": ["direct", "think"]}},
    }  # fmt: skip
    with pytest.raises(ValidationError, match="evaluation.modes.encoder: mode think: an encoder reads query"):
        RunConfig.model_validate(given)


def test_students_of_before_have_the_fingerprints_of_before() -> None:
    assert dump(StudentSettings(target="direct")).keys() == {
        "target", "name", "train_size", "shuffle_traces", "time_of",
    }  # fmt: skip


def test_the_estimate_of_an_encoder_is_of_its_own_training_and_shape() -> None:
    settings = SftSettings.model_validate({"targets": ["direct", "encoder"], "training": {"max_steps": 7}})
    device, shape = device_of("H100-80GB"), shape_of("scratch")
    assert shape is not None
    direct, encoder = estimates(settings, TrainingData(1000, {}, "pairs"), shape, device)
    assert (direct.steps, encoder.steps) == (7, math.ceil(1000 / 32 * 3))
    of_bert = encoder_shape("a/name-of-the-hub", settings.scratch)
    assert 105e6 < of_bert.parameters < 112e6  # BERT-base
    assert 0 < encoder.peak_gib < 3


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"training": {"packing": True}}, "training.packing is a name of TRL's alone"),
        ({"base": "./nowhere"}, "base of encoder: ./nowhere: no such folder"),
        ({"base": "of_text"}, "of_text is a whisper, of which transformers makes no cross-encoder"),
    ],
)
def test_what_would_end_its_training_is_found_before(student: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "of_text").mkdir()
    (tmp_path / "of_text" / "config.json").write_text('{"model_type": "whisper"}')
    settings = SftSettings.model_validate({"targets": [{"target": "encoder", **student}]})
    with pytest.raises(DistillError, match=message):
        check_encoders(settings, tmp_path, download=False)


def job_in(out: Path, **training: Any) -> TrainingJob:
    """The job of an encoder of random weights: a passage is relevant where it has the query's word."""
    rows = []
    for number in range(48):
        for place in range(2):
            word = number if place else (number + 5) % 48
            pair = make_pair(f"q{number}", f"d{place}", f"tell me of w{number}", f"this is on w{word} and more")
            rows.append(
                LabelledPair(
                    pair.pair_id, pair.query_id, pair.doc_id, pair.query, pair.passage, None, place, bool(place)
                )
            )
    write_rows(out / "rows", rows, LabelledPair)
    (out / "student").mkdir()
    settings = SftSettings.model_validate({"targets": ["encoder"], "scratch": SCRATCH})
    return {
        "name": "encoder", "target": "encoder", "base": "scratch", "examples": str(out / "rows"),
        "out": str(out / "student"), "dev": "", "seed": 0, "threads": 1,
        "settings": settings.model_dump(mode="json", exclude={"targets", "parallel", "assume"}),
        "student": {"training": {"max_steps": 8, "per_device_train_batch_size": 8, "logging_steps": 2, **training}},
    }  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_goes_on_and_the_folder_is_sentence_transformers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    from distill.rerank import Reranker

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = train(job_in(tmp_path / "whole"))
    job = job_in(tmp_path / "killed", save_steps=3)
    interrupted(monkeypatch, train, job)
    assert (tmp_path / "killed" / "student" / "checkpoints" / "checkpoint-3" / "complete").is_file()
    again = train(job)
    assert (whole["resumed"], again["resumed"]) == (False, True)
    assert whole["steps"] == again["steps"] == 8
    models = [CrossEncoder(str(tmp_path / name / "student")) for name in ("whole", "killed")]
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    asked = [("tell me of w3", "this is on w3 and more"), ("tell me of w4 in [SEP]", "bees")]
    own = [judgement.margin for judgement in Reranker(str(tmp_path / "whole" / "student")).predict(asked)]
    assert models[0].predict(asked).tolist() == pytest.approx(own, abs=1e-5)  # the logit: no sigmoid
    note = read_json(tmp_path / "whole" / "student" / "distill.json")
    assert note == {"prompt": "rank1", "target": "encoder", "mode": "direct", "kind": "encoder"}
