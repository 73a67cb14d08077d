"""The target `retriever`: its rows, its training, killed and gone on with, and the folder that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from distill.errors import DataError
from distill.prompts import query_text
from distill.publish.model import export_model
from distill.records import LabelledPair, Pair, make_pair
from distill.store import read_json, read_rows, write_json, write_rows
from sft.pair_validation import similarities
from sft.retriever.rows import RetrieverRows
from sft.settings import DevSettings, SftSettings
from sft.training_job import TrainingJob, train
from sft.validation import measures
from tests.sft.killed import interrupted

SCRATCH = {"vocab_size": 400, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 64, "max_positions": 64}


def row(query: str, passage: str, relevant: int, instruction: str | None = None, source: str = "qrels") -> LabelledPair:
    pair = make_pair(query, passage, query, passage, instruction)
    return LabelledPair(
        pair.pair_id, pair.query_id, pair.doc_id, pair.query, pair.passage, pair.instruction, relevant,
        bool(relevant), source
    )  # fmt: skip


INSTRUCTED = [
    row("ferry", "at nine", 1), row("ferry", "at ten on mondays", 1), row("ferry", "bees", 0),
    row("ferry", "at ten on mondays", 1, "mondays only"),
    row("ferry", "at nine", 0, "mondays only", "instruction_mined"),
    row("ferry", "at ten on tuesdays", 0, "mondays only", "instruction_negative"),
    row("ferry", "honey", 0, "mondays only", "instruction_easy"), row("owl", "at night", 1), row("map", "no", 0),
]  # fmt: skip


def test_what_fails_the_instruction_comes_first_and_other_queries_passages_fill_in() -> None:
    made = RetrieverRows(INSTRUCTED, 4, seed=0)
    rows = {(each.query, each.positive): each for each in made}
    assert made.without_positive == 1  # the map's
    instructed = rows[query_text("ferry", "mondays only"), "at ten on mondays"]
    assert set(instructed.negatives[:2]) == {"at nine", "at ten on tuesdays"} and instructed.of_instruction == 2
    assert instructed.negatives[2:] == ("honey", "at night") and instructed.drawn == 1
    plain = rows["ferry", "at nine"]
    assert plain.negatives == ("bees", "at night") and plain.of_instruction == 0  # no other ferry is its negative
    assert list(RetrieverRows(INSTRUCTED, 4, seed=0)) == list(made)


def test_without_instruction_negatives_they_are_left_out() -> None:
    rows = {each.query: each for each in RetrieverRows(INSTRUCTED, 4, seed=0, instruction_negatives=False)}
    instructed = rows[query_text("ferry", "mondays only")]
    assert instructed.negatives == ("honey", "at night") and instructed.of_instruction == 0


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"target": "encoder", "retriever": {}}, "retriever: only for target retriever"),
        ({"target": "think", "retriever": {}}, "only for students that write nothing"),
        ({"target": "retriever", "retriever": {"lora": {"bits": 4}}}, "not trained in four bits"),
        ({"target": "retriever", "loss": "margin_mse"}, "loss margin_mse learns from a reranker's scores: set scores"),
        ({"target": "retriever", "scores": {"from": "direct"}}, "learns from scores by loss: margin_mse; set it"),
        (
            {"target": "retriever", "loss": "margin_mse", "scores": {"from": "x"}, "retriever": {"negatives": 2}},
            "retriever: negatives: of infonce alone",
        ),
    ],
)
def test_what_does_not_suit_the_target_is_refused(student: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SftSettings.model_validate({"targets": [student]})


def job_in(out: Path, base: str = "scratch", retriever: dict[str, Any] | None = None, **training: Any) -> TrainingJob:
    """The job of a retriever: a passage is relevant where it has the query's word."""
    rows = [
        row(f"tell me of w{number}", f"this is on w{(number + 5 * place) % 48} and more", 1 - place)
        for number in range(48)
        for place in range(2)
    ]
    out.mkdir()
    write_rows(out / "rows", rows, LabelledPair)
    (out / "student").mkdir()
    settings = SftSettings.model_validate({"targets": ["retriever"], "scratch": SCRATCH})
    return {
        "name": "retriever", "target": "retriever", "base": base, "examples": str(out / "rows"),
        "out": str(out / "student"), "dev": "", "seed": 0, "threads": 1,
        "settings": settings.model_dump(mode="json", exclude={"targets", "parallel", "assume"}),
        "student": {
            "retriever": {"negatives": 1, **(retriever or {})},
            "training": {
                "max_steps": 8, "per_device_train_batch_size": 8, "logging_steps": 2, "learning_rate": 1e-3, **training,
            },
        },
    }  # fmt: skip


@pytest.mark.slow
def test_rows_that_make_no_batch_are_refused(tmp_path: Path) -> None:
    """All passages are of four texts, and a batch holds no text twice: the student would be as it was before.

    Of several workers sentence-transformers drops incomplete batches by itself.
    """
    from sft.training_job import train

    job = job_in(tmp_path / "same", retriever={"negatives": 4}, dataloader_drop_last=True)
    rows = [row(f"tell me of w{n}", f"this is on {place}", place % 2) for n in range(10) for place in range(4)]
    write_rows(tmp_path / "same" / "others", rows, LabelledPair)
    with pytest.raises(DataError, match="rows make no batch of 8"):
        train({**job, "examples": str(tmp_path / "same" / "others")})
    assert not list(Path(job["out"]).glob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("retriever", [{}, {"cached": 2}, {"lora": {"r": 4, "dropout": 0.1}}])
def test_a_killed_training_goes_on_and_the_folder_is_sentence_transformers_own(
    retriever: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    whole = train(job_in(tmp_path / "whole", retriever=retriever))
    job = job_in(tmp_path / "killed", retriever=retriever, save_steps=3)
    interrupted(monkeypatch, train, job)
    assert (tmp_path / "killed/student/checkpoints/checkpoint-3/complete").is_file()
    again = train(job)
    assert (whole["resumed"], again["resumed"]) == (False, True)
    assert whole["steps"] == again["steps"] == 8 and whole["examples"] == 48 and whole["negatives"] == 1
    models = [SentenceTransformer(str(tmp_path / name / "student")) for name in ("whole", "killed")]
    first, second = (model.encode(["tell me of w3", "this is on w3 and more"]) for model in models)
    assert np.allclose(first, second, atol=1e-5) and np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert not (tmp_path / "whole/student/adapter_config.json").exists()
    assert (whole["trainable"] < whole["parameters"]) == ("lora" in retriever)
    note = read_json(tmp_path / "whole/student/distill.json")
    assert note == {"prompt": "rank1", "target": "retriever", "mode": "direct", "kind": "retriever"}
    export_model(tmp_path / "whole/student", "", tmp_path / "exported")
    exported = SentenceTransformer(str(tmp_path / "exported")).encode(["tell me of w3", "this is on w3 and more"])
    assert np.array_equal(exported, first)  # with its pooling
    card = (tmp_path / "exported/README.md").read_text()
    assert "encode_query" in card and "library_name: sentence-transformers" in card and "Rank1" not in card


def test_a_retriever_scores_nothing_and_is_not_chosen_by_accuracy() -> None:
    with pytest.raises(ValidationError, match="name a reranker of this list"):
        SftSettings.model_validate({"targets": ["retriever", {"target": "encoder", "scores": {"from": "retriever"}}]})
    with pytest.raises(ValidationError, match="dev.best_by: accuracy: retriever gives no verdicts"):
        SftSettings.model_validate({"targets": ["direct", "retriever"], "dev": {"best_by": "accuracy"}})


@pytest.mark.slow
def test_margin_mse_learns_the_differences_that_a_reranker_sees(tmp_path: Path) -> None:
    """Scores are the reverse of the labels, and similarities follow the scores; pairs without one are left out."""
    from sentence_transformers import SentenceTransformer

    job = job_in(tmp_path / "scored", retriever={"temperature": 0.1}, max_steps=60, learning_rate=3e-3)
    del job["student"]["retriever"]["negatives"]
    words = ((f"tell me of w{number}", place) for number in range(48) for place in range(2))
    rows = [row(query, f"{('open', 'shut')[place]} all of day {query[-2:]}", 1 - place) for query, place in words]
    write_rows(tmp_path / "scored/rows", rows, LabelledPair)
    write_json(tmp_path / "scores", {pair.pair_id: -3.0 if pair.relevant else 3.0 for pair in rows[:-2]})
    result = train({**job, "scores": str(tmp_path / "scores")})
    assert (result["examples"], result["rejected"]) == (47, 2) and "cannot read it" in result["left_out"]
    model = SentenceTransformer(str(tmp_path / "scored/student"))
    similarity = similarities(model, [(pair.query, pair.passage) for pair in rows[:-2]], 32)
    margins = [one - other for one, other in zip(similarity[::2], similarity[1::2], strict=True)]
    assert sum(margin < 0 for margin in margins) > 0.9 * len(margins)


@pytest.mark.slow
def test_held_out_queries_choose_the_checkpoint(tmp_path: Path) -> None:
    """Of steps 3, 6 and 8 the best by AUC is kept, and its weights are those that the measure was of."""
    from sentence_transformers import SentenceTransformer

    job = job_in(tmp_path / "dev", learning_rate=3e-3)
    job["settings"]["dev"] = DevSettings(pairs=96, every=0.34).model_dump(mode="json")
    rows = list(read_rows(job["examples"], LabelledPair))
    pairs = [make_pair(p.query_id, p.doc_id, p.query, p.passage, label=int(p.relevant)) for p in rows]
    write_rows(tmp_path / "held", pairs, Pair)
    result = train({**job, "dev": str(tmp_path / "held")})
    assert result["best_step"] in (3, 6, 8) and set(result["dev"]) == {"auc", "ndcg", "spread"}
    model = SentenceTransformer(str(tmp_path / "dev/student"))
    scores = similarities(model, [(pair.query, pair.passage) for pair in pairs], 32)
    assert measures(scores, pairs)["auc"] == pytest.approx(result["dev"]["auc"], abs=1e-3)


@pytest.mark.slow
def test_a_decoder_is_pooled_by_its_end_of_text_behind_the_prompts(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer

    from sft.student import make_scratch

    base = tmp_path / "base"
    base.mkdir()
    settings = SftSettings.model_validate({"targets": ["direct"], "scratch": SCRATCH})
    make_scratch(settings, [f"query: tell me of w{n} passage: this is on w{n} and more" for n in range(48)], 0, base)
    train(job_in(tmp_path / "student", str(base), {"lora": {"r": 4}}))
    model = SentenceTransformer(str(tmp_path / "student/student"))
    assert model.prompts["query"] == "query: " and model.prompts["document"] == "passage: "
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student/student")
    assert tokenizer("this is on w3").input_ids[-1] == tokenizer.eos_token_id
    texts = ["this is on w3 and more", "w3"]  # of two lengths: padding decides nothing
    together, alone = model.encode_document(texts), np.stack([model.encode_document(text) for text in texts])
    assert np.allclose(together, alone, atol=1e-4)
    assert not np.allclose(model.encode_query("w3"), model.encode_document("w3"), atol=1e-3)
