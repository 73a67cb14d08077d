"""The adapters against the real packages, with a real tiny student and with one whose scores are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from distill.errors import DataError, InputError
from distill.records import Judgement, Pair
from distill.rerank.adapters import pairs_of, rank_llm
from distill.rerank.adapters.pyterrier import PyTerrierReranker, rescored
from distill.rerank.adapters.sentence_transformers import CrossEncoder
from distill.rerank.reranker import Reranker

TEXTS = ["the red fox runs", "a lazy dog sleeps", "the quick fox", "old dog"]
INSTALL = "needs {}, which the extra dev brings"


class Counting:
    """The share of the query's words, and of its instruction's, that a text has; margins in steps of one a word."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[Pair] = []

    def predict(self, pairs: Sequence[Pair]) -> list[Judgement]:
        self.asked += pairs
        found = []
        for pair in pairs:
            words = f"{pair.query} {pair.instruction or ''}".split()
            there = sum(word in pair.passage.split() for word in words)
            score = there / len(words)
            found.append(Judgement(pair.query_id, pair.doc_id, score, float(there), 1, f"{there}", "think", 3, "stop"))
        return found


@pytest.fixture(scope="module")
def real(tiny: Path) -> Reranker:
    return Reranker(str(tiny), "direct")


def test_pairs_of_one_query_belong_together() -> None:
    ids = [pair.query_id for pair in pairs_of([("a", "x", None), ("b", "x", None), ("a", "y", None), ("a", "x", "i")])]
    assert ids == ["0", "1", "0", "2"]


# --- sentence-transformers -------------------------------------------------------------------------------------------


def test_a_cross_encoder_by_its_methods(real: Reranker) -> None:
    import numpy as np
    import torch

    model = CrossEncoder(real)
    pairs = [("red fox", text) for text in TEXTS]
    expected = [judgement.score for judgement in real.predict(pairs)]
    found = model.predict(pairs, batch_size=2, show_progress_bar=False)
    assert isinstance(found, np.ndarray) and found.tolist() == pytest.approx(expected, abs=1e-5)
    assert isinstance(model.predict(pairs, convert_to_tensor=True), torch.Tensor)
    assert model.predict(pairs[0]) == pytest.approx(expected[0], abs=1e-5)
    ranked = model.rank("red fox", TEXTS, top_k=2, return_documents=True)
    best = sorted(range(4), key=lambda at: -expected[at])[:2]
    assert [row["corpus_id"] for row in ranked] == best and ranked[0]["text"] == TEXTS[best[0]]
    assert CrossEncoder(Counting(), "dog", "margin").predict([("fox", "dog and fox")]).tolist() == [2.0]
    with pytest.raises(InputError, match="pairs of"):
        model.predict([("a", "b", "c")])


def test_sentence_transformers_own_evaluators_run() -> None:
    evaluation = pytest.importorskip(
        "sentence_transformers.cross_encoder.evaluation", reason=INSTALL.format("sentence-transformers")
    )
    samples = [
        {"query": "red fox", "positive": ["the red fox runs"], "negative": ["a lazy dog", "old dog"]},
        {"query": "old dog", "positive": ["a red cat"], "negative": ["old dog"]},
    ]
    model = CrossEncoder(Counting())
    found = evaluation.CrossEncoderRerankingEvaluator(samples, at_k=2, name="t", show_progress_bar=False)(model)
    assert found["t_mrr@2"] == pytest.approx(0.75) and model.model_card_data.metrics
    classify = evaluation.CrossEncoderClassificationEvaluator(
        [["fox", "a fox"], ["fox", "a dog"]], [1, 0], name="c", show_progress_bar=False
    )
    assert classify(model)["c_accuracy"] == 1.0
    correlate = evaluation.CrossEncoderCorrelationEvaluator(
        [["red fox", "red fox"], ["red fox", "fox"], ["red fox", "dog"]], [1.0, 0.5, 0.0], name="s"
    )
    assert correlate(model)["s_spearman"] == pytest.approx(1.0)


# --- mteb ------------------------------------------------------------------------------------------------------------


def test_mteb_evaluates_a_local_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reranking task of two queries, one with an instruction, which comes by its own channel and decides."""
    mteb = pytest.importorskip("mteb", reason=INSTALL.format("mteb"))
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path))
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.models_protocols import CrossEncoderProtocol

    from distill.rerank.adapters.mteb import MtebReranker

    metadata = TaskMetadata(
        name="LocalReranking",
        dataset={"path": "local/none", "revision": "1"},
        description="two queries",
        type="InstructionReranking",
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_5",
        reference="https://example.org",
    )

    class LocalReranking(AbsTaskRetrieval):
        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            corpus = [{"id": f"d{at}", "title": "", "text": text} for at, text in enumerate(TEXTS)]
            queries = [
                {"id": "q0", "text": "fox", "instruction": "quick"},
                {"id": "q1", "text": "lazy dog", "instruction": ""},
            ]
            parts = {
                "corpus": Dataset.from_list(corpus),
                "queries": Dataset.from_list(queries),
                "relevant_docs": {"q0": {"d2": 1}, "q1": {"d1": 1}},
                "top_ranked": {"q0": ["d0", "d1", "d2"], "q1": ["d0", "d1", "d3"]},
            }
            self.dataset = {"default": {"test": parts}}
            self.data_loaded = True

    LocalReranking.metadata = metadata
    counting = Counting()
    model = MtebReranker("runs/mine/students/direct", reranker=counting)
    assert isinstance(model, CrossEncoderProtocol)
    assert model.mteb_model_meta.name == "local/direct" and model.mteb_model_meta.is_cross_encoder
    result = mteb.evaluate(model, LocalReranking(), cache=None)
    (scores,) = result.task_results[0].scores["test"]
    assert scores["ndcg_at_5"] == pytest.approx(1.0)
    assert {(pair.query, pair.instruction) for pair in counting.asked} == {("fox", "quick"), ("lazy dog", None)}


# --- LangChain, LlamaIndex -------------------------------------------------------------------------------------------


def test_langchain_keeps_the_best_documents() -> None:
    documents = pytest.importorskip("langchain_core.documents", reason=INSTALL.format("langchain-core"))
    from langchain_core.documents.compressor import BaseDocumentCompressor

    from distill.rerank.adapters.langchain import RerankCompressor

    given = [documents.Document(page_content=text, metadata={"at": at}, id=str(at)) for at, text in enumerate(TEXTS)]
    compressor = RerankCompressor(reranker=Counting(), top_n=2, instruction="quick", with_reasoning=True)
    assert isinstance(compressor, BaseDocumentCompressor)
    found = compressor.compress_documents(given, "fox")
    assert [(each.id, each.metadata["at"]) for each in found] == [("2", 2), ("0", 0)]
    assert found[0].metadata["relevance_score"] == 1.0 and found[0].metadata["reasoning"] == "2"
    assert "relevance_score" not in given[2].metadata, "what was given is left as it was"
    assert [d.id for d in RerankCompressor(reranker=Counting(), threshold=0.5).compress_documents(given, "dog")] == [
        "1",
        "3",
    ]


def test_llama_index_keeps_the_best_nodes(real: Reranker) -> None:
    schema = pytest.importorskip("llama_index.core.schema", reason=INSTALL.format("llama-index-core"))
    from distill.rerank.adapters.llama_index import RerankPostprocessor

    nodes = [
        schema.NodeWithScore(node=schema.TextNode(text=text, id_=str(at)), score=0.1) for at, text in enumerate(TEXTS)
    ]
    found = RerankPostprocessor(reranker=Counting(), top_n=2).postprocess_nodes(nodes, query_str="lazy dog")
    assert [(each.node.node_id, each.score) for each in found] == [("1", 1.0), ("3", 0.5)]
    assert found[0].node.metadata["retrieval_score"] == 0.1
    assert len(RerankPostprocessor(reranker=real, top_n=None).postprocess_nodes(nodes, query_str="red fox")) == 4
    with pytest.raises(ValueError, match="needs the query"):
        RerankPostprocessor(reranker=real).postprocess_nodes(nodes)


# --- PyTerrier -------------------------------------------------------------------------------------------------------


def test_a_frame_is_rescored_within_each_query() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        [
            {"qid": "2", "query": "dog", "docno": "a", "text": TEXTS[0], "score": 9.0, "rank": 0},
            {"qid": "2", "query": "dog", "docno": "b", "text": TEXTS[1], "score": 8.0, "rank": 1},
            {"qid": "1", "query": "fox", "docno": "a", "text": TEXTS[0], "score": 7.0, "rank": 0},
        ]
    )
    found = rescored(Counting(), frame)
    assert found[["qid", "docno", "score", "rank"]].to_numpy().tolist() == [
        ["1", "a", 1.0, 0],
        ["2", "b", 1.0, 0],
        ["2", "a", 0.0, 1],
    ]
    tied = pandas.DataFrame([{"qid": "1", "query": "dog", "docno": doc, "text": TEXTS[1]} for doc in "bcad"])
    assert rescored(Counting(), tied)["docno"].tolist() == list("dcba"), "as trec_eval orders equal scores"
    with pytest.raises(ValueError, match="get_text"):
        rescored(Counting(), frame.drop(columns="text"))


def test_pyterrier_runs_it_in_a_pipeline() -> None:
    pyterrier = pytest.importorskip("pyterrier", reason=INSTALL.format("python-terrier"))
    frame = [{"qid": "1", "query": "dog", "docno": str(at), "text": text} for at, text in enumerate(TEXTS)]
    import pandas

    pipeline = pyterrier.Transformer.identity() >> PyTerrierReranker(Counting())
    assert pipeline(pandas.DataFrame(frame))["docno"].tolist()[:2] == ["3", "1"]


# --- rank_llm --------------------------------------------------------------------------------------------------------


def request(**changes: Any) -> dict[str, Any]:
    candidates = [{"docid": f"d{at}", "score": 9.0 - at, "doc": {"contents": text}} for at, text in enumerate(TEXTS)]
    return {"query": {"text": "quick fox", "qid": 7}, "candidates": candidates, **changes}


def test_rank_llms_files_in_and_out(tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    titled = request(candidates=[{"docid": "t", "score": 1, "doc": {"title": "quick", "text": "fox"}}])
    requests.write_text("".join(json.dumps(each) + "\n" for each in (request(), titled)), encoding="utf-8")
    results = [rank_llm.rerank(Counting(), each, 3) for each in rank_llm.read_requests(requests)]
    assert rank_llm.write_results(tmp_path / "results.jsonl", results) == 2
    first, second = map(json.loads, (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines())
    assert [each["docid"] for each in first["candidates"]] == ["d2", "d0", "d3"], "d1 has d3's score"
    assert first["query"]["qid"] == 7 and first["candidates"][0]["doc"]["contents"] == TEXTS[2]
    assert second["candidates"][0]["score"] == 2.0, "the title counts"


@pytest.mark.parametrize(
    "line",
    ["{", '{"query": {"text": "q"}, "candidates": []}', json.dumps(request(candidates=[{"docid": "x", "doc": {}}]))],
)
def test_what_is_no_request_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(f"{json.dumps(request())}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: no rank_llm request"):
        list(rank_llm.read_requests(path))
