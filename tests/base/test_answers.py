"""What servers say, in the forms that they say it: each row of the tables names where the form was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.answers.body import ErrorInBody, NotACompletion, read_completion
from distill.answers.finish import finish_of
from distill.answers.text import TAGS, is_unclosed, split_text, without_end_tokens
from distill.verdicts import parse_verdict

WHY = "The passage names the place."


def body(message: dict[str, Any], finish: object = "stop", **more: Any) -> bytes:
    """A chat completion with one message."""
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}).encode()


def text(content: str) -> bytes:
    """A chat completion of content alone."""
    return body({"role": "assistant", "content": content})


def stream(*deltas: dict[str, Any], finish: str | None = "stop", between: str = "") -> bytes:
    """A stream of events, with lines of something else between them."""
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return (between + "".join(f"data: {json.dumps(chunk)}\n\n{between}" for chunk in chunks)).encode()


# (where it was seen, the body): all say the reasoning WHY and the answer true.
FORMS = [
    ("DeepSeek, docs: reasoning model", body({"content": "true", "reasoning_content": WHY})),
    ("vLLM >= 0.12, docs: reasoning outputs", body({"content": "true", "reasoning": WHY, "reasoning_content": None})),
    ("Groq, docs: reasoning_format parsed", body({"content": "true", "reasoning": WHY})),
    ("Ollama, docs: thinking", body({"content": "true", "thinking": WHY})),
    ("OpenRouter, docs: reasoning_details, text", body({"content": "true", "reasoning_details": [
        {"type": "reasoning.text", "text": WHY, "signature": None}, {"type": "reasoning.encrypted", "data": "x"}]})),
    ("OpenRouter, docs: reasoning_details, summary", body({"content": "true", "reasoning_details": [
        {"type": "reasoning.summary", "summary": WHY}]})),
    ("LiteLLM, docs: thinking_blocks", body({"content": "true", "thinking_blocks": [
        {"type": "thinking", "thinking": WHY, "signature": "s"}]})),
    ("LiteLLM, docs: provider_specific_fields", body({"content": "true", "provider_specific_fields": {
        "reasoning_content": WHY}})),
    ("Mistral, docs: reasoning; NousResearch/hermes-agent#4748", body({"content": [
        {"type": "thinking", "thinking": [{"type": "text", "text": WHY}]}, {"type": "text", "text": "true"}]})),
    ("Mistral: text in several chunks, mistralai/client-python#252", body({"content": [
        {"type": "thinking", "thinking": [{"type": "text", "text": WHY}]}, {"type": "text", "text": "tr"},
        {"type": "thinking", "thinking": []}, {"type": "text", "text": "ue"}]})),
    ("Anthropic, docs: extended thinking, as parts", body({"content": [
        {"type": "thinking", "thinking": WHY, "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "true"}]}, "end_turn")),
    ("OpenAI, docs: content parts", body({"reasoning": WHY, "content": [{"type": "output_text", "text": "true"}]})),
    ("Assistants-like gateways: text.value", body({"reasoning": WHY, "content": [
        {"type": "text", "text": {"value": "true", "annotations": []}}]})),
    ("Gemini, docs: parts with thought", body({"content": {"parts": [
        {"text": WHY, "thought": True}, {"text": "true"}]}}, "STOP")),
    ("Gemini, docs: include_thoughts", text(f"<thought>{WHY}</thought>true")),
    ("DeepSeek-R1 without a parser, model card", text(f"<think>\n{WHY}\n</think>\n\ntrue")),
    ("vllm-project/vllm#22507: no opening tag", text(f"{WHY}\n</think>\n\ntrue")),
    ("vllm-project/vllm#34625: minimax_m2_append_think, an empty field and tags", body({
        "content": f"<think>{WHY}</think>\n\ntrue", "reasoning_content": None})),
    ("tags within the field", body({"content": "true", "reasoning_content": f"<think>\n{WHY}\n</think>"})),
    ("the field and the tags, alike", body({"content": f"<think>{WHY}</think>true", "reasoning_content": WHY})),
    ("the whole text in the field, vllm-project/vllm#13375", body({
        "content": None, "reasoning_content": f"{WHY}</think>true"})),
    ("Claude and Reflection: thinking", text(f"<thinking>\n{WHY}\n</thinking>\n<answer>true</answer>")),
    ("prompts that ask for <reasoning>", text(f"<reasoning>{WHY}</reasoning> true")),
    ("Magistral without a parser, waybarrios/vllm-mlx#599", text(f"[THINK]{WHY}[/THINK]true")),
    ("Kimi-VL-Thinking, model card", text(f"◁think▷{WHY}◁/think▷true")),
    ("Seed-OSS, model card", text(f"<seed:think>{WHY}</seed:think>true<seed:eos>")),
    ("Cohere Command A Reasoning, model card", text(
        f"<|START_THINKING|>{WHY}<|END_THINKING|><|START_RESPONSE|>true<|END_RESPONSE|>")),
    ("Apriel, model card", text(f"<think>{WHY}</think>\n[BEGIN FINAL RESPONSE]\ntrue\n[END FINAL RESPONSE]")),
    ("Gemma 4, docs: prompt formatting", text(f"<|channel>thought\n{WHY}\n<channel|>true<turn|>")),
    ("gpt-oss: harmony tokens, kekzl/imp#768", text(
        f"<|channel|>analysis<|message|>{WHY}<|end|><|start|>assistant<|channel|>final<|message|>true<|return|>")),
    ("gpt-oss: the first token in the prompt", text(
        f"analysis<|message|>{WHY}<|end|><|start|>assistant<|channel|>final<|message|>true")),
    ("gpt-oss: tokens left out, Augustas11/macprovider#743", text(f"analysis{WHY}assistantfinaltrue")),
    ("DeepSeek: end token left over", body({"reasoning": WHY, "content": "true<｜end▁of▁sentence｜>"})),
    ("ChatML through TGI, BerriAI/litellm#3757", body({"reasoning": WHY, "content": "true<|im_end|>"})),
    ("Llama 3: end token left over", body({"reasoning": WHY, "content": "true<|eot_id|>"})),
    ("Mistral, Llama 2: end token left over", body({"reasoning": WHY, "content": "true</s>"})),
    ("Gemma: end token left over", body({"reasoning": WHY, "content": "true<end_of_turn>\n<eos>"})),
    ("deepseek-ai/DeepSeek-Coder#136: many of them", body({"reasoning": WHY, "content": "true\n<|EOT|>\n<|EOT|>"})),
    ("bernardo-bruning/ollama-copilot#31: <EOT>", body({"reasoning": WHY, "content": "true<EOT>"})),
    ("Phi-3: end token left over", body({"reasoning": WHY, "content": "true<|end|>"})),
    ("EXAONE: end token left over", body({"reasoning": WHY, "content": "true[|endofturn|]"})),
    ("distilled models: boxed", body({"reasoning": WHY, "content": "\\boxed{true}"})),
    ("OpenRouter: comments before the body, openai/openai-go#227", b": OPENROUTER PROCESSING\n\n" * 3 + body({
        "content": "true", "reasoning": WHY})),
    ("DeepSeek, docs: rate limit, empty lines before the body", b"\n\n\n" + body({
        "content": "true", "reasoning_content": WHY})),
    ("a byte-order mark before the body", b"\xef\xbb\xbf" + body({"content": "true", "reasoning_content": WHY})),
    ("gateways that always stream", stream({"role": "assistant"}, {"reasoning_content": WHY[:9]},
        {"reasoning_content": WHY[9:]}, {"content": "tr"}, {"content": "ue"}) + b"data: [DONE]\n\n"),
    ("the same without [DONE]", stream({"content": "true", "reasoning": WHY})),
    ("the same with keep-alive, diegosouzapw/OmniRoute#7031", stream(
        {"reasoning": WHY}, {"content": "true"}, between=": omniroute-keepalive\n\n")),
    ("comments wrapped as data, mnfst/llm-gateway#2053", stream(
        {"reasoning": WHY}, {"content": "true"}, between="data: : OPENROUTER PROCESSING\n\n")),
    ("Mistral: parts in a stream, Arize-ai/openinference#3761", stream(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": WHY}]}]},
        {"content": [{"type": "text", "text": "true"}]})),
    ("servers of plain completions: text in the choice", json.dumps({
        "choices": [{"text": f"<think>{WHY}</think> true", "finish_reason": "stop"}]}).encode()),
    ("gateways: the message as a text", json.dumps({
        "choices": [{"message": f"<think>{WHY}</think> true", "finish_reason": "stop"}]}).encode()),
    ("response_format: the server has parsed the content", body({"reasoning": WHY, "content": {"verdict": True}})),
]  # fmt: skip


@pytest.mark.parametrize("raw", [raw for _, raw in FORMS], ids=[where for where, _ in FORMS])
def test_reasoning_and_answer_of_every_server(raw: bytes) -> None:
    said = read_completion(raw)
    assert (said.reasoning, said.finish_reason, said.unknown_finish) == (WHY, "stop", None)
    assert parse_verdict(said.content) == 1
    assert not any(mark in said.content for mark in ("<|", "｜", "</s>", "think", "[END"))


# (where it was seen, word, what it means)
WORDS = [
    ("OpenAI, docs", "stop", "stop"), ("OpenAI, docs", "length", "length"),
    ("OpenAI, docs", "tool_calls", "tool_calls"),
    ("OpenAI, docs", "content_filter", "content_filter"), ("OpenAI, docs", "function_call", "tool_calls"),
    ("nothing said", None, "stop"), ("dstackai/dstack#2229: SGLang", "", "stop"), ("DashScope, docs", "null", "stop"),
    ("Together, vibrantlabsai/ragas#1548", "eos", "stop"), ("TGI, mistralai/client-python#123", "eos_token", "stop"),
    ("TGI, docs", "stop_sequence", "stop"), ("Anthropic, docs", "end_turn", "stop"),
    ("Anthropic, docs", "max_tokens", "length"), ("Anthropic, docs", "refusal", "content_filter"),
    ("Anthropic, anomalyco/opencode#18918", "model_context_window_exceeded", "length"),
    ("Gemini, docs", "STOP", "stop"), ("Gemini, docs", "MAX_TOKENS", "length"),
    ("Gemini, docs", "SAFETY", "content_filter"), ("Gemini, docs", "RECITATION", "content_filter"),
    ("Gemini, docs", "MALFORMED_FUNCTION_CALL", "tool_calls"),
    ("Gemini, docs", "FINISH_REASON_UNSPECIFIED", "stop"), ("Mistral, docs", "model_length", "length"),
    ("Cohere, docs", "COMPLETE", "stop"), ("Cohere, docs", "ERROR_TOXIC", "content_filter"),
    ("OpenAI Responses, docs", "completed", "stop"), ("OpenAI Responses, docs", "max_output_tokens", "length"),
    ("DeepSeek, docs", "insufficient_system_resource", "error"), ("Zhipu, docs", "sensitive", "content_filter"),
    ("Zhipu, docs", "network_error", "error"), ("Bedrock, docs", "guardrail_intervened", "content_filter"),
    ("LM Studio, docs", "eosFound", "stop"), ("LM Studio, docs", "maxPredictedTokensReached", "length"),
    ("watsonx, foundation-model-stack/fms-guardrails-orchestrator#74", "EOS_TOKEN", "stop"),
    ("vLLM, vllm/v1/engine", "abort", "error"), ("vLLM, vllm/v1/engine", "repetition", "length"),
    ("SGLang, srt/managers", "abort", "error"),
    ("llama.cpp, iimez/lllms", "eogToken", "stop"), ("llama.cpp, server docs", "limit", "length"),
]  # fmt: skip


@pytest.mark.parametrize("where, word, reason", WORDS)
def test_words_for_an_end(where: str, word: object, reason: str) -> None:
    assert finish_of(word) == (reason, None), where


def test_an_unknown_word_is_an_ordinary_end_and_is_named() -> None:
    said = read_completion(body({"content": "true"}, "Fertig"))
    assert (said.finish_reason, said.unknown_finish, said.content) == ("stop", "Fertig", "true")


# (where it was seen, the body, the status that it should have had)
ERRORS: list[tuple[str, object, int]] = [
    ("OpenRouter, docs: errors", {"error": {"code": 402, "message": "Insufficient credits"}, "user_id": "u"}, 402),
    ("OpenRouter, BerriAI/litellm#8448", {"choices": [{"finish_reason": "stop", "message": {"content": None}}],
        "error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "error code: 1015"}}}, 429),
    ("OpenRouter, docs: in the choice", {"choices": [{"finish_reason": "error", "message": {"content": "The"},
        "error": {"code": 502, "message": "Provider disconnected"}}]}, 502),
    ("vLLM < 0.10.1, vllm-project/vllm#12886", {"object": "error", "type": "BadRequestError", "param": None,
        "message": "This model's maximum context length is 2048 tokens.", "code": 400}, 400),
    ("vLLM, foundation-model-stack/fms-guardrails-orchestrator#511", {"error": {
        "message": "This model's maximum context length is 32768 tokens.", "type": "BadRequestError",
        "code": 400}}, 400),
    ("LiteLLM: the code as a string", {"error": {"message": "litellm.RateLimitError: slow down", "type": None,
        "param": None, "code": "429"}}, 429),
    ("LiteLLM: no code", {"error": {"message": "litellm.RateLimitError: slow down", "code": None}}, 429),
    ("OpenAI: a type alone", {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota",
        "code": "insufficient_quota"}}, 402),
    ("Mistral: its own code", {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited",
        "code": "1300"}, 429),
    ("Gemini, continuedev/continue#10560", {"error": {"message": "{\"error\": {\"code\": 429}}", "code": 429,
        "status": "Too Many Requests"}}, 429),
    ("Gemini, google-gemini/gemini-cli#6454: in a list", [{"error": {"code": 429, "message": "Resource exhausted.",
        "status": "RESOURCE_EXHAUSTED"}}], 429),
    ("MiniMax, nearai/ironclaw#1742: login fail", {"choices": None, "base_resp": {"status_code": 1004,
        "status_msg": "login fail: Please carry the API secret key (1004)"}}, 401),
    ("TGI: overloaded", {"error": "Model is overloaded", "error_type": "overloaded"}, 503),
    ("Ollama: an error as text", {"error": "model 'r1' not found, try pulling it first"}, 404),
    ("Azure: the key", {"statusCode": 401, "message": "Access denied due to invalid subscription key"}, 401),
    ("Cloudflare: errors", {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}, 401),
    ("DashScope: a code in words", {"code": "InvalidApiKey", "message": "Invalid API-key provided."}, 401),
    ("Baidu: error_msg", {"error_code": 17, "error_msg": "Open api daily request limit reached"}, 429),
    ("FastAPI in front: detail", {"detail": "Not Found"}, 404),
    ("DeepSeek: broken off for want of resources", {"choices": [{"message": {"content": "tr"},
        "finish_reason": "insufficient_system_resource"}]}, 500),
]  # fmt: skip


@pytest.mark.parametrize("value, status", [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_errors_under_status_200(value: object, status: int) -> None:
    with pytest.raises(ErrorInBody) as told:
        read_completion(json.dumps(value).encode())
    assert told.value.status == status and told.value.message


def test_an_error_in_a_stream_is_an_error() -> None:
    event = json.dumps({"error": {"code": 503, "message": "overloaded"}, "choices": []})
    with pytest.raises(ErrorInBody) as told:
        read_completion(stream({"content": ""}, finish=None) + f"data: {event}\n\n".encode())
    assert told.value.status == 503


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>502</html>", b"null", b"[]", b"{}", b'{"choices": null, "id": null}', b'{"choices": []}', b'{"cho',
     stream({"content": "tr"}, finish=None)],
)  # fmt: skip
def test_what_is_no_completion(raw: bytes) -> None:
    with pytest.raises(NotACompletion):
        read_completion(raw)


@pytest.mark.parametrize(
    "content, expected",
    [
        ("<think>and then it was cut", ("and then it was cut", "")),
        ("[THINK]and then it was cut", ("and then it was cut", "")),
        ("<|channel|>analysis<|message|>and then it was cut", ("and then it was cut", "")),
        ("true\n<think>because</think>", ("because", "true")),
        ("<think>one</think>then<think>two</think>true", ("onethentwo", "true")),
        ("The <reasoning> tag is used in prompts.", ("", "The <reasoning> tag is used in prompts.")),
        ("[True] it is", ("", "[True] it is")),
        ("a < b", ("", "a < b")),
        ("<answer>true</answer>", ("", "<answer>true</answer>")),
        ("analysis of the passage: true", ("", "analysis of the passage: true")),
    ],
)
def test_texts_at_the_edge(content: str, expected: tuple[str, str]) -> None:
    assert split_text(content) == expected


def test_which_texts_are_not_closed() -> None:
    assert is_unclosed("<think>so") and is_unclosed("[THINK]so")
    assert not is_unclosed("<think>so</think>true") and not is_unclosed("so</think>true") and not is_unclosed("true")


WORDS_ONLY = st.text("abcdefghij .,\n'", max_size=60).filter(lambda text: "analysis" not in text)


@given(WORDS_ONLY, WORDS_ONLY, st.sampled_from(TAGS), st.booleans(), st.sampled_from(["", "<|im_end|>", "</s>\n"]))
def test_any_pair_of_tags_splits_alike_with_and_without_the_opening_one(
    reasoning: str, answer: str, tags: tuple[str, str], opened: bool, end: str
) -> None:
    opening, closing = tags
    written = f"{opening if opened else ''}{reasoning}{closing}{answer}{end}"
    assert split_text(written) == (reasoning.strip(), answer.strip())
    assert split_text(split_text(written)[1]) == ("", answer.strip())  # what was read is read the same again


@given(st.text(max_size=80))
def test_end_tokens_are_taken_off_the_end_only(text: str) -> None:
    assert text.strip().startswith(without_end_tokens(text))
    assert without_end_tokens(without_end_tokens(text)) == without_end_tokens(text)
