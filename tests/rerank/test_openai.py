"""The openai backend against servers in this process: one that speaks as vLLM's does, one as any other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from distill.errors import ConfigError, EndpointError
from distill.records import Pair
from distill.rerank.backends.openai import OpenAIBackend
from distill.rerank.reranker import Reranker
from tests.rerank.agreement import TOLERANCE, agree


class Server:
    """A greedy completions server over a student.

    `owner` is whose server it says it is: vLLM's options work where it is vllm's. `top` bounds its log-probabilities,
    `faults` are answered first, `says` is a text written in place of the student's.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.owner = owner
        self.top = 400
        self.says: list[tuple[str, str]] = []
        self.seen: list[dict[str, Any]] = []
        self.faults: list[int] = []
        self.bodies: list[dict[str, Any]] = []  # answered first, under status 200
        self.as_chat = False
        self.keys: set[str] = set()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._complete)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": "student", "object": "model", "owned_by": self.owner, "created": 0}
        return web.json_response({"object": "list", "data": [model]})

    async def _complete(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("Authorization", ""))
        if self.faults:
            return web.json_response({"error": {"message": "not now"}}, status=self.faults.pop(0))
        if self.bodies:
            return web.json_response(self.bodies.pop(0))
        body = await request.json()
        self.seen.append(body)
        ids, first, finish = list(body["prompt"]), None, "length"
        start, exact = len(ids), self.owner == "vllm"
        assert exact or not {"min_tokens", "stop_token_ids", "logprob_token_ids", "return_token_ids"} & set(body)
        with self.torch.inference_mode():
            for step in range(body["max_tokens"]):
                logits = self.model(self.torch.tensor([ids])).logits[0, -1].log_softmax(-1)
                first = logits.clone() if first is None else first
                ends = [self.tokenizer.eos_token_id, *(body.get("stop_token_ids") or [])]
                if step < (body.get("min_tokens") or 0):
                    logits[ends] = -self.torch.inf
                token = int(logits.argmax())
                if token == self.tokenizer.eos_token_id:
                    finish = "stop"
                    break
                ids.append(token)
                if token in ends:
                    finish = "stop"
                    break
        text = self.tokenizer.decode(ids[start:])
        if self.says and not body.get("logprobs"):
            text, finish = self.says.pop(0)
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish, "token_ids": ids[start:]}
        if body.get("logprobs") and first is not None:
            if body.get("logprob_token_ids"):
                listed = {f"token_id:{t}": float(first[t]) for t in body["logprob_token_ids"]}
            else:
                best = first.topk(min(self.top, len(first))).indices.tolist()
                listed = {self.tokenizer.decode([t]): float(first[t]) for t in best}
            choice["logprobs"] = {"top_logprobs": [listed], "tokens": [text], "token_logprobs": [0.0]}
            if self.as_chat:
                best = [{"token": token, "logprob": value} for token, value in listed.items()]
                choice["logprobs"] = {"content": [{"token": text, "logprob": 0.0, "top_logprobs": best}]}
        return web.json_response(
            {"id": "1", "object": "text_completion", "created": 0, "model": "student", "choices": [choice]}
        )


@pytest.fixture(scope="module")
def servers(ending: Path) -> Iterator[dict[str, Server]]:
    running = {owner: Server(ending, owner) for owner in ("vllm", "somebody")}
    yield running
    for each in running.values():
        each.stop()


@pytest.fixture
def server(servers: dict[str, Server]) -> Server:
    return servers["somebody"]


@pytest.fixture
def backend(server: Server, ending: Path) -> Iterator[OpenAIBackend]:
    made = OpenAIBackend(str(ending), server.url, batch=4)
    yield made
    made.close()


def test_it_agrees_with_transformers(servers: dict[str, Server], ending: Path, few_pairs: list[Pair]) -> None:
    backend = OpenAIBackend(str(ending), servers["vllm"].url, batch=4)
    assert backend.exact
    agree(backend, ending, few_pairs)
    backend.close()


def test_direct_scores_agree_whoever_the_server_is(backend: OpenAIBackend, ending: Path, few_pairs: list[Pair]) -> None:
    expected = Reranker(str(ending), "direct").predict(few_pairs)
    found = Reranker(backend, "direct").predict(few_pairs)
    assert [j.margin for j in found] == pytest.approx([j.margin for j in expected], abs=TOLERANCE)


@pytest.mark.parametrize(
    ("says", "finish", "reasoning", "reason"),
    [
        ("it runs. yes\n</think> true", "stop", "it runs. yes", "stop"),
        ("it runs. is it", "length", "it runs.", "length"),
        ("it runs. is it", "stop", "it runs.", "no_end"),
    ],
)
def test_text_of_any_server_is_cut_at_the_end_of_reasoning(
    server: Server, backend: OpenAIBackend, says: str, finish: str, reasoning: str, reason: str
) -> None:
    server.says, server.seen = [("\nnow ", "length"), (says, finish)], []
    found = Reranker(backend, "think", max_new_tokens=40).predict([("red", "fox")])[0]
    assert (found.reasoning, found.finish_reason) == (f"now {reasoning}", reason)
    begun, went_on, read = server.seen
    assert begun["max_tokens"] == 2 and begun["logit_bias"], "it may not end at once"
    assert went_on["max_tokens"] == 38 and "logit_bias" not in went_on
    text = backend.form.tokenizer.decode(read["prompt"])
    assert text.endswith(f"<think>\nnow {reasoning}\n</think>"), "the verdict is read there, and nowhere else"


def test_faults_that_pass_are_tried_again(server: Server, backend: OpenAIBackend, few_pairs: list[Pair]) -> None:
    expected = Reranker(backend, "direct").predict(few_pairs[:4])
    server.faults = [500, 429, 503]
    found = Reranker(backend, "direct").predict(few_pairs[:4])
    assert [j.margin for j in found] == [j.margin for j in expected] and not server.faults


def test_a_refusal_is_one_line_with_the_address(server: Server, backend: OpenAIBackend, few_pairs: list[Pair]) -> None:
    server.faults = [400]
    with pytest.raises(EndpointError, match=r"http://127\.0\.0\.1:\d+/v1: .*400"):
        Reranker(backend, "direct").predict(few_pairs[:1])


def test_a_verdict_that_is_not_listed_counts_as_less_likely_than_what_is(
    server: Server, backend: OpenAIBackend, few_pairs: list[Pair]
) -> None:
    server.top = 1
    try:
        found = Reranker(backend, "direct").predict(few_pairs[:3])
    finally:
        server.top = 400
    assert {j.margin for j in found} == {0.0} and {j.verdict for j in found} == {None}


def test_the_key_comes_from_the_environment(
    server: Server, ending: Path, few_pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="RERANK_TEST_KEY, which is not set"):
        OpenAIBackend(str(ending), server.url, api_key_env="RERANK_TEST_KEY")
    monkeypatch.setenv("RERANK_TEST_KEY", "s3cret")
    reranker = Reranker(str(ending), "direct", base_url=server.url, api_key_env="RERANK_TEST_KEY")
    reranker.predict(few_pairs[:1])
    reranker.close()
    assert "Bearer s3cret" in server.keys


def test_a_server_that_is_not_there_or_has_another_model(server: Server, ending: Path) -> None:
    with pytest.raises(EndpointError, match="is the server up"):
        OpenAIBackend(str(ending), "http://127.0.0.1:9/v1")
    with pytest.raises(EndpointError, match="has student; name one of them"):
        OpenAIBackend(str(ending), server.url, served="other")


def test_an_error_under_status_200_is_tried_again_or_told(
    server: Server, backend: OpenAIBackend, few_pairs: list[Pair]
) -> None:
    expected = Reranker(backend, "direct").predict(few_pairs[:2])
    server.bodies = [{"error": {"code": 429, "message": "slow down"}}, {"choices": None}]
    assert Reranker(backend, "direct").predict(few_pairs[:2]) == expected and not server.bodies
    server.bodies = [{"error": {"code": 402, "message": "Insufficient credits"}}]
    with pytest.raises(EndpointError, match="Insufficient credits"):
        Reranker(backend, "direct").predict(few_pairs[:1])


def test_other_words_for_a_cut_and_the_form_of_chats_are_read(
    server: Server, backend: OpenAIBackend, few_pairs: list[Pair]
) -> None:
    server.says = [("\nnow ", "MAX_TOKENS"), ("it runs. is it", "MAX_TOKENS")]
    assert Reranker(backend, "think", max_new_tokens=40).predict([("red", "fox")])[0].finish_reason == "length"
    expected = Reranker(backend, "direct").predict(few_pairs[:2])
    server.as_chat = True  # llama.cpp's log-probabilities
    try:
        assert Reranker(backend, "direct").predict(few_pairs[:2]) == expected
    finally:
        server.as_chat = False
