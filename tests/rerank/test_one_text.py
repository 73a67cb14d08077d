"""One passage, one text: what is trained is what evaluation, `rerank`, server, Python and every adapter ask about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill.cli import main
from distill.evaluation.suites import hub
from distill.pairs.build import build
from distill.pairs.settings import PairSettings
from distill.records import Judgement, Pair, make_pair
from distill.rerank.adapters import rank_llm
from distill.rerank.adapters.mteb import MtebReranker
from distill.rerank.adapters.pyterrier import rescored
from distill.rerank.adapters.sentence_transformers import CrossEncoder
from distill.rerank.reranker import Requests, Reranker
from distill.texts import clean_text, passage_text

INSTALL = "needs {}, which the extra dev brings"
HALF = "\ud83d"
AWKWARD: list[tuple[Any, str, str]] = [  # title, text, the passage
    ("", "the red fox runs", "the red fox runs"),
    (None, "the old dog sleeps", "the old dog sleeps"),
    (float("nan"), "a cat sits", "a cat sits"),
    ("   ", " a bird sings  \n", "a bird sings"),
    ("Fish ", " swim in rivers\t", "Fish swim in rivers"),
    ("Horses", f"gallop {HALF} far", "Horses gallop ? far"),
    (f"Cows{HALF}", "graze", "Cows? graze"),
    ("Sheep", "line one\r\nline two\r\n", "Sheep line one\r\nline two"),
    ("\u00a0Goats\u00a0", "climb\u2003", "Goats climb"),
    ("Emoji \U0001f98a", "one sign \U0001f98a", "Emoji \U0001f98a one sign \U0001f98a"),
]
QUERY, INSTRUCTION = (f" which animal {HALF}? \r\n", "  only mammals\n")
ASKED = ("which animal ??", "only mammals")
Texts = list[tuple[str, str | None, str]]


class Recorder:
    """A reranker that keeps what it is asked about."""

    name = "recorder"

    def __init__(self) -> None:
        self.asked: list[Pair] = []

    def predict(self, pairs: Sequence[Pair]) -> list[Judgement]:
        self.asked += pairs
        return [Judgement(p.query_id, p.doc_id, 0.5, 0.0, 1, "", "direct", 1, "stop") for p in pairs]

    @property
    def texts(self) -> Texts:
        return texts(self.asked)


def texts(pairs: Sequence[Pair]) -> Texts:
    return [(pair.query, pair.instruction, pair.passage) for pair in sorted(pairs, key=lambda p: int(p.doc_id))]


def rows() -> list[tuple[str, Any, str]]:
    return [(str(number), title, text) for number, (title, text, _) in enumerate(AWKWARD)]


EXPECTED: Texts = [(*ASKED, passage) for _, _, passage in AWKWARD]


def lines(path: Path, objects: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    return path


def beir(folder: Path) -> Path:
    lines(folder / "corpus.jsonl", [{"_id": key, "title": title, "text": text} for key, title, text in rows()])
    lines(folder / "queries.jsonl", [{"_id": "q", "text": QUERY, "instruction": INSTRUCTION}])
    (folder / "qrels").mkdir()
    judged = "".join(f"q\t{key}\t{int(key) % 2}\n" for key, _, _ in rows())
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def made(folder: Path, **settings: Any) -> Texts:
    pairs, _ = build(PairSettings(**settings), 0, folder / str(settings.get("path", "")), folder)
    return texts(pairs)


def of_beir(folder: Path) -> Texts:
    return made(beir(folder).parent, path=folder.name)


def of_table(folder: Path) -> Texts:
    table = [
        {"query_id": "q", "query": QUERY, "instruction": INSTRUCTION, "doc_id": key, "title": title, "passage": text}
        for key, title, text in rows()
    ]
    lines(folder / "pairs.jsonl", [{**row, "label": number % 2} for number, row in enumerate(table)])
    return made(folder, source="table", path="pairs.jsonl")


def of_tevatron(folder: Path) -> Texts:
    passages = [{"docid": key, "title": title, "text": text} for key, title, text in rows()]
    row = {"query_id": "q", "query": QUERY, "instruction": INSTRUCTION, "positive_passages": passages}
    lines(folder / "train.jsonl", [{**row, "negative_passages": []}])
    return made(folder, source="tevatron", path="train.jsonl")


def of_trec(folder: Path) -> Texts:
    beir(folder)
    names = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels/train.tsv"}
    return made(folder, source="trec", files=names)


def of_mteb_suite(folder: Path) -> Texts:
    parts = {
        "corpus": [{"id": key, "title": title, "text": text} for key, title, text in rows()],
        "queries": [{"id": "q", "text": QUERY, "instruction": INSTRUCTION}],
        "relevant_docs": {"q": {key: 1 for key, _, _ in rows()}},
    }
    task = SimpleNamespace(
        metadata=SimpleNamespace(main_score="ndcg_at_10", name="local"), dataset={"default": {"test": parts}}
    )
    suite = hub.of_task(task, "test")
    query, instruction = suite.queries["q"], suite.instructions["q"]
    return texts([make_pair("q", key, query, suite.passages[key], instruction) for key, _, _ in rows()])


def of_rank_llm(folder: Path) -> Texts:
    recorder = Recorder()
    candidates = [{"docid": key, "score": 1.0, "doc": {"title": title, "text": text}} for key, title, text in rows()]
    query = {"text": QUERY, "qid": "q", "instruction": INSTRUCTION}
    path = lines(folder / "requests.jsonl", [{"query": query, "candidates": candidates}])
    for request in rank_llm.read_requests(path):
        rank_llm.rerank(recorder, request)
    return recorder.texts


def of_mteb(folder: Path) -> Texts:
    """A batch as mteb's own loader makes it: body and title beside the text that mteb has joined."""
    recorder = Recorder()
    titles = ["" if title is None else title for _, title, _ in rows()]
    body = [text for _, _, text in rows()]
    joined = [f"{title} {text}".strip() for title, text in zip(titles, body, strict=True)]
    queries = {"query": [QUERY] * len(body), "instruction": [INSTRUCTION] * len(body), "text": [QUERY] * len(body)}
    MtebReranker("a/b", reranker=recorder).predict([queries], [{"text": joined, "title": titles, "body": body}])
    return recorder.texts


def of_pyterrier(folder: Path) -> Texts:
    pandas = pytest.importorskip("pandas")
    recorder = Recorder()
    frame = [
        {"qid": "q", "query": QUERY, "instruction": INSTRUCTION, "docno": key, "title": title, "text": text}
        for key, title, text in rows()
    ]
    rescored(recorder, pandas.DataFrame(frame, dtype=object))
    return recorder.texts


ROUTES: dict[str, Callable[[Path], Texts]] = {
    "BEIR": of_beir, "table": of_table, "Tevatron": of_tevatron, "TREC": of_trec, "mteb's set": of_mteb_suite,
    "rank_llm": of_rank_llm, "mteb": of_mteb, "PyTerrier": of_pyterrier,
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_a_passage_with_a_title_has_one_text(route: str, tmp_path: Path) -> None:
    if route == "mteb":
        pytest.importorskip("mteb", reason=INSTALL.format("mteb"))
    assert ROUTES[route](tmp_path / "made") == EXPECTED


def test_rerank_and_python_ask_with_the_same_text(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Pair] = []
    submit = Requests.submit

    def recording(self: Requests, pairs: Sequence[Pair], *more: Any, **named: Any) -> Any:
        asked.extend(sorted(pairs, key=lambda pair: int(pair.doc_id)))  # the scorer hands out the longest first
        return submit(self, pairs, *more, **named)

    monkeypatch.setattr(Requests, "submit", recording)
    data = beir(tmp_path / "data")
    (tmp_path / "in.trec").write_text("".join(f"q Q0 {key} {int(key) + 1} {-int(key)} r\n" for key, _, _ in rows()))
    files = ["--queries", data / "queries.jsonl", "--corpus", data / "corpus.jsonl", "--run", tmp_path / "in.trec"]
    command = ["rerank", "--model", tiny, "--mode", "direct", *files, "--out", tmp_path / "out.trec"]
    assert main([str(each) for each in command]) == 0
    assert texts(asked) == EXPECTED

    asked.clear()
    reranker = Reranker(tiny, "direct")
    documents = [{"title": title, "text": text} for _, title, text in rows()]
    reranker.rank(QUERY, documents, INSTRUCTION)
    assert texts(asked) == EXPECTED
    asked.clear()
    whole = [passage_text(title, text) + " \n" for _, title, text in rows()]
    reranker.predict([(QUERY, text, INSTRUCTION) for text in whole])
    assert texts(asked) == EXPECTED


def test_the_server_asks_with_the_same_text() -> None:
    pytest.importorskip("fastapi", reason='the server needs the extra "serve"')
    from tests.rerank.serving import Scripted, post, serving

    class Recording(Scripted):
        def submit(self, pairs: Sequence[Pair], done: Any, one: Any = None, plan: Any = None) -> int:
            asked.extend(pairs)
            return super().submit(pairs, done, one, plan)

    asked: list[Pair] = []
    documents = [{"title": str(title) if isinstance(title, int) else title, "text": text} for _, title, text in rows()]
    with serving(Recording()) as server:
        body = {"query": QUERY, "instruction": INSTRUCTION, "documents": documents}
        status, answer, _ = post(server.url + "/v1/rerank", body)
        assert status == 200, answer
        assert texts(asked) == EXPECTED
        asked.clear()
        status, _, _ = post(server.url + "/v1/explain", {"query": QUERY, "document": f" fox {HALF} "})
    assert status == 200 and (asked[0].query, asked[0].instruction, asked[0].passage) == (ASKED[0], None, "fox ?")


@pytest.mark.parametrize("tool", ["sentence-transformers", "LangChain", "LlamaIndex"])
def test_adapters_that_know_no_title_ask_with_the_same_text(tool: str) -> None:
    bodies = [text for _, text, _ in AWKWARD]
    recorder, query = Recorder(), QUERY
    if tool == "sentence-transformers":
        CrossEncoder(recorder, INSTRUCTION).rank(query, bodies)
    elif tool == "LangChain":
        documents = pytest.importorskip("langchain_core.documents", reason=INSTALL.format("langchain-core"))
        from distill.rerank.adapters.langchain import RerankCompressor

        given = [documents.Document.model_construct(page_content=text, metadata={}) for text in bodies]
        RerankCompressor(reranker=recorder, top_n=0, instruction=INSTRUCTION).compress_documents(given, query)
    else:
        schema = pytest.importorskip("llama_index.core.schema", reason=INSTALL.format("llama-index-core"))
        from distill.rerank.adapters.llama_index import RerankPostprocessor

        bodies = [text for text in bodies if HALF not in text]  # LlamaIndex hashes its nodes and refuses half a pair
        nodes = [schema.NodeWithScore(node=schema.TextNode(text=text)) for text in bodies]
        RerankPostprocessor(reranker=recorder, top_n=0, instruction=INSTRUCTION).postprocess_nodes(
            nodes, query_str=clean_text(query)
        )
    assert recorder.texts == [(*ASKED, passage_text(None, text)) for text in bodies]


def test_what_is_no_text_is_refused() -> None:
    for value in ([], {}, object(), 2024):
        with pytest.raises(TypeError, match="a text is expected"):
            clean_text(value)
    assert make_pair("q", "d", "q", "p", " \n").instruction is None
    assert make_pair("q", "d", " q", "p\n", "i").pair_id == make_pair("q", "d", "q", "p", "i ").pair_id
