"""The two recipes on narrow models with their bases' modules: trained, resumed, merged, and read as Rank1 is read."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distill.prompts import END_THINK, prompt_ids, rank1_prompt, verdict_ids
from distill.records import Pair
from sft.student import load_base
from sft.train import train
from tests.sft.tiny import base_folder, job_of, train_tiny, weights, world

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {"rank1-7b": False, "rank1-1.5b": True}  # whether embeddings and head are one matrix


@pytest.fixture(scope="module", params=list(RECIPES))
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """(the recipe's sft settings for 20 steps, a base with random weights)."""
    sft = yaml.safe_load((ROOT / "configs" / f"{request.param}.yaml").read_text())["sft"]
    base = base_folder(tmp_path_factory.mktemp("base"), tied=RECIPES[request.param])
    settings = {key: sft[key] for key in ("lora", "think_tokens", "max_length", "pack_length") if key in sft}
    training = {**sft["training"], "max_steps": 20, "save_steps": 10, "logging_steps": 5, "bf16": False}
    training |= {"gradient_accumulation_steps": 1, "learning_rate": 1e-3}
    return {**settings, "training": training, "max_length": 300, "pack_length": 1000}, base


def test_twenty_steps_resumed_half_way_merged_and_scored(
    recipe: tuple[dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, base = recipe
    whole = train_tiny(tmp_path / "whole", base, count=200, **settings)
    assert whole["steps"] == 20 and whole["rejected"] == 0 and not whole["resumed"]
    with monkeypatch.context() as patch:
        patch.setattr("sft.train.shutil.rmtree", lambda *_, **__: None)  # keep the checkpoints of this one
        train_tiny(tmp_path / "again", base, count=200, **settings)
    student = tmp_path / "again" / "students" / "think"
    shutil.rmtree(student / "checkpoints" / "checkpoint-20")
    resumed = train_tiny(tmp_path / "again", base, count=200, **settings)
    assert resumed["resumed"] and resumed["steps"] == 20
    before, undisturbed = weights(base), weights(tmp_path / "whole" / "students" / "think")
    for name, tensor in weights(student).items():
        assert torch.equal(tensor, undisturbed[name]), name
    assert set(before) == set(undisturbed), "merged: the names of a plain model"
    assert not torch.equal(
        before["model.layers.1.mlp.up_proj.weight"], undisturbed["model.layers.1.mlp.up_proj.weight"]
    )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student)
    rows = tokenizer.convert_tokens_to_ids(["<think>", END_THINK])
    moved = undisturbed["model.embed_tokens.weight"][rows] - before["model.embed_tokens.weight"][rows]
    assert float(moved.abs().min(dim=1).values.max()) > 0, "the tags' rows were trained"
    if "lm_head.weight" in before:
        assert not torch.equal(before["lm_head.weight"][rows[1]], undisturbed["lm_head.weight"][rows[1]])


def test_the_merged_student_says_what_the_adapted_model_said(
    recipe: tuple[dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits to 1e-5 in fp32; in bf16 to 0.05 of logits of about 3."""
    from transformers import AutoModelForCausalLM

    import sft.train

    settings, base = recipe
    ids = torch.arange(3, 43)[None]
    said: dict[str, Any] = {}
    save = sft.train.save

    def look(trainer: Any, *rest: Any) -> None:
        with torch.inference_mode():
            said["adapted"] = trainer.model.eval()(input_ids=ids).logits
        save(trainer, *rest)

    monkeypatch.setattr(sft.train, "save", look)
    train_tiny(tmp_path, base, count=60, **{**settings, "training": {**settings["training"], "max_steps": 8}})
    folder = tmp_path / "students" / "think"
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        with torch.inference_mode():
            again = model(input_ids=ids).logits.float()
        assert float((again - said["adapted"]).abs().max()) < tolerance
    assert model.config.tie_word_embeddings == ("lm_head.weight" not in weights(folder))
    assert model.generation_config.do_sample is False


def rank1_reads(folder: Path, pairs: list[Pair], most: int) -> list[float]:
    """Rank1's published reading, from its paper, by `generate` on one pair after another; written apart from ours.

    Greedy up to `</think>`; a text without one is cut at its last sentence and closed. The score is
    e^lp(true) / (e^lp(true) + e^lp(false)), both with their leading space, at the place after `</think>`.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    true, false = (tokenizer(word, add_special_tokens=False)["input_ids"][-1] for word in (" true", " false"))
    scores = []
    for pair in pairs:
        text = (
            "Determine if the following passage is relevant to the query. Answer only with 'true' or 'false'.\n"
            f"Query: {pair.query}\nPassage: {pair.passage}\n<think>"
        )
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        out = model.generate(
            ids, max_new_tokens=most, do_sample=False, stop_strings=["</think>"], tokenizer=tokenizer,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        written = tokenizer.decode(out[0, ids.shape[1] :]).removesuffix(tokenizer.eos_token)
        if "</think>" not in written:
            end = max(written.rfind(mark) for mark in (". ", "? ", "! ", ".\n"))
            written = (written[: end + 1] if end > 0 else written).rstrip() + "\n</think>"
            tail = tokenizer(written, return_tensors="pt", add_special_tokens=False)["input_ids"]
            out = torch.cat([ids, tail], dim=1)
        with torch.inference_mode():
            logprobs = torch.log_softmax(model(out).logits[0, -1], dim=-1)
        yes, no = math.exp(logprobs[true]), math.exp(logprobs[false])
        scores.append(yes / (yes + no))
    return scores


@pytest.mark.parametrize("tags", ["added", "text"])
def test_a_student_made_here_scores_alike_in_rank1s_reader(tags: str, tmp_path: Path) -> None:
    """To 1e-4, for students whose tags are tokens of their own (as Rank1's) and for plain text."""
    from distill.rerank.reranker import Reranker

    base = base_folder(tmp_path / "base", tied=True)
    training = {"max_steps": 150, "per_device_train_batch_size": 8, "learning_rate": 4e-3, "logging_steps": 50}
    train_tiny(tmp_path, base, count=200, think_tokens=tags, training={**training, "save_strategy": "no"})
    folder = tmp_path / "students" / "think"
    pairs = list(world(12)[0].values())
    ours = [each.score for each in Reranker(str(folder), "think", max_new_tokens=60).predict(pairs)]
    theirs = rank1_reads(folder, pairs, 60)
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert max(ours) - min(ours) > 0.01, "it says something"


def test_a_published_rank1_folder_is_read_here(tmp_path: Path) -> None:
    """Rank1's folders hold no note of ours: a plain model, a tokenizer, the tags as tokens; its reader ends no loop."""
    from distill.rerank.reranker import Reranker

    base = base_folder(tmp_path / "base", tied=False)
    train_tiny(tmp_path, base, count=60)
    folder = tmp_path / "students" / "think"
    (folder / "distill.json").unlink()
    pairs = list(world(6)[0].values())
    ours = [each.score for each in Reranker(str(folder), "think", max_new_tokens=30, loops="run").predict(pairs)]
    assert ours == pytest.approx(rank1_reads(folder, pairs, 30), abs=1e-4)


def test_a_tokenizer_that_splits_a_verdict_is_refused_before_a_step(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from distill.errors import DataError
    from sft.scratch import train_tokenizer

    base = base_folder(tmp_path / "base")
    train_tokenizer(["nothing of the sort here"], 400, tags=(), verdicts=()).save_pretrained(base)
    AutoTokenizer.from_pretrained(base)
    with pytest.raises(DataError, match=r"sft.base: ' false' after </think> is .*not one token of its own"):
        train(job_of(tmp_path, base))


def test_graded_students_learn_their_scale(tmp_path: Path) -> None:
    """Each grade's word is one token; a trained student's expected grade follows the pair's."""
    from distill import store
    from distill.records import Example
    from sft.scratch import train_tokenizer
    from sft.settings import DevSettings
    from sft.validation import ValidationSet
    from tests.sft.kept import examples

    base = base_folder(tmp_path / "base")
    pairs, traces = world(120, grades=4)
    rows = examples(pairs, traces, "direct", "graded_4")
    assert {row.completion for row in rows} == {f"\n{END_THINK} four", f"\n{END_THINK} zero"}
    from distill.prompts import PROMPTS

    texts = [row.prompt + row.completion for row in rows]
    train_tokenizer(texts, 448, tags=(), verdicts=PROMPTS["graded_4"].verdicts).save_pretrained(base)
    training = {"max_steps": 200, "per_device_train_batch_size": 16, "learning_rate": 3e-3, "logging_steps": 50}
    job = job_of(tmp_path, base, "direct", training={**training, "save_strategy": "no"}, prompt="graded_4")
    store.write_rows(job["examples"], rows, Example)
    train(job)
    from sft.settings import SftSettings

    model, tokenizer = load_base(job["out"], SftSettings.model_validate({"base": job["out"], "prompt": "graded_4"}))
    assert len(set(verdict_ids(tokenizer, "graded_4"))) == 5
    dev = ValidationSet(tokenizer, list(pairs.values()), DevSettings(pairs=120), "graded_4", "direct")
    found = dev.measure(model)
    assert found["auc"] > 0.75 and found["spread"] > 0.05
    assert len(prompt_ids(tokenizer, [rank1_prompt("q", "p")])[0]) > 3


def test_dora_trains_and_merges(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    train_tiny(tmp_path, base, lora={"r": 4, "alpha": 8, "dora": True})
    assert set(weights(tmp_path / "students" / "think")) == set(weights(base))
