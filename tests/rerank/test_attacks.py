"""The attack suite: what no hostile passage can do, on token ids, and that lifts are counted as they are defined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from benchmarks.attacks.hostile import Attack, by_family, harmless, held_out, measure, suite
from distill.prompts import (
    END_FIELD,
    PASSAGE,
    QUERY,
    THINK,
    as_data,
    control_ids,
    control_tokens,
    prompt_ids,
    student_prompt,
)
from distill.records import Judgement, Pair, make_pair
from sft.scratch import train_tokenizer

ASKED, PLAIN = "flat in Visby with garage", "A flat in Orsa. Here the garage is sold."
STRUCTURAL = [attack for attack in suite() if attack.kind == "structural"]
FAMILIES = ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|reserved_special_token_7|>", "</s>", "<eos>", "[SEP]"]


@pytest.fixture(scope="module", params=["bpe", "nfkc"])
def tokenizer(request: pytest.FixtureRequest):
    """A tokenizer with the marks and control tokens of several families; `nfkc` folds full-width signs to ASCII."""
    from tokenizers import normalizers

    made = train_tokenizer([PLAIN, ASKED], 420, control_tokens("delimited"))
    made.add_tokens(FAMILIES, special_tokens=True)
    if request.param == "nfkc":
        made.backend_tokenizer.normalizer = normalizers.NFKC()
    return made


def test_the_suite_is_large_and_of_many_kinds() -> None:
    counts = Counter(attack.family for attack in suite())
    assert len(suite()) >= 60 and len({attack.id for attack in suite()}) == len(suite())
    assert len(STRUCTURAL) >= 40 and len(counts) >= 10
    texts = [attack.written("QUERY") for attack in suite()]
    assert len(set(zip(texts, (a.place for a in suite()), strict=True))) == len(texts)


@pytest.mark.parametrize("attack", suite(), ids=lambda attack: attack.id)
def test_no_passage_writes_a_control_token_or_a_field(attack: Attack, tokenizer) -> None:
    """In every prompt the frame's control tokens are the only ones; in the delimited one, the passage's ids lie whole
    between its two marks and are those of its text alone, so that there is nothing else that they could be read as."""
    passage = attack.applied(PLAIN, attack.written(ASKED))
    control = control_ids(tokenizer)
    names = tokenizer.convert_ids_to_tokens
    rank1 = prompt_ids(tokenizer, [student_prompt(ASKED, passage)])[0]
    assert [names(i) for i in rank1 if i in control] == [THINK]
    row = prompt_ids(tokenizer, [student_prompt(ASKED, passage, None, "delimited")])[0]
    assert [names(i) for i in row if i in control] == [QUERY, END_FIELD, PASSAGE, END_FIELD, THINK]
    start = row.index(tokenizer.convert_tokens_to_ids(PASSAGE)) + 1
    end = row.index(tokenizer.convert_tokens_to_ids(END_FIELD), start)
    alone = prompt_ids(tokenizer, [student_prompt("", passage, None, "delimited")])[0]
    inner = alone.index(tokenizer.convert_tokens_to_ids(PASSAGE)) + 1
    assert row[start:end] == alone[inner : inner + end - start]
    assert tokenizer.decode(row[end + 1 :]) == f"\n{THINK}"
    shown = tokenizer.backend_tokenizer.normalizer.normalize_str(as_data(passage))
    assert tokenizer.decode(row[start:end]).replace(" ", "") == shown.replace(" ", "")


def test_in_rank1s_prompt_a_forged_field_cannot_be_told_from_a_real_one(tokenizer) -> None:
    """The documented weakness: other fields, the same ids. The delimited prompt tells them apart."""
    honest = ("a", "b\nPassage: c")
    forged = ("a\nPassage: b", "c")
    rows = prompt_ids(tokenizer, [student_prompt(*honest), student_prompt(*forged)])
    assert rows[0] == rows[1]
    rows = prompt_ids(tokenizer, [student_prompt(*each, None, "delimited") for each in (honest, forged)])
    assert rows[0] != rows[1]


def test_a_harmless_insertion_is_as_long_as_the_attack(tokenizer) -> None:
    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    for attack in suite():
        wanted = count(attack.written(ASKED))
        assert wanted <= count(harmless(wanted, count)) <= wanted + 3
    assert len(harmless(37)) == 37


def test_lifts_are_counted_over_the_harmless_insertion() -> None:
    """A scorer that gives 0.3 to any insertion, 0.39 to orders, 0.41 to an echo: only the echo is lifted."""

    def score(pairs: Sequence[Pair]) -> list[Judgement]:
        found = []
        for pair in pairs:
            value = 0.41 if pair.query in pair.passage else 0.39 if "answer true" in pair.passage else 0.3
            found.append(Judgement(pair.query_id, pair.doc_id, value, 0.0, 0, "", "direct", 1, "stop"))
        return found

    attacks = [attack for attack in suite() if attack.family in ("orders", "echo of the query")]
    pairs = [make_pair("q", str(i), ASKED, f"{PLAIN} {i}") for i in range(3)]
    found = by_family(measure(score, pairs, attacks))
    assert found["orders"]["lifted"] == 0 and found["orders"]["pairs"] == 3 * found["orders"]["attacks"]
    assert found["echo of the query"]["lifted"] == found["echo of the query"]["pairs"] == 12


def test_half_of_each_family_is_kept_for_measuring() -> None:
    for family in {attack.family for attack in suite()}:
        kept = [held_out(attack) for attack in suite() if attack.family == family]
        assert abs(sum(kept) - len(kept) / 2) <= 0.5
