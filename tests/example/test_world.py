"""The world: deterministic, its splits apart, its labels what the text says."""

import json
import re

import pytest
from pydantic import ValidationError

from distill.example.vocabulary import KINDS
from distill.example.world import WorldSettings, build, write_beir

SMALL = WorldSettings(queries={"train": 60, "dev": 15, "test": 30})


@pytest.fixture(scope="module")
def world():
    return build(SMALL, seed=3)


def test_equal_seeds_write_equal_folders_and_others_do_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_beir(tmp_path / name, seed, SMALL)
    files = [p.relative_to(tmp_path / "a") for p in sorted((tmp_path / "a").rglob("*")) if p.is_file()]
    assert [str(f) for f in files if f.parts[0] == "test"] == [
        "test/corpus.jsonl",
        "test/qrels/test.tsv",
        "test/queries.jsonl",
    ]
    for file in files:
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b, file
        assert a != c, file


def test_folders_are_beir(tmp_path):
    counts = write_beir(tmp_path, 0, SMALL)
    for split, count in counts.items():
        documents = [json.loads(line) for line in (tmp_path / split / "corpus.jsonl").read_text().splitlines()]
        queries = [json.loads(line) for line in (tmp_path / split / "queries.jsonl").read_text().splitlines()]
        header, *rows = (tmp_path / split / "qrels" / f"{split}.tsv").read_text().splitlines()
        assert header == "query-id\tcorpus-id\tscore"
        assert all(set(d) == {"_id", "title", "text"} and d["text"] and d["title"] for d in documents)
        assert len(queries) == count["queries"] == SMALL.queries[split]
        assert len(rows) == count["pairs"]
        ids, asked = {d["_id"] for d in documents}, {q["_id"] for q in queries}
        for row in rows:
            query, doc, label = row.split("\t")
            assert query in asked and doc in ids and label in {"0", "1"}


def test_splits_share_no_query_and_no_passage(world):
    for texts in (
        [{text for text, _ in split.queries.values()} for split in world.values()],
        [{text for _, text, _ in split.documents.values()} for split in world.values()],
        [set(split.documents) for split in world.values()],
    ):
        assert sum(map(len, texts)) == len(set.union(*texts))


def _reads_true(passage: str, topic) -> bool | None:
    """What a passage says to a topic, by the first word after its subject: a reading of our own."""
    subject = topic.holds[0].rsplit(" ", 1)[0]
    said = re.findall(rf"\b{subject} (\w+)", passage)
    assert len(said) == 1, (subject, passage)
    return said[0] in {phrase.rsplit(" ", 1)[1] for phrase in topic.holds}


def test_passages_state_every_fact_once_and_truly(world):
    for _, text, thing in world["test"].documents.values():
        assert re.search(rf"\b{thing.kind.name} in {thing.place}\b", text)
        assert re.findall(r"\d+", text) == [str(thing.value)]
        for topic in thing.kind.topics:
            assert _reads_true(text, topic) is thing.facts[topic.key]


def test_labels_follow_from_the_texts(world):
    """Re-derived from query and passage as written, by simple words: kind, place, number, with and without."""
    split = world["test"]
    checked = 0
    for query_id, (asked, _) in split.queries.items():
        kind = next(k for k in KINDS if k.name in asked)
        for doc_id, (_, passage, _) in split.documents.items():
            place = re.search(r" (?:in|at|around) ([A-Z]\w+) ", asked)[1]
            fits = f"{kind.name} in {place}." in passage
            bound = re.search(r"(under|below|over|above) (\d)", asked)
            if fits and bound:
                value, threshold = int(re.search(r"\d", passage)[0]), int(bound[2])
                fits = value < threshold if bound[1] in ("under", "below") else value > threshold
            for topic in kind.topics:
                noun = topic.key.split()[-1]
                demand = re.search(rf"(\w+) ((?:new|modern|old|dated) )?{noun}", asked)
                if fits and demand:
                    wanted = demand[1] in ("with", "having") and demand[2] not in ("old ", "dated ")
                    fits = _reads_true(passage, topic) is wanted
            assert split.qrels[query_id].get(doc_id, 0) == int(fits), (asked, passage)
            checked += fits
    assert checked > 30


def test_candidates_are_like_a_real_list(world):
    labels = [list(labels.values()) for labels in world["train"].qrels.values()]
    share = sum(map(sum, labels)) / sum(map(len, labels))
    assert 0.2 < share < 0.5
    assert all(any(row) and not all(row) for row in labels)
    conditions = [len(query.conditions) for _, query in world["train"].queries.values()]
    assert set(conditions) == {1, 2, 3, 4}


@pytest.mark.parametrize("bad", [{"kinds": 1}, {"places": 99}, {"usual": 2.0}, {"near_miss": 3}])
def test_impossible_worlds_are_refused(bad):
    with pytest.raises(ValidationError):
        WorldSettings(**bad)
