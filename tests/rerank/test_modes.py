"""The modes, on a scripted engine: what is asked, in what order, and what counts in the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from distill.prompts import END_THINK, rank1_prompt
from distill.records import make_pair
from distill.rerank.backends.base import Result, Task
from distill.rerank.modes import RawJudgement, Window, mean, opinion, score_of, think_about
from distill.rerank.reranker import Reranker, text_of
from distill.rerank.student_format import StudentFormat
from sft.scratch import train_tokenizer

TEXTS = ["the red fox runs. it is quick! yes", "a lazy dog sleeps. is it old? no"]


@pytest.fixture(scope="module")
def form() -> StudentFormat:
    from distill.prompts import verdict_ids

    tokenizer = train_tokenizer([rank1_prompt(*TEXTS), *TEXTS], 400)
    false, true = verdict_ids(tokenizer)
    close = tokenizer.encode(f"\n{END_THINK}", add_special_tokens=False)
    end = tokenizer.convert_tokens_to_ids(END_THINK)
    stops = frozenset({tokenizer.eos_token_id})
    return StudentFormat(tokenizer, (true, false), (1, 0), close, end, stops, 512)


class Scripted:
    """An engine that answers by rule, one task a step, and keeps what it was asked."""

    name = "scripted"
    by_query = False

    def __init__(self, form: StudentFormat, answer: Callable[[Task], Result], slots: int = 4) -> None:
        self.form, self.answer, self.slots = form, answer, slots
        self.tasks: list[Task] = []
        self.asked: list[Task] = []

    @property
    def free(self) -> int:
        return self.slots - len(self.tasks)

    def add(self, task: Task) -> None:
        self.tasks.append(task)
        self.asked.append(task)

    def drop(self, task: Task) -> None:
        if task in self.tasks:
            self.tasks.remove(task)

    def step(self) -> list[tuple[Task, Result]]:
        task = self.tasks.pop(0)
        return [(task, self.answer(task))]

    def close(self) -> None:
        self.tasks.clear()

    def prompt(self, task: Task) -> str:
        return str(self.form.tokenizer.decode(task.ids))


def logprobs(p: float, mass: float = 1.0) -> list[float]:
    return [math.log(mass * p), math.log(mass * (1 - p))]


def wrote(form: StudentFormat, text: str, finish: Any = "stop", p: float | None = None) -> Result:
    ids = form.tokenizer.encode(text, add_special_tokens=False)
    return Result(ids, finish, None if p is None else logprobs(p))


def test_an_engine_that_cannot_read_while_it_writes_is_asked_again(form: StudentFormat) -> None:
    backend = Scripted(
        form, lambda t: wrote(form, "it runs. yes\n</think>") if t.max_new else Result([], "read", logprobs(0.9))
    )
    found = Reranker(backend, "think").predict([("red", "fox")])[0]
    write, read = backend.asked
    assert read.ids == write.ids + form.tokenizer.encode("it runs. yes\n</think>", add_special_tokens=False)
    assert found.score == pytest.approx(0.9) and found.reasoning == "it runs. yes" and found.finish_reason == "stop"


def test_budget_closes_at_its_bound_after_the_last_sentence_and_says_so(form: StudentFormat) -> None:
    backend = Scripted(
        form, lambda t: wrote(form, "it runs. it is qui", "length") if t.max_new else Result([], "read", logprobs(0.2))
    )
    reranker = Reranker(backend, "budget", budget=7)
    found = reranker.predict([("red", "fox")])[0]
    assert backend.asked[0].max_new == 7
    assert backend.prompt(backend.asked[1]).endswith("<think>it runs.\n</think>")
    assert (found.finish_reason, found.reasoning, found.verdict) == ("budget", "it runs.", 0)
    assert (reranker.counts["budget"], reranker.counts["forced"], reranker.counts["unfinished"]) == (1, 1, 0)


def test_a_verdict_first_student_is_asked_for_its_reasons_only_where_they_are_wanted(form: StudentFormat) -> None:
    def answer(task: Task) -> Result:
        return wrote(form, "it runs") if task.max_new else Result([], "read", logprobs(0.3))

    backend = Scripted(form, answer)
    plain = Reranker(backend, "verdict_first")
    assert plain.predict([("red", "fox")])[0].reasoning == "" and len(backend.asked) == 1
    explained = plain.explain("red", "fox")
    assert explained.reasoning == "it runs" and explained.score == pytest.approx(0.3)
    assert backend.prompt(backend.asked[-1]).endswith("</think> false"), "the reasons follow the verdict"
    assert not backend.asked[-1].to_end


def adaptive(
    form: StudentFormat, direct: dict[str, float], thought: float = 0.99, **window: Any
) -> tuple[Scripted, list]:
    def answer(task: Task) -> Result:
        if task.max_new:
            return wrote(form, "it runs\n</think>", p=thought)
        word = form.tokenizer.decode(task.ids).split("Passage: ")[1].split("\n")[0]
        return Result([], "read", logprobs(direct[word]))

    backend = Scripted(form, answer)
    pairs = [make_pair("q", word, "red", word) for word in direct]
    return backend, Reranker(backend, "adaptive", window=Window(**window)).predict(pairs)


def test_adaptive_thinks_only_where_the_direct_answer_is_unsure(form: StudentFormat) -> None:
    backend, found = adaptive(form, {"fox": 0.999, "dog": 0.6, "is": 0.4, "no": 0.001}, low=-3.0, high=3.0)
    assert [j.mode for j in found] == ["adaptive.direct", "adaptive.think", "adaptive.think", "adaptive.direct"]
    assert [j.score for j in found] == pytest.approx([0.999, 0.99, 0.99, 0.001])
    assert sum(1 for t in backend.asked if t.max_new) == 2
    assert found[1].tokens == found[0].tokens + len(form.tokenizer.encode("it runs\n</think>")) + 1, "both are paid for"


def test_adaptive_thinks_only_about_the_top_of_a_query(form: StudentFormat) -> None:
    _, found = adaptive(form, {"fox": 0.6, "dog": 0.55, "is": 0.5, "no": 0.45}, low=-3.0, high=3.0, top=2)
    assert [j.mode.split(".")[1] for j in found] == ["think", "think", "direct", "direct"]


def test_a_window_without_bounds_thinks_about_everything() -> None:
    assert think_about([-50.0, 0.0, 50.0], Window(-math.inf, math.inf)) == [0, 1, 2]
    assert think_about([], Window()) == []


def test_samples_are_drawn_apart_and_averaged(form: StudentFormat) -> None:
    chances = iter([0.9, 0.5, 0.7])
    backend = Scripted(form, lambda t: wrote(form, "it runs\n</think>", p=next(chances)))
    found = Reranker(backend, "think", samples=3, temperature=0.8).predict([("red", "fox")])[0]
    assert found.score == pytest.approx(0.7) and found.verdict == 1
    assert len({t.seed for t in backend.asked}) == 3 and {t.temperature for t in backend.asked} == {0.8}
    each = len(form.tokenizer.encode("it runs\n</think>")) + 1
    assert found.tokens == 3 * each


def test_averaged_scores_do_not_tie_where_they_saturate() -> None:
    first, second = (
        mean([RawJudgement(m, 1, [], 1, "stop", "think") for m in ms]) for ms in ((60.0, 80.0), (61.0, 80.0))
    )
    assert score_of(first.margin) == score_of(second.margin) == 1.0 and second.margin > first.margin


def test_a_graded_student_scores_by_its_expected_grade(form: StudentFormat) -> None:
    graded = replace(form, verdicts=(1, 2, 3, 4, 5), grades=(0, 1, 2, 3, 4))
    found = opinion(graded, [math.log(p) for p in (0.1, 0.1, 0.1, 0.2, 0.5)], [], 1, "stop", "direct")
    expected = (0.1 * 1 + 0.1 * 2 + 0.2 * 3 + 0.5 * 4) / 4
    assert score_of(found.margin) == pytest.approx(expected) and found.verdict == 4


def test_rank_puts_the_best_first_and_keeps_the_order_of_ties(form: StudentFormat) -> None:
    chances = {"fox": 0.2, "dog": 0.9, "is": 0.2}

    def answer(task: Task) -> Result:
        word = form.tokenizer.decode(task.ids).split("Passage: ")[1].split("\n")[0]
        return Result([], "read", logprobs(chances[word]))

    reranker = Reranker(Scripted(form, answer), "direct")
    found = reranker.rank("red", ["fox", {"text": "dog"}, "is"])
    assert [each.index for each in found] == [1, 0, 2] and found[0].document == {"text": "dog"}
    assert len(reranker.rank("red", ["fox", "dog", "is"], top_k=1)) == 1
    assert reranker.rank("red", []) == []
    assert text_of({"title": "a", "text": "b"}) == "a b"


def test_a_pair_given_up_is_dropped_and_the_others_are_judged(form: StudentFormat) -> None:
    backend = Scripted(form, lambda t: Result([], "read", logprobs(0.5)), slots=2)
    pairs = [make_pair("q", str(at), "red", "fox") for at in range(6)]
    found = Reranker(backend, "direct").judge(pairs, cancelled=lambda at: at in (1, 5))
    assert [at for at, j in enumerate(found) if j is None] in ([1, 5], [5]), "1 may have been judged in the first step"
    assert len(backend.asked) < 6


def test_a_small_request_is_not_kept_waiting_by_a_large_one(form: StudentFormat) -> None:
    backend = Scripted(form, lambda t: Result([], "read", logprobs(0.5)), slots=4)
    requests = Reranker(backend, "direct").stream()
    ended: list[str] = []
    requests.submit([make_pair("q", str(at), "red", "fox") for at in range(200)], lambda e: ended.append("large"))
    for _ in range(10):
        requests.step()
    requests.submit([make_pair("r", str(at), "red", "dog") for at in range(3)], lambda e: ended.append("small"))
    before = len(backend.asked)
    while requests.step():
        if ended:
            break
    assert ended == ["small"] and len(backend.asked) - before < 20
    while requests.step():
        pass
    assert ended == ["small", "large"] and (requests.waiting, requests.running) == (0, 0)


def test_a_cancelled_request_is_heard_of_no_more(form: StudentFormat) -> None:
    backend = Scripted(form, lambda t: Result([], "read", logprobs(0.5)), slots=4)
    requests = Reranker(backend, "direct").stream()
    told: list[Any] = []
    pairs = [make_pair("q", str(at), "red", "fox") for at in range(20)]
    ticket = requests.submit(pairs, told.append, lambda at, j: told.append(at))
    requests.step()
    seen = len(told)
    requests.cancel(ticket)
    assert not requests.step() and len(told) == seen and backend.tasks == []


def test_a_request_that_cannot_be_judged_fails_alone(form: StudentFormat) -> None:
    backend = Scripted(form, lambda t: Result([], "read", logprobs(0.5)))
    requests = Reranker(backend, "direct", long="refuse").stream()
    ended: dict[str, Any] = {}
    requests.submit([make_pair("q", "d", "red", "fox " * 2000)], lambda e: ended.update(bad=e))
    requests.submit([make_pair("r", "d", "red", "fox")], lambda e: ended.update(good=e))
    while requests.step():
        pass
    assert "the student reads" in str(ended["bad"]) and ended["good"] is None


def test_what_is_closed_by_force_stays_within_the_context(form: StudentFormat) -> None:
    """Text that is encoded again may be of more tokens than were written; the close is never what is lost."""
    written = form.tokenizer.encode("fox " * 60, add_special_tokens=False)
    small = replace(form, context=50)
    ids = small.closed(written, 20)
    assert len(ids) + 20 + 1 <= 50 and ids[-len(form.close) :] == form.close and ids[:5] == written[:5]
