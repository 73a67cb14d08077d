"""The student at work: scores where Rank1 reads them, batches that change nothing, ends that are forced and said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.errors import InputError
from distill.prompts import END_THINK, rank1_prompt
from distill.records import Pair, make_pair
from distill.rerank.decode import read_verdicts, think
from distill.rerank.pool import Task, judge
from distill.rerank.reranker import Reranker
from distill.rerank.student import Student, load
from sft.scratch import ScratchSettings, new_model, train_tokenizer

TEXTS = ["the red fox runs. it is quick! yes", "a lazy dog sleeps. is it old? no"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student")
    tokenizer = train_tokenizer([rank1_prompt(*TEXTS), *TEXTS], 400)
    shape = ScratchSettings(
        vocab_size=400, layers=2, width=64, heads=2, kv_heads=2, ffn=64, max_positions=256, init_std=0.3
    )
    new_model(tokenizer, shape).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def student(folder: Path) -> Student:
    return load(str(folder))


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [
        make_pair(f"q{i % 5}", f"d{i}", f"red fox {'very ' * (i % 4)}", f"dog {i} " * (i % 7 + 1)) for i in range(23)
    ]


def reference(student: Student, pair: Pair, max_new: int) -> tuple[float, list[int], str]:
    """Rank1's reading of one pair, written apart from the code under test: (log-odds, ids, why it stopped)."""
    tokenizer = student.tokenizer
    ids = tokenizer.encode(rank1_prompt(pair.query, pair.passage, pair.instruction), add_special_tokens=False)
    prompt, reason = len(ids), "length"
    end = tokenizer.convert_tokens_to_ids(END_THINK)
    with torch.inference_mode():
        while len(ids) - prompt < max_new:
            token = int(student.model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                reason = "no_end"
                break
            ids.append(token)
            if token == end:
                reason = "stop"
                break
        written = ids[prompt:]
        if reason != "stop":
            text = tokenizer.decode(written)
            last = max(text.rfind(mark) for mark in (". ", "? ", "! ", ".\n"))
            text = text[: last + 1] if last > 0 else text
            written = tokenizer.encode(text.rstrip() + "\n" + END_THINK, add_special_tokens=False)
        logits = student.model(torch.tensor([ids[:prompt] + written])).logits[0, -1].log_softmax(-1)
    true, false = (tokenizer.encode(END_THINK + w, add_special_tokens=False)[-1] for w in (" true", " false"))
    return float(logits[true] - logits[false]), written, reason


def biased(student: Student, token: str, amount: float) -> Any:
    """A context in which the model wants to write `token` more: random weights seldom end by themselves."""
    index = student.tokenizer.convert_tokens_to_ids(token)

    def hook(module: Any, args: Any, output: Any) -> Any:
        output.logits[..., index] += amount
        return output

    return student.model.register_forward_hook(hook)


@pytest.mark.parametrize(("token", "amount"), [(END_THINK, 7.0), ("<|endoftext|>", 7.0), (END_THINK, -50.0)])
def test_think_reads_what_a_loop_over_single_pairs_reads(
    student: Student, pairs: list[Pair], token: str, amount: float
) -> None:
    handle = biased(student, token, amount)
    try:
        expected = [reference(student, pair, 24) for pair in pairs]
        found = Reranker(student, "think", batch=8, max_new_tokens=24).predict(pairs)
    finally:
        handle.remove()
    assert [j.finish_reason for j in found] == [reason for _, _, reason in expected]
    assert [j.margin for j in found] == pytest.approx([margin for margin, _, _ in expected], abs=1e-4)
    assert [j.tokens for j in found] == [len(ids) + 1 for _, ids, _ in expected]
    assert [(j.query_id, j.doc_id) for j in found] == [(p.query_id, p.doc_id) for p in pairs]


def test_rows_of_one_batch_end_at_different_steps(student: Student, pairs: list[Pair]) -> None:
    handle = biased(student, END_THINK, 7.0)
    try:
        rows, _ = student.prompts(pairs, 30)
        lengths = {len(d.ids) for d in think(student, rows, 24, 8) if d.finish_reason == "stop"}
    finally:
        handle.remove()
    assert len(lengths) > 3


def test_direct_prefills_the_empty_block(student: Student, pairs: list[Pair]) -> None:
    found = Reranker(student, "direct", batch=4).predict(pairs)
    true, false = student.true_id, student.false_id
    for pair, judgement in zip(pairs, found, strict=True):
        text = rank1_prompt(pair.query, pair.passage) + f"\n{END_THINK}"
        with torch.inference_mode():
            logits = student.model(torch.tensor([student.tokenizer.encode(text)])).logits[0, -1]
        probability = torch.softmax(logits[[true, false]], -1)[0].item()
        assert judgement.score == pytest.approx(probability, abs=1e-5)
        assert judgement.margin == pytest.approx(math.log(probability / (1 - probability)), abs=1e-3)
        assert (judgement.tokens, judgement.reasoning, judgement.finish_reason) == (1, "", "stop")


def test_a_passage_too_long_is_cut_and_the_suffix_stays(student: Student) -> None:
    long = make_pair("q", "d", "red fox", "dog sleeps " * 2000)
    rows, cut = student.prompts([long, make_pair("q", "e", "red fox", "dog")], room=50)
    assert cut == [True, False] and len(rows[0]) <= student.context - 50
    assert student.tokenizer.decode(rows[0]).endswith("\n<think>")
    assert len(rows[0]) > (student.context - 50) * 0.85, "no more is cut than must be"
    assert Reranker(student, "direct").predict([long])[0].finish_reason == "cut"


def test_a_query_that_fills_the_context_is_refused(student: Student) -> None:
    with pytest.raises(InputError, match="query q: it alone is longer"):
        student.prompts([make_pair("q", "d", "red fox " * 500, "dog")], room=50)


def test_scores_survive_extreme_margins(student: Student) -> None:
    handle = biased(student, student.tokenizer.convert_ids_to_tokens(student.false_id), 5000.0)
    try:
        judgement = Reranker(student, "direct").predict([make_pair("q", "d", "red", "dog")])[0]
    finally:
        handle.remove()
    assert judgement.score == 0.0 and judgement.verdict == 0 and judgement.margin < -1000


def test_the_order_of_rows_and_the_batch_size_change_nothing(student: Student, pairs: list[Pair]) -> None:
    rows, _ = student.prompts(pairs, 10)
    one, many = read_verdicts(student, rows, 1), read_verdicts(student, rows, 16)
    assert [a for pair in one for a in pair] == pytest.approx([a for pair in many for a in pair], abs=1e-4)


def test_worker_processes_give_the_same_judgements(folder: Path, student: Student, pairs: list[Pair]) -> None:
    here = Reranker(student, "direct").predict(pairs)
    events: list[dict] = []
    tasks = [Task("one", str(folder), "direct", pairs), Task("two", str(folder), "think", pairs[:5])]
    found = {name: judgements for name, judgements, _ in judge(tasks, events.append, max_new_tokens=8)}
    assert [j.margin for j in found["one"]] == pytest.approx([j.margin for j in here], abs=1e-4)
    assert [j.doc_id for j in found["two"]] == [p.doc_id for p in pairs[:5]]
    assert {e["system"] for e in events} == {"one", "two"}


def test_what_is_no_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a student that loads"):
        load(str(tmp_path / "nowhere"))
