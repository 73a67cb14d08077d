"""BM25 in several languages; negatives by rank, by share, by seed; what is never one; what is suspected."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.errors import ConfigError, DataError
from distill.pairs.analysis import LANGUAGES, Analysis
from distill.pairs.bm25 import Bm25
from distill.pairs.build import build
from distill.pairs.dense import nearest
from distill.pairs.settings import PairSettings
from tests.pairs.languages import CHINESE, CHINESE_QUERIES, GERMAN, GERMAN_QUERIES


def first(passages: dict[str, str], queries: dict[str, str], language: str) -> int:
    """How many queries have their passage at rank 1."""
    top = Bm25(passages, language).top({text: text for text in queries}, 1)
    return sum(top[text][0][0] == doc for text, doc in queries.items() if top[text])


def test_german_needs_its_stemmer() -> None:
    assert first(GERMAN, GERMAN_QUERIES, "de") == len(GERMAN_QUERIES)
    assert first(GERMAN, GERMAN_QUERIES, "en") < len(GERMAN_QUERIES)


def test_chinese_needs_n_grams_of_characters() -> None:
    assert first(CHINESE, CHINESE_QUERIES, "zh") == len(CHINESE_QUERIES)
    assert first(CHINESE, CHINESE_QUERIES, "en") == 0


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("zh", "我用Python写。", ["我用", "python", "写"]),
        ("ja", "東京タワーに行く", ["東京", "タワ", "ワー", "に", "行", "く"]),
        ("th", "น้ำมัน 95", ["น้", "้ำ", "ำม", "มั", "ัน", "95"]),
        ("de", "Die Häuser der Stadt", ["haus", "stadt"]),
        ("en", "The houses of a city", ["hous", "citi"]),
        ("none", "The houses of a city", ["the", "houses", "of", "city"]),
    ],
)
def test_terms(language: str, text: str, terms: list[str]) -> None:
    assert Analysis(language)(text) == terms


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_can_be_indexed(language: str) -> None:
    index = Bm25({"a": "alpha beta 東京 น้ำมัน", "b": "gamma"}, language)
    assert [doc for doc, _ in index.top({"q": "gamma"}, 2)["q"]] == ["b"]
    assert index.top({"q": "unheard"}, 2)["q"] == [] and index.top({"q": ""}, 2)["q"] == []


def test_blocks_give_what_one_retrieval_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    passages = {f"d{i}": f"word{i % 7} word{i % 5} word{i % 3}" for i in range(60)}
    queries = {f"q{i}": f"word{i % 7} word{i % 5}" for i in range(9)}
    whole = Bm25(passages).top(queries, 10)
    monkeypatch.setattr("distill.pairs.bm25.BLOCK", 4)
    assert Bm25(passages).top(queries, 10) == whole and len(whole) == 9


# --- negatives -------------------------------------------------------------------------------------------------------


def beir(folder: Path, texts: dict[str, str], qrels: list[tuple[str, str, int]], queries: dict[str, str]) -> Path:
    (folder / "qrels").mkdir(parents=True)
    rows = "".join(json.dumps({"_id": d, "text": t}) + "\n" for d, t in texts.items())
    (folder / "corpus.jsonl").write_text(rows)
    rows = "".join(json.dumps({"_id": q, "text": t}) + "\n" for q, t in queries.items())
    (folder / "queries.jsonl").write_text(rows)
    (folder / "qrels" / "train.tsv").write_text("".join(f"{q}\t{d}\t{g}\n" for q, d, g in qrels))
    return folder


def many(folder: Path) -> Path:
    """20 queries over 200 passages, every passage of a group of ten sharing the query's word."""
    texts = {f"d{i:03}": f"topic{i // 10} detail{i} and {'more ' * (i % 10)}" for i in range(200)}
    queries = {f"q{i:02}": f"topic{i}" for i in range(20)}
    return beir(folder, texts, [(f"q{i:02}", f"d{i * 10:03}", 1) for i in range(20)], queries)


def mined(folder: Path, seed: int = 0, **negatives: Any) -> list[Any]:
    settings = PairSettings.model_validate({"path": "x", "negatives": negatives})
    return [pair for pair in build(settings, seed, folder)[0] if pair.label_origin == "assumed"]


def test_ranks_are_those_asked_for_and_positives_never_come(tmp_path: Path) -> None:
    folder = many(tmp_path)
    pairs = mined(folder, per_query=3, first=3, last=8)
    assert Counter(pair.query_id for pair in pairs) == Counter({f"q{i:02}": 3 for i in range(20)})
    for pair in pairs:
        name, rank = pair.source.split(":")
        assert name == "bm25" and 3 <= int(rank) <= 8 and pair.label == 0
        assert pair.doc_id != f"d{int(pair.query_id[1:]) * 10:03}" and f"topic{int(pair.query_id[1:])} " in pair.passage
    assert mined(folder, per_query=3, first=3, last=8) == pairs
    assert {p.pair_id for p in mined(folder, 1, per_query=3, first=3, last=8)} != {p.pair_id for p in pairs}


def test_sources_are_mixed_by_their_shares(tmp_path: Path) -> None:
    mix = [{"miner": "bm25", "last": 10, "share": 0.75}, {"miner": "random", "last": 100, "share": 0.25}]
    pairs = mined(many(tmp_path), per_query=4, mix=mix)
    found = Counter(pair.source.split(":")[0] for pair in pairs)
    assert found == {"bm25": 60, "random": 20}
    easy = [p for p in pairs if p.source.startswith("random")]
    assert sum(f"topic{int(p.query_id[1:])} " in p.passage for p in easy) <= 5


def test_one_miner_makes_good_what_another_lacks(tmp_path: Path) -> None:
    mix = [{"miner": "bm25", "last": 50}, {"miner": "random", "last": 100}]
    pairs = mined(many(tmp_path), per_query=24, mix=mix)  # of a query's word there are nine unjudged passages
    found = Counter(pair.source.split(":")[0] for pair in pairs)
    assert found["bm25"] <= 20 * 9 and sum(found.values()) == 20 * 24


def test_a_run_file_is_a_miner(tmp_path: Path) -> None:
    folder = many(tmp_path / "set")
    run = "".join(f"q{i:02} Q0 d{(i * 10 + at) % 200:03} {at} {50 - at} x\n" for i in range(20) for at in range(30))
    (tmp_path / "set" / "dense.trec").write_text(run + "q99 Q0 d000 1 1.0 x\n")
    pairs = mined(folder, miner="run", path="dense.trec", per_query=2, first=12, last=13)
    assert {p.source for p in pairs} == {"run:12", "run:13"}
    assert all(p.doc_id in (f"d{(int(p.query_id[1:]) * 10 + a) % 200:03}" for a in (11, 12)) for p in pairs)
    (folder / "other.trec").write_text("q99 Q0 d000 1 1.0 x\n")
    with pytest.raises(DataError, match="other.trec: has none of the queries"):
        mined(folder, miner="run", path="other.trec")
    (folder / "broken.trec").write_text("q00 Q0 d000 1 x\n")
    with pytest.raises(DataError, match=r"broken.trec:1: 5 columns"):
        mined(folder, miner="run", path="broken.trec")
    (folder / "strange.trec").write_text("q00 Q0 nowhere 1 1.0 x\n")
    with pytest.raises(DataError, match="passage 'nowhere' has no text"):
        mined(folder, miner="run", path="strange.trec")


class Letters:
    """A dense encoder for tests: a text's vector counts its letters."""

    def encode_query(self, texts: list[str]) -> Any:
        return np.array([[text.count(letter) for letter in "abcde"] for text in texts], float)

    encode_document = encode_query


def test_dense_lists_are_exact_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    passages = {f"d{i}": "abcde"[i % 5] * 3 + "abcde"[(i * 7) % 5] * (i % 4) for i in range(50)}
    found = nearest("m", Path(), {"q": "aab"}, passages, 7, Letters())
    unit = {
        d: v / np.linalg.norm(v) for d, v in zip(passages, Letters().encode_query([*passages.values()]), strict=True)
    }
    query = Letters().encode_query(["aab"])[0]
    scores = {d: float(v @ query / np.linalg.norm(query)) for d, v in unit.items()}
    best = sorted(scores, key=lambda d: (round(scores[d], 6), d), reverse=True)[:7]
    assert [d for d, _ in found["q"]] == best
    monkeypatch.setattr("distill.pairs.dense.BLOCK", 6)
    assert [d for d, _ in nearest("m", Path(), {"q": "aab"}, passages, 7, Letters())["q"]] == best


def test_a_dense_model_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"rerank-distill\[dense\]"):
        mined(many(tmp_path), miner="dense", model="m")


def test_texts_like_a_positive_are_no_negatives(tmp_path: Path) -> None:
    long = "the fox sleeps in its den under the old oak at the edge of the wood all day long"
    texts = {
        "d0": long,
        "same": long.upper() + "!",
        "near": long + " in winter",
        "other": "the fox hunts at night and eats mice and birds and sometimes berries or worms too",
    }
    folder = beir(tmp_path, texts, [("q", "d0", 1)], {"q": "where does the fox sleep"})
    settings = PairSettings.model_validate({"path": "x", "negatives": {"per_query": 3}})
    pairs, counts = build(settings, 0, folder)
    assert {p.doc_id: p.label for p in pairs} == {"d0": 1, "other": 0}
    assert counts["mine"]["nearly a positive"] == 1 and counts["passages"]["repeated"] == 1


def test_suspected_false_negatives_are_flagged_or_dropped(tmp_path: Path) -> None:
    texts = {"d0": "fox den wood sleeps here quite", "hot": "fox den fox den fox den", "cold": "a fox elsewhere now"}
    folder = beir(tmp_path, texts, [("q", "d0", 1)], {"q": "fox den"})
    pairs = mined(folder, per_query=2, suspect_above=0.95)
    suspected = {p.doc_id: p.suspected for p in pairs}
    assert suspected["cold"] is None and suspected["hot"] and "of the best positive" in suspected["hot"]
    assert [p.doc_id for p in mined(folder, per_query=2, suspect_above=0.95, suspected="drop")] == ["cold"]
    assert {p.suspected for p in mined(folder, per_query=2)} == {None}


@pytest.mark.parametrize(
    ("negatives", "message"),
    [
        ({"first": 10, "last": 3}, "ranks 10 to 3 hold nothing"),
        ({"miner": "run"}, "miner run needs path"),
        ({"miner": "dense"}, "miner dense needs model"),
        ({"per_query": 9, "last": 4}, "hold fewer than 9 passages"),
    ],
)
def test_impossible_settings_are_refused(negatives: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairSettings.model_validate({"path": "x", "negatives": negatives})


def test_a_real_sentence_transformers_folder(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    words = trainers.WordLevelTrainer(special_tokens=["[UNK]"])
    tokenizer.train_from_iterator(["fox den wood owl night bee"], words)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)]).save(str(tmp_path / "model"))
    passages = {"a": "fox den", "b": "owl night", "c": "bee wood"}
    found = nearest("model", tmp_path, {"q": "fox den", "r": "night owl"}, passages, 2)
    assert {query: ranked[0][0] for query, ranked in found.items()} == {"q": "a", "r": "b"}
    assert found["q"][0][1] == pytest.approx(1.0, abs=1e-5)


# --- ties ------------------------------------------------------------------------------------------------------------


def test_bm25_breaks_ties_by_id_descending_also_where_it_cuts() -> None:
    passages = {f"d{number:02}": "fox" if number % 3 else "fox runs" for number in range(30)}
    index = Bm25({**passages, "other": "dog"})
    whole = index.top({"q": "fox"}, 30)["q"]
    assert [doc for doc, _ in whole] == sorted(passages, key=lambda doc: (int(doc[1:]) % 3 > 0, doc), reverse=True)
    for depth in (1, 5, 19, 20, 21, 29):
        assert index.top({"q": "fox", "r": "dog"}, depth)["q"] == whole[:depth]


def test_negatives_and_dense_lists_break_ties_alike(tmp_path: Path) -> None:
    folder = beir(tmp_path, {f"d{n}": f"text {n}" for n in range(9)}, [("q", "d0", 1)], {"q": "text"})
    (tmp_path / "run.trec").write_text("".join(f"q Q0 d{n} {n + 1} 1.0 x\n" for n in range(9)))
    pairs = mined(folder, per_query=2, miner="run", path="run.trec", last=2)
    assert sorted(pair.source for pair in pairs) == ["run:1", "run:2"]
    assert {pair.source: pair.doc_id for pair in pairs} == {"run:1": "d8", "run:2": "d7"}

    class Alike:
        def encode_query(self, texts: list[str]) -> Any:
            return np.ones((len(texts), 2))

        encode_document = encode_query

    found = nearest("m", tmp_path, {"q": "x"}, {f"d{n}": "y" for n in range(9)}, 3, Alike())
    assert [doc for doc, _ in found["q"]] == ["d8", "d7", "d6"]


# --- a query that is a passage ---------------------------------------------------------------------------------------

ARGUMENT = "Eating meat is natural for people and has always been a part of life."


def arguments(folder: Path, **more: str) -> Path:
    """Queries that are passages, under their own id with a title or under another; and an id equal by chance."""
    others = {f"other{n}": f"Eating meat is natural for people, says author {n} in life" for n in range(8)}
    texts = {
        "q1": f"Animals: {ARGUMENT}",
        "copy": "eating MEAT is natural, for people and has always been a part of life!",
    }
    texts |= {"1": "Meat prices rose in the autumn.", **others, **more}
    queries = {"q1": ARGUMENT, "1": "Eating meat is natural for people"}
    return beir(folder, texts, [("q1", "other0", 1), ("1", "other1", 1)], queries)


@pytest.mark.parametrize("negatives", [{}, {"miner": "random", "last": 20}, {"per_query": 11}])
def test_a_query_is_never_its_own_negative(tmp_path: Path, negatives: dict[str, Any]) -> None:
    settings = {"path": "x", "negatives": {"per_query": 10, "last": 20, **negatives}}
    folder = arguments(tmp_path)
    pairs, counts = build(PairSettings.model_validate(settings), 0, folder)
    mined = {(pair.query_id, pair.doc_id) for pair in pairs if pair.label == 0}
    assert not mined & {("q1", "q1"), ("q1", "copy")} and counts["mine"]["the query itself"] == 2
    if negatives.get("miner") == "random":
        assert ("1", "1") in mined, "an id that is equal by chance says nothing"
    wanted, counts = build(PairSettings.model_validate({**settings, "self_retrieval": True}), 0, folder)
    assert {("q1", "q1"), ("q1", "copy")} <= {(pair.query_id, pair.doc_id) for pair in wanted if pair.label == 0}


def test_a_judgement_of_the_query_itself_counts_only_where_it_is_relevant(tmp_path: Path) -> None:
    texts = {"q": "red fox", "r": "old dog", "d": "a fox"}
    labels = [("q", "q", 0), ("q", "d", 1), ("r", "r", 2), ("r", "d", 0)]
    folder = beir(tmp_path, texts, labels, {"q": "Red fox.", "r": "old dog"})
    pairs, counts = build(PairSettings(path="x"), 0, folder)
    assert {(pair.query_id, pair.doc_id, pair.label) for pair in pairs} == {("q", "d", 1), ("r", "r", 2), ("r", "d", 0)}
    assert counts["left_out"] == {"the query itself": 1}


# --- none, null, and what the terminal says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("negatives", "labels", "mined", "said"),
    [
        (None, [1], 4, "negatives: 4 mined by bm25 (ranks 1 to 50), 4 a query, since the source has no"),
        (None, [1, 0], 0, "negatives: none mined, since the source has pairs judged not relevant"),
        ("none", [1], 0, "negatives: none mined, since pairs.negatives is none"),
        ("none", [1, 0], 0, "negatives: none mined, since pairs.negatives is none"),
        ({"per_query": 2, "mix": [{"miner": "bm25", "last": 9}, {"miner": "random"}]}, [1, 0], 2,
         "negatives: 2 mined by bm25 (ranks 1 to 9), random (ranks 1 to 50), 2 a query, since pairs.negatives asks"),
    ],
)  # fmt: skip
def test_which_negatives_are_mined_and_why(
    tmp_path: Path, negatives: Any, labels: list[int], mined: int, said: str
) -> None:
    texts = {f"d{n}": f"fox number {n}" for n in range(9)}
    folder = beir(tmp_path, texts, [("q", f"d{n}", label) for n, label in enumerate(labels)], {"q": "fox"})
    lines: list[str] = []
    settings = PairSettings.model_validate({"path": "x", "negatives": negatives})
    pairs, _ = build(settings, 0, folder, notify=lines.append)
    assert sum(pair.label_origin == "assumed" for pair in pairs) == mined
    assert sum(line.startswith(said) for line in lines) == 1, lines
    again = PairSettings.model_validate(settings.model_dump(mode="json"))
    assert again == settings, "a configuration that is written out means the same"


def test_queries_of_one_text_do_not_mine_each_others_positives(tmp_path: Path) -> None:
    """Equal but for case and punctuation; what they judge differently is counted and said."""
    rows = [
        "1,Red Shoes,d1,red shoes for men,1",
        "2,red shoes?,d2,red shoes for women,1",
        "2,red shoes?,d1,red shoes for men,0",
    ]
    (tmp_path / "t.csv").write_text(
        "query_id,query,passage_id,passage,label\n" + "\n".join(rows) + "\n3,hat,d3,red shoes and a hat,1\n"
    )
    settings = PairSettings.model_validate(
        {"source": "table", "path": "t.csv", "negatives": {"miner": "bm25", "per_query": 3}}
    )
    said: list[str] = []
    pairs, counts = build(settings, 0, tmp_path / "t.csv", notify=said.append)
    mined = {(pair.query_id, pair.doc_id) for pair in pairs if pair.label_origin == "assumed"}
    assert mined == {("1", "d3"), ("2", "d3")}
    assert counts["labels"] == {"contradictory for queries equal but for case and punctuation": 1}
    assert "labels: 1 contradictory for queries equal but for case and punctuation" in said


def test_a_contradiction_is_counted_once(tmp_path: Path) -> None:
    """Of one query, of two that are one text, and of three judgements of one text in any order."""
    rows = ["1,Red Shoes,d1,Text one,1", "1,Red Shoes,d2,text one!,0", "2,red shoes?,d3,other,1"]
    rows += [f"3,hat,e{number},Text two{'!' * number},{grade}" for number, grade in enumerate((1, 0, 0))]
    rows += [f"4,cap,f{number},Text three{'!' * number},{grade}" for number, grade in enumerate((0, 0, 1))]
    (tmp_path / "t.csv").write_text("query_id,query,passage_id,passage,label\n" + "\n".join(rows) + "\n")
    settings = PairSettings.model_validate({"source": "table", "path": "t.csv", "negatives": "none"})
    _, counts = build(settings, 0, tmp_path / "t.csv")
    assert counts["labels"] == {"contradictory": 3} and counts["duplicates"] == 5


@pytest.mark.parametrize("grades", [(1, 0), (0, 1)])
def test_passages_of_one_text_are_one_pair_of_the_higher_grade(tmp_path: Path, grades: tuple[int, int]) -> None:
    texts = ["Same text", "Same text!"]
    rows = "".join(f"q,a,d{at},{text},{grade}\n" for at, (text, grade) in enumerate(zip(texts, grades, strict=True)))
    (tmp_path / "t.csv").write_text("query_id,query,passage_id,passage,label\n" + rows)
    settings = PairSettings.model_validate({"source": "table", "path": "t.csv", "negatives": "none"})
    said: list[str] = []
    pairs, counts = build(settings, 0, tmp_path / "t.csv", notify=said.append)
    best = grades.index(1)
    assert [(pair.doc_id, pair.label, pair.duplicate) for pair in pairs] == [(f"d{best}", 1, f"d{1 - best}")]
    assert counts["labels"] == {"contradictory": 1} and "labels: 1 contradictory; the higher grade counts" in said


def test_the_index_on_disk_is_that_of_bm25s_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    import bm25s

    from distill.pairs import postings
    from distill.pairs.analysis import Analysis
    from distill.pairs.bm25 import K1, B

    monkeypatch.setattr(postings, "PASSAGES", 7)
    monkeypatch.setattr(postings, "POSTINGS", 50)
    rng = random.Random(1)
    texts = {f"d{at}": " ".join(rng.choices([f"w{n}x" for n in range(60)], k=rng.randint(0, 30))) for at in range(100)}
    index = Bm25(texts)
    vocabulary: dict[str, int] = {"": 0}
    terms = [[vocabulary.setdefault(t, len(vocabulary)) for t in Analysis()(texts[key])] for key in sorted(texts)]
    whole = bm25s.BM25(method="lucene", k1=K1, b=B)
    whole.index((terms, vocabulary), show_progress=False)
    made, count = index._postings, whole.scores["indptr"][-1]
    assert made.starts.tolist() == whole.scores["indptr"].tolist() and list(index.ids) == sorted(texts)
    for column, name in ((made.passages, "indices"), (made.scores, "data")):
        assert column[0:count].tolist() == whole.scores[name].tolist() == column.mapped().tolist()
