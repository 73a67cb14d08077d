"""Counts with their nouns, as all messages write them."""

from __future__ import annotations

import pytest

from distill.tables import counted, counted_phrase


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("pair", "pairs"),
        ("query", "queries"),
        ("key", "keys"),
        ("match", "matches"),
        ("judged passage", "judged passages"),
    ],
)
def test_a_noun_is_in_the_singular_for_one_alone(noun: str, plural: str) -> None:
    assert (counted(0, noun), counted(1, noun), counted(1234, noun)) == (f"0 {plural}", f"1 {noun}", f"1,234 {plural}")


@pytest.mark.parametrize(
    ("phrase", "of_one"),
    [
        ("pairs with fewer clicks: no label", "1 pair with fewer clicks: no label"),
        ("judged queries without a list", "1 judged query without a list"),
        ("judged pairs: empty", "1 judged pair: empty"),
        ("excluded passages", "1 excluded passage"),
        ("column of splits", "1 column of splits"),
        ("contradictory", "1 contradictory"),
    ],
)
def test_so_is_a_phrases_first_noun(phrase: str, of_one: str) -> None:
    assert counted_phrase(1, phrase) == of_one and counted_phrase(2000, phrase) == f"2,000 {phrase}"
