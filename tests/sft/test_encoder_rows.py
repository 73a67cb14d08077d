"""Labels of encoders as numbers, rows in the form of each loss, and cascades' fingerprints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from distill.errors import DataError
from distill.pipeline.config import RunConfig
from distill.records import LabelledPair, Trace, make_pair
from sft.encoder_rows import ALONE, LONGEST, SURE, labelled, loss_of, rows_for
from sft.examples import labelled_pairs, mean_probabilities, relevant_shares
from sft.settings import SftSettings
from sft.stage import _Stage


def row(query: str, place: int, grade: int, share: float | None = None) -> LabelledPair:
    pair = make_pair(query, f"{query}{place}", f"of {query}", f"passage {place}", "in summer" if place else None)
    return LabelledPair(
        pair.pair_id, query, pair.doc_id, pair.query, pair.passage, None, grade, grade > 0, "qrels", share
    )


PAIRS = [row("a", 0, 1, 0.75), row("a", 1, 0, 0.0), row("b", 0, 1, None)]


def test_labels_are_probabilities_and_log_odds() -> None:
    by_verdict, none = labelled(PAIRS, "verdict", "rank1")
    assert [(pair.probability, pair.log_odds) for pair in by_verdict] == [(1.0, SURE), (0.0, -SURE), (1.0, SURE)]
    assert none == []
    graded, _ = labelled([row("a", 0, 3)], "grade", "graded_4")
    assert graded[0].probability == 0.75 and graded[0].log_odds == pytest.approx(math.log(3))
    shares, without = labelled(PAIRS, "share", "rank1")
    assert [pair.probability for pair in shares] == [0.75, 0.0]
    assert without == [(PAIRS[2].pair_id, "it has no answer that can be read")]
    scores = {PAIRS[0].pair_id: 7.5, PAIRS[1].pair_id: 0.0, PAIRS[2].pair_id: None}
    scored, unread = labelled(PAIRS, "verdict", "rank1", scores)
    assert [pair.log_odds for pair in scored] == [7.5, 0.0]  # another student's are not cut
    assert scored[1].probability == 0.5
    assert unread == [(PAIRS[2].pair_id, "the student that scores cannot read it")]


def test_the_share_is_of_all_readable_answers_and_a_changed_label_counts_instead() -> None:
    pair, changed = make_pair("q", "d", "ferry", "nine", label=1), make_pair("q", "e", "ferry", "ten", label=0)
    changed = type(changed)(**{name: getattr(changed, name) for name in changed.__slots__} | {"label_before": 1})

    def trace(of: Any, sample: int, verdict: int | None) -> Trace:
        return Trace(of.pair_id, sample, "r", "why", "", verdict, "stop", 1, 1, 0.0, 0.0, "t")

    answered = [trace(pair, n, verdict) for n, verdict in enumerate((1, 1, 0, 1, None))] + [trace(changed, 0, 1)]
    shares = relevant_shares(answered)
    assert shares == {pair.pair_id: 0.75, changed.pair_id: 1.0}
    rows = list(labelled_pairs([(pair, answered[0]), (changed, answered[-1])], shares=shares))
    assert [each.share for each in rows] == [0.75, 0.0]
    assert [each.share for each in labelled_pairs([(pair, answered[0])])] == [None]


def test_the_teachers_probability_is_the_mean_of_the_kept_traces_that_have_one() -> None:
    pairs = [make_pair("q", str(place), "ferry", f"at {place}", label=1) for place in range(3)]

    def trace(of: Any, sample: int, sure: float | None) -> Trace:
        return Trace(of.pair_id, sample, "r", "why", "", 1, "stop", 1, 1, 0.0, 0.0, "t", p_relevant=sure)

    kept = [(pairs[0], trace(pairs[0], n, sure)) for n, sure in enumerate((0.9, None, 0.7))]
    kept += [(pairs[1], trace(pairs[1], 0, None)), (pairs[2], trace(pairs[2], 0, 0.99999))]
    means = mean_probabilities(kept, "encoder")
    assert means == {pairs[0].pair_id: pytest.approx(0.8), pairs[2].pair_id: 0.99999}
    rows, without = labelled(labelled_pairs(kept, shares=means), "p_relevant", "rank1")
    assert [row.probability for row in rows] == [pytest.approx(0.8), 0.99999]
    assert [row.log_odds for row in rows] == [pytest.approx(math.log(4)), SURE]
    assert without == [(pairs[1].pair_id, "the teacher gave no probability with its verdict")]
    with pytest.raises(DataError, match="encoder: labels: p_relevant, and no kept trace has one"):
        mean_probabilities(kept[3:4], "encoder")


@pytest.mark.parametrize(
    ("teacher", "possible"),
    [
        ({"endpoints": [{"base_url": "http://127.0.0.1:1/v1", "model": "m"}]}, False),
        ({"endpoints": [{"base_url": "http://127.0.0.1:1/v1", "model": "m"}], "logprobs": True}, True),
        ({"source": "import", "import": {"path": "t.jsonl"}}, True),
        ({"source": "labels"}, False),
    ],
)
def test_a_teacher_that_gives_no_probability_is_refused_before_it_is_asked(
    teacher: dict[str, Any], possible: bool
) -> None:
    sft = {"base": "scratch", "targets": [{"target": "encoder", "labels": "p_relevant"}]}
    values = {"name": "x", "pairs": {"source": "example"}, "teacher": teacher, "sft": sft}
    if possible:
        RunConfig.model_validate(values)
        return
    with pytest.raises(ValidationError, match="encoder: labels: p_relevant needs a teacher with logprobs: true"):
        RunConfig.model_validate(values)


def test_rows_are_in_the_form_of_the_loss() -> None:
    pairs, _ = labelled(PAIRS, "verdict", "rank1")
    bce, mse, margins, lists = (rows_for(loss, pairs, 0) for loss in ("bce", "mse", "margin_mse", "listwise"))
    assert bce[0]["label"][:] == [1.0, 0.0, 1.0] and mse[0]["label"][:] == [SURE, -SURE, SURE]
    assert bce[1] == mse[1] == []
    assert margins[1] == lists[1] == [(PAIRS[2].pair_id, ALONE)]
    (two,) = margins[0].to_list()
    assert two["query"] == "of a"
    assert two["label"] == (2 * SURE if two["first"] == "passage 0" else -2 * SURE)
    (of_a,) = lists[0].to_list()
    assert dict(zip(of_a["passages"], of_a["label"], strict=True)) == {"passage 0": SURE, "passage 1": -SURE}
    many, _ = labelled([row("c", place, place % 2) for place in range(40)], "verdict", "rank1")
    parts = [len(passages) for passages in rows_for("listwise", many, 0)[0]["passages"]]
    assert sum(parts) == 40 and max(parts) <= LONGEST and max(parts) - min(parts) <= 1
    assert rows_for("margin_mse", many, 3)[0].to_list() == rows_for("margin_mse", many, 3)[0].to_list()


@pytest.mark.parametrize(
    ("students", "message"),
    [
        ([{"target": "encoder", "scores": {"from": "think"}}], "name a reranker of this list"),
        (["think", {"target": "encoder", "scores": {"from": "think"}, "labels": "share"}], "leave labels out"),
        (["think", {"target": "direct", "scores": {"from": "think"}}], "only for students that write nothing"),
        (
            [
                "think",
                {"target": "encoder", "name": "a", "scores": {"from": "think"}},
                {"target": "encoder", "name": "b", "scores": {"from": "a"}},
            ],
            "without scores of its own",
        ),
    ],
)
def test_a_cascade_that_cannot_be_is_refused(students: list[Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SftSettings.model_validate({"targets": students})


def test_another_scoring_student_is_another_encoder_and_nothing_else_of_it_matters() -> None:
    def fingerprint(**changes: Any) -> Any:
        cascade = {"target": "encoder", "name": "cascade", "scores": {"from": "direct"}}
        given: dict[str, Any] = {"targets": ["direct", "encoder", cascade]}
        settings = SftSettings.model_validate({**given, **changes})
        hashes = dict.fromkeys((*(student.name for student in settings.targets), "lengths"), "0")
        stage = _Stage(settings, Path(), Path(), 0, hashes, "", "")
        return [stage.key(student) for student in settings.targets]

    before, after = fingerprint(), fingerprint(training={"max_steps": 7})
    assert before[0] != after[0] and before[1] == after[1] and before[2] != after[2]
    _, encoder, cascade = before
    assert "scores" in cascade[0] and "scores" not in encoder[0]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bce", "mse", "margin_mse", "listwise"])
def test_each_loss_learns(loss: str, tmp_path: Path) -> None:
    import torch

    from sft.encoder_base import cross_encoder, make_scratch_encoder
    from sft.scratch import ScratchSettings

    shape = ScratchSettings(vocab_size=320, layers=1, width=64, heads=2, kv_heads=2, ffn=64, max_positions=64)
    make_scratch_encoder(["yes no of a b passage"], shape, str(tmp_path))
    model = cross_encoder(str(tmp_path))
    pairs, _ = labelled([row("a", place, place % 2) for place in range(6)], "verdict", "rank1")
    rows, function = rows_for(loss, pairs, 0)[0], loss_of(loss, model)
    columns = [rows[name][:] for name in rows.column_names if name != "label"]
    labels = [torch.tensor(label) for label in rows["label"]] if loss == "listwise" else torch.tensor(rows["label"][:])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        value = function(columns, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    scores = model.predict([(pair.query, pair.passage) for pair in pairs])
    assert min(scores[1::2]) > max(scores[::2]), losses
