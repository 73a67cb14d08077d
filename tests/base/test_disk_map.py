"""A dictionary on disk behaves as a dictionary, whatever its keys, and while it is changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill import disk_map
from distill.disk_map import DiskMap, sorted_items, sorted_keys

KEYS = st.sampled_from(["", "a", "b", "b\0", "é", "\ud800", "\uffff", "\U0001f600", "10", "9"])
STEPS = st.lists(st.tuples(st.sampled_from(["set", "add", "remove"]), KEYS, st.integers(0, 9)), max_size=40)


@given(STEPS)
def test_it_holds_what_a_dictionary_holds_in_the_same_order(steps: list[tuple[str, str, int]]) -> None:
    plain: dict[str, int] = {}
    on_disk: DiskMap[int] = DiskMap()
    for step, key, value in steps:
        if step == "set":
            plain[key] = on_disk[key] = value
        elif step == "add":
            assert on_disk.add(key, value) == (key not in plain)
            plain.setdefault(key, value)
        else:
            assert on_disk.pop(key, None) == plain.pop(key, None)
    assert list(on_disk.items()) == list(plain.items()) and list(on_disk.values()) == list(plain.values())
    assert list(on_disk) == list(plain) and len(on_disk) == len(plain) and on_disk == plain
    assert list(sorted_items(on_disk)) == sorted(plain.items()) == list(sorted_items(plain))
    assert list(sorted_keys(on_disk)) == sorted(plain)
    for key in ("", "b", "nothing"):
        assert (key in on_disk) == (key in plain) and on_disk.get(key) == plain.get(key)


def test_values_keep_their_types_and_are_copies() -> None:
    value = {"d": [1, 1.0, None, True, "\ud800"], "e": ()}
    on_disk = DiskMap([("k", value)])
    assert repr(on_disk["k"]) == repr(value) and on_disk["k"] is not value
    with pytest.raises(KeyError):
        on_disk["other"]
    with pytest.raises(KeyError):
        del on_disk["other"]


def test_it_can_be_changed_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_map, "PAGE", 3)
    on_disk = DiskMap((str(number), number) for number in range(10))
    for key, number in on_disk.items():
        if number % 2:
            del on_disk[key]
    for key, number in sorted_items(on_disk):
        on_disk[key] = -number
    assert list(on_disk.items()) == [("0", 0), ("2", -2), ("4", -4), ("6", -6), ("8", -8)]
