"""The bodies that people's clients send, as their documentation has them, and what each reads of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

from distill.records import make_pair
from distill.rerank.reranker import Reranker
from distill.rerank.serve.schemas import RerankBody, TextsBody
from tests.rerank.serving import Scripted, get, post, score_of, serving, until

QUERY, TEXTS = "what is a fox", ["the sea", "a fox is an animal", "foxes run"]
SCORES = [score_of(QUERY, text) for text in TEXTS]
ORDER = sorted(range(3), key=lambda at: -SCORES[at])
MODEL = "my-student"
OBJECT = "a text or an object with text is wanted"


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    engine = Scripted()
    with serving(engine) as server:
        yield server
        until(lambda: server.desk.waiting == 0 and engine.running == 0)


# Where each body is documented is in docs/serving.md.
CLIENTS = [
    pytest.param("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2}, id="Jina"),
    pytest.param("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": [{"text": t} for t in TEXTS], "top_n": 2,
                                "return_documents": True}, id="Jina, objects"),
    pytest.param("/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2}, id="vLLM"),
    pytest.param("/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2, "return_documents": False,
                             "raw_scores": False}, id="Infinity"),
    pytest.param("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2, "rank_fields": None,
                                "return_documents": True, "max_chunks_per_doc": None}, id="LiteLLM, hosted_vllm"),
    pytest.param("/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2,
                             "max_tokens_per_doc": None}, id="LiteLLM, infinity"),
    pytest.param("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2}, id="Open WebUI"),
    pytest.param("/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2}, id="RAGFlow"),
    pytest.param("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2,
                                "return_documents": True}, id="Dify, OpenAI-compatible"),
    pytest.param("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2}, id="LangChain, Jina"),
    pytest.param("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS, "top_n": 2}, id="LlamaIndex, Jina"),
    pytest.param("/rerank", {"query": QUERY, "documents": TEXTS, "top_n": 2}, id="Haystack, vLLM"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), CLIENTS)
def test_a_clients_body_is_taken_as_documented(server: Any, path: str, body: dict[str, Any]) -> None:
    status, answer, _ = post(server.url + path, body)
    assert status == 200 and answer["model"] == MODEL
    assert [(row["index"], row["relevance_score"]) for row in answer["results"]] == [(n, SCORES[n]) for n in ORDER[:2]]
    if body.get("return_documents", True):
        assert [row["document"]["text"] for row in answer["results"]] == [TEXTS[n] for n in ORDER[:2]]
    assert answer["usage"]["total_tokens"] > 0 and answer["id"]


@pytest.mark.parametrize("more", [{}, {"truncate": True}, {"truncate": False, "truncation_direction": "Right"}])
def test_text_embeddings_inference_gets_its_bare_list(server: Any, more: dict[str, Any]) -> None:
    """LangChain's HuggingFaceEndpoint and Haystack's HuggingFaceTEIRanker read index and score."""
    _, answer, _ = post(server.url + "/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": False, **more})
    assert answer == [{"index": n, "score": SCORES[n]} for n in ORDER]
    _, answer, _ = post(
        server.url + "/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True, "return_text": True}
    )
    assert answer == [{"index": n, "score": SCORES[n] * 8 - 4, "text": TEXTS[n]} for n in ORDER]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("body", "queries"),
    [
        ({"text_1": QUERY, "text_2": TEXTS}, [QUERY] * 3),
        ({"queries": QUERY, "documents": TEXTS}, [QUERY] * 3),
        ({"queries": [QUERY, "b", "c"], "documents": TEXTS}, [QUERY, "b", "c"]),
        ({"text_1": ["a", "b", "a"], "text_2": TEXTS, "encoding_format": "float"}, ["a", "b", "a"]),
        ({"text_1": QUERY, "text_2": TEXTS[0]}, [QUERY]),
    ],
)
def test_scores_come_in_the_order_given(server: Any, path: str, body: dict[str, Any], queries: list[str]) -> None:
    status, answer, _ = post(server.url + path, {"model": MODEL, **body})
    assert status == 200 and answer["object"] == "list" and answer["model"] == MODEL
    expected = [score_of(query, text) for query, text in zip(queries, TEXTS, strict=False)]
    assert answer["data"] == [{"index": n, "object": "score", "score": score} for n, score in enumerate(expected)]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/rerank", {"query": "q", "documents": ["a", None]}, f"documents[1] is null; {OBJECT}"),
        ("/rerank", {"query": "q", "documents": [{"title": "t"}]}, f"documents[0].text is missing; {OBJECT}"),
        ("/rerank", {"query": "q", "documents": [{"text": 3}]}, "documents[0].text is 3; a text is wanted"),
        ("/rerank", {"query": "q", "documents": "a"}, "documents is a text; a list is wanted, each a text or an"),
        ("/rerank", {"query": ["q"], "documents": ["a"]}, "query is a list; a text is wanted"),
        ("/rerank", {"query": "q", "documents": ["a"], "score_threshold": "x"}, "is a text; a number is wanted"),
        ("/rerank", {"query": "q", "documents": ["a"], "budget_ms": "x"}, "budget_ms is a text; a number is wanted"),
        ("/rerank", {"query": "q", "documents": ["a"], "top_n": 1.5}, "top_n is 1.5; a whole number is wanted"),
        ("/rerank", {"query": "q", "documents": ["a"], "return_documents": "x"}, "is a text; true or false is wanted"),
        ("/rerank", {"query": "q", "texts": ["a", 3]}, "texts[1] is 3; a text is wanted"),
        ("/rerank", [], "the body is a list; an object is wanted"),
        ("/score", {"text_1": ["a", "b"], "text_2": ["c"]}, "2 queries and 1 documents: give one query, or as many"),
        ("/score", {"text_1": "a"}, "both sides of a pair are needed"),
        ("/score", {"text_1": "a", "documents": ["c"], "queries": "x"}, "give text_1 and text_2, or queries and"),
        ("/score", {"text_1": "a", "text_2": [True]}, f"text_2[0] is true; {OBJECT}"),
        ("/v1/explain", {"query": "q", "document": 1}, f"document is 1; {OBJECT}"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_in_plain_words(server: Any, path: str, body: Any, said: str) -> None:
    status, answer, _ = post(server.url + path, body)
    assert (status, said in answer["message"]) == (422, True), answer["message"]


def test_numbers_that_json_cannot_hold_go_back_as_null(server: Any) -> None:
    document = {"text": "the sea", "title": float("nan"), "price": float("inf"), "size": [1.5]}
    status, answer, _ = post(server.url + "/v1/rerank", {"query": QUERY, "documents": [document]})
    assert status == 200
    assert answer["results"][0]["document"] == {"text": "the sea", "title": None, "price": None, "size": [1.5]}


def test_an_object_goes_back_as_it_came(server: Any) -> None:
    given = {"text": " a fox ", "title": None, "id": 7, "meta": {"tags": ["x", None], "bad": "\ud800"}}
    _, answer, _ = post(server.url + "/rerank", {"query": QUERY, "documents": [given, "the sea"]})
    back = next(row["document"] for row in answer["results"] if row["index"] == 0)
    assert back == {**given, "meta": {"tags": ["x", None], "bad": "?"}}


def test_a_threshold_leaves_out_what_is_below_it_and_says_what_scores_are(server: Any) -> None:
    middle = sorted(SCORES)[1]
    _, answer, _ = post(server.url + "/rerank", {"query": QUERY, "documents": TEXTS, "score_threshold": middle})
    assert [row["index"] for row in answer["results"]] == ORDER[:2] and answer["meta"]["scores"] == "not calibrated"


def test_models_limits_and_health_are_announced(server: Any) -> None:
    models = json.loads(get(server.url + "/v1/models")[1])
    assert models["object"] == "list" and [model["id"] for model in models["data"]] == [MODEL]
    info = json.loads(get(server.url + "/info")[1])
    assert info["model_id"] == MODEL and info["max_client_batch_size"] == info["limits"]["max_documents"] == 1000
    assert info["models"][0]["mode"] == "think"
    assert get(server.url + "/health")[0] == 200


@pytest.mark.parametrize(("given", "kept"), [("abc-123", True), ("x" * 201, False)])
def test_a_requests_name_goes_back(server: Any, given: str, kept: bool) -> None:
    for body, status in (({"query": QUERY, "documents": TEXTS}, 200), ({"query": QUERY}, 422)):
        found, answer, headers = post(server.url + "/v1/rerank", body, {"X-Request-Id": given})
        assert found == status and headers.get("X-Request-Id") == (given if kept else None)
        if status == 200:
            assert (answer["id"] == given) is kept


def test_a_key_holds_for_all_that_tells_of_the_student() -> None:
    with serving(Scripted(), api_key="s3cret") as server:
        for path in ("/v1/models", "/info"):
            assert get(server.url + path)[0] == 401
            assert get(server.url + path, {"Authorization": "Bearer s3cret"})[0] == 200
        for path in ("/rerank", "/score", "/v1/score"):
            assert post(server.url + path, {"query": "q", "texts": ["t"]})[0] == 401
        assert get(server.url + "/health")[0] == 200


def test_documents_are_cut_at_the_tokens_asked_for(tiny: Path) -> None:
    reranker = Reranker(str(tiny), "direct")
    long = "the quick red fox runs and the lazy dog sleeps " * 4
    pairs = [make_pair("0", "0", "red fox", text) for text in (long, "the dog")]
    form = reranker.backend.form
    count = lambda text: len(form.tokenizer.encode(text, add_special_tokens=False))  # noqa: E731
    first = reranker.shortened(pairs, passage=5)
    assert count(first[0].passage) == 5 and long.startswith(first[0].passage) and first[1] == pairs[1]
    whole = len(form.prompts(first[:1], 1)[0].rows[0])
    again = reranker.shortened(pairs, prompt=whole)
    assert count(again[0].passage) in (4, 5) and len(form.prompts(again[:1], 1)[0].rows[0]) <= whole
    with serving(reranker.stream(), cut=reranker.shortened) as server:
        cut = {"query": "red fox", "documents": [long]}
        _, answer, _ = post(server.url + "/rerank", {**cut, "max_tokens_per_doc": 5})
        expected = Reranker(str(tiny), "direct").predict(first[:1])[0].score
        assert answer["results"][0]["relevance_score"] == pytest.approx(expected, abs=1e-4)
        assert "warnings" not in answer["meta"]
        _, other, _ = post(server.url + "/rerank", {**cut, "truncate_prompt_tokens": -1})
        assert other["results"][0]["relevance_score"] != answer["results"][0]["relevance_score"]
        assert post(server.url + "/rerank", {**cut, "truncate_prompt_tokens": 3})[0] == 422


def test_what_is_documented_is_what_is_read() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text("utf-8")
    fields = {*RerankBody.model_fields, *TextsBody.model_fields} - {"model", "mode", "truncation_direction", "truncate"}
    assert not [name for name in fields if f"`{name}`" not in guide]
