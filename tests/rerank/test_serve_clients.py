"""The clients that people have, unchanged: Cohere's, LiteLLM, Haystack's, LangChain's, LlamaIndex's, and a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

from distill import store
from distill.records import Pair, make_pair
from distill.rerank.serve.page import ANY, Example, example_of, page_with
from tests.browser import OpenPage
from tests.rerank.serving import Scripted, score_of, serving

QUERY, TEXTS = "what is a fox", ["the sea", "a fox is an animal", "foxes run"]
MISSING = "needs a package that the extra dev brings"
BEST = sorted(((score_of(QUERY, text), at) for at, text in enumerate(TEXTS)), reverse=True)


@pytest.fixture
def server() -> Iterator[Any]:
    with serving(Scripted(), api_key="s3cret") as server:
        yield server


@pytest.mark.parametrize("version", [1, 2])
def test_coheres_own_client(server: Any, version: int) -> None:
    cohere = pytest.importorskip("cohere", reason="needs the package cohere, which the extra dev brings")
    client = (cohere.ClientV2 if version == 2 else cohere.Client)(api_key="s3cret", base_url=server.url)
    answer = client.rerank(model="my-student", query=QUERY, documents=TEXTS, top_n=2)
    assert [(row.relevance_score, row.index) for row in answer.results] == BEST[:2]
    assert answer.id and answer.meta is not None
    refused = (cohere.ClientV2 if version == 2 else cohere.Client)(api_key="wrong", base_url=server.url)
    with pytest.raises(cohere.UnauthorizedError):
        refused.rerank(model="my-student", query=QUERY, documents=TEXTS)


LITELLM = """
import json, sys, litellm
for provider, path in {bases!r}.items():
    found = litellm.rerank(model=provider + "/my-student", query={query!r}, documents={texts!r}, top_n=2,
                           api_key="s3cret", api_base=sys.argv[1] + path, return_documents=provider != "infinity")
    print(json.dumps([provider, [[row["relevance_score"], row["index"]] for row in found.results]]))
"""
LITELLM_BASES = {"cohere": "", "jina_ai": "/v1", "hosted_vllm": "", "infinity": ""}


@pytest.mark.skipif(find_spec("litellm") is None, reason=MISSING)
def test_litellms_client(server: Any) -> None:
    code = LITELLM.format(query=QUERY, texts=TEXTS, bases=LITELLM_BASES)
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", code, server.url], capture_output=True, text=True, timeout=200, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith('["')]
    assert [json.loads(line) for line in lines] == [[name, [list(each) for each in BEST[:2]]] for name in LITELLM_BASES]


def haystack_vllm(url: str) -> list[tuple[float, str]]:
    """VLLMRanker, with a key."""
    ranker = pytest.importorskip("haystack_integrations.components.rankers.vllm", reason=MISSING).VLLMRanker
    return of_haystack(ranker(model="my-student", api_key=haystack_key(), api_base_url=url + "/v1", top_k=2))


def haystack_tei(url: str) -> list[tuple[float, str]]:
    """HuggingFaceTEIRanker, with a key."""
    ranker = pytest.importorskip("haystack_integrations.components.rankers.huggingface_api", reason=MISSING)
    return of_haystack(ranker.HuggingFaceTEIRanker(url=url, top_k=2, token=haystack_key()))


def haystack_jina(url: str) -> list[tuple[float, str]]:
    """JinaRanker, with a key."""
    ranker = pytest.importorskip("haystack_integrations.components.rankers.jina", reason=MISSING).JinaRanker
    return of_haystack(ranker(model="my-student", api_key=haystack_key(), top_k=2, base_url=url + "/v1/rerank"))


def haystack_key() -> Any:
    """The server's key as Haystack holds secrets."""
    return pytest.importorskip("haystack.utils", reason=MISSING).Secret.from_token("s3cret")


def of_haystack(ranker: Any) -> list[tuple[float, str]]:
    """Scores and texts, in the ranker's order."""
    document = pytest.importorskip("haystack", reason=MISSING).Document
    getattr(ranker, "warm_up", lambda: None)()
    found = ranker.run(query=QUERY, documents=[document(content=text) for text in TEXTS])["documents"]
    return [(each.score, each.content) for each in found]


def langchain_jina(url: str) -> list[tuple[float, str]]:
    """JinaRerank, whose address is a constant, with a key."""
    module = pytest.importorskip("langchain_community.document_compressors.jina_rerank", reason=MISSING)
    document = pytest.importorskip("langchain_core.documents", reason=MISSING).Document
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "JINA_API_URL", url + "/v1/rerank")
        found = module.JinaRerank(top_n=2, model="my-student", jina_api_key="s3cret").compress_documents(
            [document(page_content=text) for text in TEXTS], QUERY
        )
    return [(each.metadata["relevance_score"], each.page_content) for each in found]


def llama_index_jina(url: str) -> list[tuple[float, str]]:
    """JinaRerank, with a key."""
    rerank = pytest.importorskip("llama_index.postprocessor.jinaai_rerank", reason=MISSING).JinaRerank
    return of_llama_index(rerank(top_n=2, model="my-student", base_url=url + "/v1", api_key="s3cret"))


def llama_index_tei(url: str) -> list[tuple[float, str]]:
    """TextEmbeddingInference's, with a key."""
    rerank = pytest.importorskip("llama_index.postprocessor.tei_rerank", reason=MISSING).TextEmbeddingInference
    return of_llama_index(rerank(top_n=2, base_url=url, auth_token="Bearer s3cret"))


def of_llama_index(rerank: Any) -> list[tuple[float, str]]:
    """Scores and texts, in the postprocessor's order."""
    schema = pytest.importorskip("llama_index.core.schema", reason=MISSING)
    nodes = [schema.NodeWithScore(node=schema.TextNode(text=text), score=0.0) for text in TEXTS]
    return [(each.score, each.node.text) for each in rerank.postprocess_nodes(nodes, query_str=QUERY)]


@pytest.mark.parametrize(
    "ask",
    [haystack_vllm, haystack_tei, haystack_jina, langchain_jina, llama_index_jina, llama_index_tei],
    ids=lambda ask: ask.__name__,
)
def test_the_rankers_of_frameworks(
    server: Any, ask: Callable[[str], list[tuple[float, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    assert ask(server.url) == [(score, TEXTS[at]) for score, at in BEST[:2]]


def test_the_page_is_filled_with_an_example_that_can_be_ranked(open_page: OpenPage) -> None:
    with serving(Scripted()) as server:
        page = open_page(server.url, width=390, dark=True)
        assert page.input_value("#query") == ANY.query
        page.click("button")
        page.wait_for_function(f"() => document.querySelectorAll('li').length === {len(ANY.documents)}")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_example_is_of_the_run_whose_student_is_served(tmp_path: Path) -> None:
    student = tmp_path / "students" / "think"
    assert example_of(str(student)) == ANY
    texts = [("b", "no </script>", 0), ("a", "nothing else", 0), ("a", "not it", 0), ("a", "it\n\nis", 1)]
    pairs = [make_pair(query, text, query, text, label=label, split="train") for query, text, label in texts]
    store.write_rows(tmp_path / "pairs", pairs, Pair)
    example = example_of(str(student))
    assert example.query == "a" and sorted(example.documents) == ["it is", "not it", "nothing else"]
    hostile = page_with(Example("</script><b>", ["x"]), "n")
    assert "</script><b>" not in hostile and "\\u003c/script>" in hostile


def test_the_page_ranks_and_shows_reasoning_as_text_only(open_page: OpenPage) -> None:
    """A passage full of markup is shown letter for letter, runs nothing, and the page's policy blocks nothing of it."""
    hostile = "<img src=x onerror='document.title=1'><script>document.title=2</script>"
    with serving(Scripted()) as server:
        page = open_page(server.url)
        page.fill("#query", QUERY)
        page.fill("#documents", "\n\n".join([*TEXTS, hostile]))
        page.click("button")
        page.wait_for_function("() => document.querySelectorAll('li').length === 4")
        shown = page.locator("li .text").evaluate_all("texts => texts.map((text) => text.textContent)")
        scores = {text: score_of(QUERY, text) for text in [*TEXTS, hostile]}
        assert shown == sorted(scores, key=lambda text: -scores[text])
        assert page.locator("li img, li script").count() == 0
        assert page.title() == "Try the reranker"
        assert page.locator(".why").first.text_content() == "because"
