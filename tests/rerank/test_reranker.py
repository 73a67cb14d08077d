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
from distill.rerank.backends.transformers import TransformersBackend
from distill.rerank.jobs import Student, job_of
from distill.rerank.progress import Progress
from distill.rerank.reranker import AlikeScores, Reranker
from distill.rerank.scorer import Scorer
from distill.rerank.settings import ScoringSettings
from distill.rerank.student_format import form_of


@pytest.fixture(scope="module")
def student(tiny: Path) -> TransformersBackend:
    return TransformersBackend(str(tiny), batch=8)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [
        make_pair(f"q{i % 5}", f"d{i}", f"red fox {'very ' * (i % 4)}", f"dog {i} " * (i % 7 + 1)) for i in range(23)
    ]


def reference(student: TransformersBackend, pair: Pair, max_new: int) -> tuple[float, list[int], str]:
    """Rank1's reading of one pair, written apart from the code under test: (log-odds, ids, why it stopped)."""
    tokenizer = student.form.tokenizer
    ids = tokenizer.encode(rank1_prompt(pair.query, pair.passage, pair.instruction), add_special_tokens=False)
    prompt, reason = len(ids), "length"
    end = tokenizer.convert_tokens_to_ids(END_THINK)
    with torch.inference_mode():
        while len(ids) - prompt < max_new:
            logits = student.model(torch.tensor([ids])).logits[0, -1]
            if len(ids) - prompt < 2:  # asked to think, it may not end at once
                logits[[end, tokenizer.eos_token_id]] = -torch.inf
            token = int(logits.argmax())
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


def biased(student: TransformersBackend, token: str, amount: float) -> Any:
    """A context in which the model wants to write `token` more: random weights seldom end by themselves."""
    index = student.form.tokenizer.convert_tokens_to_ids(token)

    def hook(module: Any, args: Any, output: Any) -> Any:
        output.logits[..., index] += amount
        return output

    return student.model.register_forward_hook(hook)


@pytest.mark.parametrize(("token", "amount"), [(END_THINK, 7.0), ("<|endoftext|>", 7.0), (END_THINK, -50.0)])
def test_think_reads_what_a_loop_over_single_pairs_reads(
    student: TransformersBackend, pairs: list[Pair], token: str, amount: float
) -> None:
    handle = biased(student, token, amount)
    try:
        expected = [reference(student, pair, 24) for pair in pairs]
        reranker = Reranker(student, "think", max_new_tokens=24)
        found = reranker.predict(pairs)
    finally:
        handle.remove()
    assert [j.finish_reason for j in found] == [reason for _, _, reason in expected]
    assert [j.margin for j in found] == pytest.approx([margin for margin, _, _ in expected], abs=1e-4)
    assert [j.tokens for j in found] == [len(ids) + 1 for _, ids, _ in expected]
    assert [(j.query_id, j.doc_id) for j in found] == [(p.query_id, p.doc_id) for p in pairs]
    forced = sum(reason != "stop" for _, _, reason in expected)
    assert (reranker.counts["forced"], reranker.counts["pairs"]) == (forced, len(pairs))
    assert reranker.counts["unfinished"] + reranker.counts["no_end"] == forced


def test_rows_of_one_batch_end_at_different_steps(student: TransformersBackend, pairs: list[Pair]) -> None:
    handle = biased(student, END_THINK, 7.0)
    try:
        found = Reranker(student, "think", max_new_tokens=24).predict(pairs)
    finally:
        handle.remove()
    assert len({j.tokens for j in found if j.finish_reason == "stop"}) > 3


def test_direct_prefills_the_empty_block(student: TransformersBackend, pairs: list[Pair]) -> None:
    found = Reranker(student, "direct").predict(pairs)
    for pair, judgement in zip(pairs, found, strict=True):
        text = rank1_prompt(pair.query, pair.passage) + f"\n{END_THINK}"
        with torch.inference_mode():
            logits = student.model(torch.tensor([student.form.tokenizer.encode(text)])).logits[0, -1]
        probability = torch.softmax(logits[list(student.form.verdicts)], -1)[0].item()
        assert judgement.score == pytest.approx(probability, abs=1e-5)
        assert judgement.margin == pytest.approx(math.log(probability / (1 - probability)), abs=1e-3)
        assert (judgement.tokens, judgement.reasoning, judgement.finish_reason) == (1, "", "stop")


def test_a_verdict_is_read_only_where_the_student_says_one(student: TransformersBackend, pairs: list[Pair]) -> None:
    reranker = Reranker(student, "direct")
    assert {j.verdict for j in reranker.predict(pairs)} == {None}, "random weights put little on the two words"
    assert reranker.counts["unparsable"] == len(pairs)
    handle = biased(student, student.form.tokenizer.convert_ids_to_tokens(student.form.verdicts[0]), 50.0)
    try:
        assert {j.verdict for j in reranker.predict(pairs)} == {1}
    finally:
        handle.remove()
    assert reranker.counts["unparsable"] == len(pairs), "no more than before"


def test_a_passage_too_long_is_cut_and_the_suffix_stays(student: TransformersBackend) -> None:
    long = make_pair("q", "d", "red fox", "dog sleeps " * 2000)
    cut, whole = student.form.prompts([long, make_pair("q", "e", "red fox", "dog")], room=50)
    limit = student.form.context - 50
    assert (cut.how, whole.how) == ("cut", "") and len(cut.rows[0]) <= limit
    assert student.form.tokenizer.decode(cut.rows[0]).endswith("\n<think>")
    assert len(cut.rows[0]) > limit * 0.85, "no more is cut than must be"
    reranker = Reranker(student, "direct")
    assert reranker.predict([long])[0].finish_reason == "cut" and reranker.counts["cut"] == 1


def test_a_passage_too_long_is_split_and_its_best_part_counts(student: TransformersBackend) -> None:
    words = " ".join(f"dog {number}" for number in range(300))
    long = make_pair("q", "d", "red fox", words)
    parts = student.form.prompts([long], len(student.form.close) + 1, "split")[0].rows
    texts = [student.form.tokenizer.decode(row).split("Passage: ")[1].removesuffix("\n<think>") for row in parts]
    assert len(parts) > 2 and texts[0].startswith("dog 0 ") and texts[-1].endswith("dog 299")
    assert all(f"dog {number}" in " ".join(texts) for number in range(300)), "nothing of the passage is lost"
    with torch.inference_mode():
        logits = [student.model(torch.tensor([row + student.form.close])).logits[0, -1] for row in parts]
    true, false = student.form.verdicts
    together = Reranker(student, "direct", long="split").predict([long])[0]
    assert together.margin == pytest.approx(max(float(each[true] - each[false]) for each in logits), abs=1e-3)
    assert (together.finish_reason, together.tokens) == ("split", len(parts))


def test_a_passage_too_long_is_refused_where_that_is_wanted(student: TransformersBackend) -> None:
    with pytest.raises(InputError, match="query q, passage d: .* tokens, and the student reads"):
        Reranker(student, "direct", long="refuse").predict([make_pair("q", "d", "red fox", "dog sleeps " * 2000)])


def test_a_query_that_fills_the_context_is_refused(student: TransformersBackend) -> None:
    with pytest.raises(InputError, match="query q: it alone is longer"):
        student.form.prompts([make_pair("q", "d", "red fox " * 500, "dog")], room=50)


def test_scores_survive_extreme_margins(student: TransformersBackend) -> None:
    handle = biased(student, student.form.tokenizer.convert_ids_to_tokens(student.form.verdicts[1]), 5000.0)
    try:
        judgement = Reranker(student, "direct").predict([make_pair("q", "d", "red", "dog")])[0]
    finally:
        handle.remove()
    assert judgement.score == 0.0 and judgement.verdict == 0 and judgement.margin < -1000


def test_the_order_of_rows_and_the_batch_size_change_nothing(student: TransformersBackend, pairs: list[Pair]) -> None:
    loaded = (student.model, student.form)
    handle = biased(student, END_THINK, 7.0)
    try:
        one = Reranker(TransformersBackend("", batch=1, loaded=loaded), max_new_tokens=24).predict(pairs)
        many = Reranker(TransformersBackend("", batch=16, loaded=loaded), max_new_tokens=24).predict(pairs[::-1])
    finally:
        handle.remove()
    assert [j.margin for j in one] == pytest.approx([j.margin for j in many[::-1]], abs=1e-4)
    assert [j.reasoning for j in one] == [j.reasoning for j in many[::-1]]


def test_scores_that_are_all_alike_raise_a_warning(student: TransformersBackend) -> None:
    with pytest.warns(AlikeScores, match="all 8 scores are"):
        Reranker(student, "direct").predict([("red fox", "dog")] * 8)


def test_worker_processes_give_the_same_judgements(tiny: Path, student: TransformersBackend, pairs: list[Pair]) -> None:
    here = Reranker(student, "direct").predict(pairs)
    events: list[Progress] = []
    two = ScoringSettings(actors=2)
    jobs = [
        job_of("one", Student(str(tiny), "direct", two), pairs),
        job_of("two", Student(str(tiny), "think", two, max_new_tokens=8), pairs[:5]),
    ]
    with Scorer(notify=events.append) as scorer:
        found = {judged.name: judged.found for judged in scorer.score(jobs)}
    assert [j.margin for j in found["one"]] == pytest.approx([j.margin for j in here], abs=1e-4)
    assert [j.doc_id for j in found["two"]] == [p.doc_id for p in pairs[:5]]
    assert {e.system for e in events} == {"one", "two"}


def test_what_is_no_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        form_of(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not a student that loads"):
        form_of(str(tmp_path))


def test_a_graded_student_reads_its_own_scale(tiny: Path, tmp_path: Path, pairs: list[Pair]) -> None:
    import json
    import shutil

    from distill.prompts import END_THINK, PROMPTS, student_prompt
    from sft.scratch import ScratchSettings, new_model, train_tokenizer

    words = PROMPTS["graded_4"].verdicts
    texts = [student_prompt("red fox", "dog", None, "graded_4") + f"\n{END_THINK}{word}" for word in words]
    tokenizer = train_tokenizer(texts * 5, 600)
    shape = ScratchSettings(
        vocab_size=600, layers=1, width=64, heads=2, kv_heads=2, ffn=64, max_positions=512, init_std=0.3
    )
    new_model(tokenizer, shape).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "distill.json").write_text(json.dumps({"prompt": "graded_4", "target": "direct"}))
    backend = TransformersBackend(str(tmp_path))
    assert backend.form.prompt == "graded_4" and backend.form.grades == (4, 3, 2, 1, 0)
    found = Reranker(backend, "direct").predict(pairs[:3])
    for pair, judgement in zip(pairs, found, strict=False):
        text = student_prompt(pair.query, pair.passage, None, "graded_4") + f"\n{END_THINK}"
        with torch.inference_mode():
            logits = backend.model(torch.tensor([tokenizer.encode(text)])).logits[0, -1]
        likely = torch.softmax(logits[[tokenizer.encode(END_THINK + w)[-1] for w in words]], -1).tolist()
        assert judgement.score == pytest.approx(sum(g * p for g, p in enumerate(likely)) / 4, abs=1e-4)
    shutil.rmtree(tmp_path)


def test_rows_given_up_while_they_run_disturb_no_other(student: TransformersBackend, pairs: list[Pair]) -> None:
    handle = biased(student, END_THINK, 5.0)
    try:
        expected = Reranker(student, "think", max_new_tokens=24).predict(pairs)
        reranker = Reranker(student, "think", max_new_tokens=24)
        requests, found, ended = reranker.stream(), {}, []
        keep = requests.submit(pairs, ended.append, lambda at, j: found.update({at: j}))
        leave = [requests.submit(pairs[at : at + 4], ended.append) for at in (0, 8, 16)]
        for step in range(400):
            if step in (3, 6, 9):
                requests.cancel(leave.pop())
            if not requests.step():
                break
    finally:
        handle.remove()
    assert ended == [None] and keep.left == 0 and not student._rows and not student._waiting
    assert [found[at].margin for at in range(len(pairs))] == pytest.approx([j.margin for j in expected], abs=1e-4)
    assert [found[at].reasoning for at in range(len(pairs))] == [j.reasoning for j in expected]


def test_a_giant_passage_is_split_in_time_that_grows_with_its_length(
    student: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every part once read from the rest of the passage would be its square."""
    from distill.rerank import student_format

    read = 0

    def counted(tokenizer: object, prompts: list[str]) -> list[list[int]]:
        nonlocal read
        read += sum(map(len, prompts))
        return whole(tokenizer, prompts)

    whole = student_format.prompt_ids
    monkeypatch.setattr(student_format, "prompt_ids", counted)
    passage = " ".join(f"dog {number}" for number in range(4000))
    parts = student.form.prompts([make_pair("q", "d", "red fox", passage)], 50, "split")[0].rows
    frame = len(student_format.student_prompt("red fox", "", None, student.form.prompt))
    assert len(parts) > 50 and read < 8 * (len(passage) + len(parts) * frame)
    limit = student.form.context - 50
    assert all(0.85 * limit < len(row) <= limit for row in parts[:-1])
