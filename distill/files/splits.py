"""Splits by their names: of files, of a column's values, and what an error says of one that is not there.

Called by the sources of pairs and by the evaluation sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from distill.errors import ConfigError, DataError
from distill.files.values import nearest, plain_name

SPLITS = ("train", "test", "dev", "val", "valid", "validation", "eval")
_COLUMNS = {"split", "splits", "set", "fold", "part", "partition", "subset"}  # the last word of a column's name
_LONGER = {"training": "train", "trainset": "train", "testing": "test", "testset": "test"}
_SAME = (("dev", "val", "valid", "validation", "eval"), ("train", "training"), ("test", "testing"))


def split_files(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """{split: files} of tables whose names have a word of SPLITS; {} of others.

    A name's first word goes before the others; training is train, testing test. Raises DataError for a name with two
    splits, or where only some of the names have one, since nothing says what the others are.
    """
    parts: dict[str, list[Path]] = {}
    others: list[Path] = []
    for path in paths:
        words = _words(path.name)
        named = words[:1] if words[0] in SPLITS else sorted({*words} & {*SPLITS})
        if len(named) > 1 and len(paths) > 1:
            raise DataError(f"{path}: its name says {' and '.join(named)}; let it begin with its split")
        if named:
            parts.setdefault(named[0], []).append(path)
        else:
            others.append(path)
    if parts and others and len(paths) > 1:
        raise DataError(
            f"{others[0]}: of no split, and {next(iter(parts.values()))[0].name} lies next to it; "
            "let every file's name have its split, such as train.csv, or none's"
        )
    return parts if len(paths) > 1 else {}


def as_one(names: Sequence[str]) -> dict[str, int]:
    """{what to say of several files that are read as one table: how many}; {} of one."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return {f"files, read as one table: {', '.join(names[:5])}{more}": len(names)} if len(names) > 1 else {}


def may_hold_splits(column: str) -> bool:
    """Whether a column's name is one for splits: set, fold, data_split."""
    return plain_name(column).split("_")[-1] in _COLUMNS


def is_split(value: object) -> bool:
    """Whether a value is the name of a split: train, Test, training."""
    return isinstance(value, str) and _LONGER.get(value.strip().lower(), value.strip().lower()) in SPLITS


def similar_split(split: str | None, there: Sequence[str]) -> str:
    """For an error: " (did you mean 'validation'?)" where a split has another name for dev, or nearly its own."""
    same = next((names for names in _SAME if split and split.lower() in names), ())
    other = next((name for name in there if name.lower() in same), None)
    return f" (did you mean {other!r}?)" if other else nearest(split or "", there)


def no_such_split(name: str, split: str | None, there: list[str]) -> str:
    """The message for a split that the data do not have, or, with None, for several of which none is named."""
    if split is None:
        return f"{name}: holds {', '.join(there)}; say which one is split in pairs.qrels"
    return f"{name}: no split {split!r}; there are {', '.join(there)}{similar_split(split, there)}, or give shares"


def check_names(split: str, names: Iterable[str], remedy: str) -> None:
    """Raise ConfigError for a split of data that have none: `train` may be any file but that of another split.

    Another split is taken where the file's name says it (test.csv, qrels-test.txt).
    """
    words = [set(_words(name)) for name in names]
    others = sorted({word for parts in words for word in parts if word in SPLITS and split not in parts})
    if split == "train" and others:
        raise ConfigError(f"split: 'train' of a file called {others[0]!r}; set split: {others[0]}")
    if split != "train" and not (words and all(split.lower() in parts for parts in words)):
        raise ConfigError(f"split: {split!r}, and the data have no splits; {remedy}, or leave split out to read all")


def is_misspelt(value: str, split: str) -> bool:
    """Whether a row's split is the chosen one in another case, or, for train, test and the like, with a slip in it."""
    own, wanted = value.casefold(), split.casefold()
    if own == wanted or _LONGER.get(own) == wanted:
        return value != split
    if wanted not in SPLITS or own in SPLITS or not own.isalpha():
        return False
    swapped = sorted(own) == sorted(wanted)
    return swapped or (len(wanted) > 3 and abs(len(own) - len(wanted)) <= 1 and _one_edit(own, wanted))


def _one_edit(one: str, other: str) -> bool:
    """Whether one letter more, less or another makes the one the other."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    rest, wanted = one[same:], other[same:]
    return rest[1:] in (wanted, wanted[1:]) or rest == wanted[1:]


def _words(name: str) -> list[str]:
    """A file name's words in small letters, longer names of a split as the split."""
    return [_LONGER.get(word, word) for word in re.split(r"[\W_]+", name.lower())]
