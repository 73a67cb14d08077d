"""Which file of a folder holds passages, queries or judgements, by its name. Called by the sources trec and table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.errors import DataError
from distill.files.rows import ENDINGS, is_junk
from distill.files.splits import split_files
from distill.files.text import ending

_NAMES = {
    "qrels": {"qrels", "qrel", "judgements", "judgments"},
    "queries": {"queries", "query", "topics", "topic"},
    "corpus": {"corpus", "collection", "documents", "document", "docs", "passages"},
}
_WHAT = {
    "corpus": "passages (a file called corpus, collection, docs or documents)",
    "queries": "queries (a file called queries or topics)",
    "qrels": "judgements (a file called qrels: query, iteration, passage, grade)",
}
_TREC_TOO = (".tsv", ".jsonl", ".ndjson", ".json")  # endings of tables that source trec reads as well
_PROSE = (".md", ".rst", ".py", ".yaml")  # of files that describe the data: topics.md
_MARKUP = re.compile(rb"<(top|topic|num)\b", re.IGNORECASE)


def roles_of(folder: Path) -> dict[str, list[Path]]:
    """{corpus, queries or qrels: the files called so}, sorted; {} of what is no folder."""
    roles: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        words = set(re.split(r"[\W_\d]+", path.name.lower()))
        role = next((role for role, names in _NAMES.items() if names & words), None)
        if role and path.is_file() and not is_junk(Path(path.name)) and ending(path) not in _PROSE:
            roles.setdefault(role, []).append(path)
    return roles


def are_tables(roles: Mapping[str, Sequence[Path]]) -> bool:
    """Whether all files are tables with named columns, at least one of a kind that source trec does not read."""
    endings = {ending(path) for paths in roles.values() for path in paths}
    qrels = {ending(path) for path in roles.get("qrels", ())}
    return endings <= set(ENDINGS) and bool(endings - set(_TREC_TOO) or qrels - {".tsv"})


def check_whole(folder: Path, roles: Mapping[str, Sequence[Path]]) -> None:
    """Raise DataError for a folder that seems to have corpus, queries and judgements apart, and lacks some of them.

    Two of the three, topics in TREC's markup, or judgements that are no table of pairs are enough to seem so.
    """
    missing = [role for role in _WHAT if role not in roles]
    only = next(iter(roles), "")
    markup = only == "queries" and any(_MARKUP.search(_beginning(path)) for path in roles["queries"])
    judgements = only == "qrels" and any(ending(path) not in ENDINGS for path in roles["qrels"])
    if missing and (len(roles) > 1 or markup or judgements):
        there = ", ".join(path.name for paths in roles.values() for path in paths[:2])
        raise DataError(f"{folder}: holds {there}, and no {', and no '.join(_WHAT[role] for role in missing)}")


def only_one(folder: Path, roles: Mapping[str, Sequence[Path]], *names: str) -> None:
    """Raise DataError where one of these roles has several files: one is read."""
    for role in names:
        if len(roles[role]) > 1:
            files = " and ".join(path.name for path in roles[role][:3])
            raise DataError(f"{folder}: holds {files}, of which one is read as {role}; join them, or take one out")


def qrels_files(paths: Sequence[Path]) -> dict[str, Path]:
    """{split: file} of files of judgements by their names; {"": the file} of a single one."""
    if len(paths) == 1:
        return {"": paths[0]}
    splits = split_files(paths)
    if splits and all(len(files) == 1 for files in splits.values()):
        return {split: files[0] for split, files in splits.items()}
    return {_own_name(path): path for path in paths}


def _own_name(path: Path) -> str:
    """`dl19` of qrels.dl19.txt; the whole name where nothing is left."""
    stem = path.name.removesuffix(".gz").removesuffix(ending(path))
    words = [word for word in re.split(r"[._]+", stem) if word.lower() not in _NAMES["qrels"]]
    return "_".join(words) or stem


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(4096)
