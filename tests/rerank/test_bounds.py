"""How long a student may reason: twice its longest training trace, and no longer than until it repeats itself."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from distill.errors import InputError
from distill.records import Pair
from distill.rerank.backends.transformers import TransformersBackend
from distill.rerank.jobs import Student
from distill.rerank.repetition import repeats
from distill.rerank.reranker import Reranker
from distill.rerank.settings import ScoringSettings
from distill.rerank.student_format import form_of


@pytest.mark.parametrize("cycle", [1, 2, 7, 64])
@pytest.mark.parametrize("before", [[], [9, 9, 8, 1, 2]])
def test_a_cycle_eight_times_over_is_a_repetition_and_seven_times_is_none(cycle: int, before: list[int]) -> None:
    text = before + list(range(100, 100 + cycle)) * 8
    assert [at for at in range(1, len(text) + 1) if repeats(text[:at])] == [len(text)]


def test_a_longer_cycle_and_a_varied_text_are_none() -> None:
    assert not repeats(list(range(65)) * 10)
    draw = random.Random(1)
    text = [draw.randrange(3) for _ in range(2000)]
    slow = [at for at in range(1, len(text)) if any(text[at - 8 * c : at - c] == text[at - 7 * c : at]
                                                    for c in range(1, 65) if 8 * c <= at)]  # fmt: skip
    assert [at for at in range(1, len(text)) if repeats(text[:at])] == slow


def repeating(tiny: Path) -> tuple[TransformersBackend, object]:
    """A student that writes one token for ever."""
    backend = TransformersBackend(str(tiny))
    token = backend.form.tokenizer.encode("fox", add_special_tokens=False)[0]

    def hook(module: object, arguments: object, output: object) -> object:
        output.logits[..., token] += 1000.0
        return output

    return backend, backend.model.register_forward_hook(hook)


def test_a_text_that_repeats_itself_is_ended_forced_and_counted(tiny: Path, few_pairs: list[Pair]) -> None:
    backend, handle = repeating(tiny)
    reranker = Reranker(backend, "think", max_new_tokens=40)
    ended = reranker.predict(few_pairs[:5])
    run = Reranker(backend, "think", max_new_tokens=40, loops="run").predict(few_pairs[:5])
    handle.remove()
    close = len(backend.form.close)
    assert [j.finish_reason for j in ended] == ["looped"] * 5 and {j.tokens for j in ended} == {8 + close + 1}
    assert all(j.verdict is not None for j in ended), "a forced verdict is always read"
    assert (reranker.counts["looped"], reranker.counts["forced"]) == (5, 5)
    assert [j.finish_reason for j in run] == ["length"] * 5 and {j.tokens for j in run} == {40 + close + 1}


def test_an_explanation_that_repeats_itself_is_ended(tiny: Path, few_pairs: list[Pair]) -> None:
    backend, handle = repeating(tiny)
    found = Reranker(backend, "verdict_first", explanations=True, max_new_tokens=40).predict(few_pairs[:2])
    handle.remove()
    assert [(j.finish_reason, j.tokens) for j in found] == [("looped", 9)] * 2


def noted(tiny: Path, folder: Path, note: object) -> str:
    shutil.copytree(tiny, folder)
    (folder / "distill.json").write_text(json.dumps(note))
    return str(folder)


def test_the_bound_is_twice_the_longest_training_trace(tiny: Path, tmp_path: Path, few_pairs: list[Pair]) -> None:
    known = noted(tiny, tmp_path / "known", {"prompt": "rank1", "target": "think", "longest_trace": 15})
    reranker = Reranker(known, "think", "transformers", device="cpu")
    assert reranker.plan.limit == 30
    assert "length" in {j.finish_reason for j in reranker.predict(few_pairs)}
    assert Reranker(reranker.backend, "think", max_new_tokens=50).plan.limit == 50
    assert Reranker(reranker.backend, "budget", budget=7).plan.limit == 7


@pytest.mark.parametrize("note", [None, {"prompt": "rank1"}, {"prompt": "rank1", "longest_trace": "many"}])
def test_an_older_student_keeps_rank1s_bound(tiny: Path, tmp_path: Path, note: object) -> None:
    folder = str(tiny) if note is None else noted(tiny, tmp_path / "old", note)
    assert form_of(folder).bound == 8192


def test_a_note_that_is_no_object_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="distill.json: not a JSON object"):
        form_of(noted(tiny, tmp_path / "torn", ["rank1"]))


def test_the_bound_and_the_switch_belong_to_a_judgements_identity(tiny: Path, tmp_path: Path) -> None:
    folder = noted(tiny, tmp_path / "known", {"prompt": "rank1", "longest_trace": 15})
    plain = Student(folder).resolved()
    assert plain.max_new_tokens == 30
    assert plain.identity("w") == Student(folder, max_new_tokens=30).resolved().identity("w")
    others = [Student(folder, max_new_tokens=31), Student(folder, scoring=ScoringSettings(loops="run"))]
    assert len({plain.identity("w"), *(other.resolved().identity("w") for other in others)}) == 3


def test_a_forced_close_reads_no_prompt_again(
    tiny: Path, few_pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, handle = repeating(tiny)
    prefill, prefilled = backend._prefill, []
    monkeypatch.setattr(backend, "_prefill", lambda *way: prefilled.append(len(backend._waiting)) or prefill(*way))
    found = Reranker(backend, "think", max_new_tokens=40).predict(few_pairs[:5])
    handle.remove()
    assert prefilled == [5], "the prompts once, nothing for the verdicts"
    assert len({judgement.margin for judgement in found}) == 5
