"""Which file of a folder holds passages, queries or judgements, by its name. Called by the sources trec and table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.files.rows import ENDINGS, is_junk
from distill.files.text import ending

_NAMES = {
    "qrels": {"qrels", "qrel", "judgements", "judgments"},
    "queries": {"queries", "query", "topics", "topic"},
    "corpus": {"corpus", "collection", "documents", "document", "docs", "passages"},
}
_TREC_TOO = (".tsv", ".jsonl", ".ndjson", ".json")  # endings of tables that source trec reads as well


def roles_of(folder: Path) -> dict[str, list[Path]]:
    """{corpus, queries or qrels: the files called so}, sorted; {} of what is no folder."""
    roles: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        words = set(re.split(r"[\W_\d]+", path.name.lower()))
        role = next((role for role, names in _NAMES.items() if names & words), None)
        if role and path.is_file() and not is_junk(Path(path.name)):
            roles.setdefault(role, []).append(path)
    return roles


def are_tables(roles: Mapping[str, Sequence[Path]]) -> bool:
    """Whether all files are tables with named columns, at least one of a kind that source trec does not read."""
    endings = {ending(path) for paths in roles.values() for path in paths}
    qrels = {ending(path) for path in roles.get("qrels", ())}
    return endings <= set(ENDINGS) and bool(endings - set(_TREC_TOO) or qrels - {".tsv"})
