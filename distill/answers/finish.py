"""The servers' words for how an answer ended, in one vocabulary. Called by every reader of answers.

Sources of the words: the references of OpenAI, Anthropic, Gemini, Mistral, Cohere, DeepSeek, Zhipu, Bedrock, watsonx,
LM Studio, Text Generation Inference, vLLM, SGLang, llama.cpp and Ollama; see tests/base/test_answers.py.
"""

from __future__ import annotations

from typing import Final, Literal

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "error"]
"""`stop`: the model ended by itself; `length`: cut off; `error`: the server broke it off."""

_WORDS: Final[dict[FinishReason, str]] = {
    "stop": (
        "stop null none eos eos_token eosfound eogtoken end end_turn endoftext end_of_text end_of_sequence complete "
        "completed success finish finished done normal stop_sequence stopsequence stop_token stop_string "
        "stopstringfound stoptrigger stop_str matched_stop word finish_reason_stop finish_reason_unspecified"
    ),
    "length": (
        "length max_tokens max_token maxtokens max_output_tokens max_output max_length maximum_tokens max_new_tokens "
        "maxpredictedtokensreached model_length token_limit limit context_length contextlengthreached incomplete "
        "repetition context_window_exceeded model_context_window_exceeded error_limit finish_reason_max_tokens"
    ),
    "content_filter": (
        "content_filter content_filtered contentfilter content-filter safety sensitive recitation blocklist blacklist "
        "prohibited_content spii model_armor guardrail_intervened guardrails refusal error_toxic language image_safety "
        "content_policy moderation"
    ),
    "tool_calls": (
        "tool_calls tool_call tool_use tool-calls tool_code function_call functioncall malformed_function_call "
        "unexpected_tool_call pause_turn"
    ),
    "error": (
        "error failed abort aborted abort_request cancel canceled cancelled user_cancel userstopped modelunloaded "
        "timeout time_limit network_error insufficient_system_resource not_finished"
    ),
}
_KNOWN: Final[dict[str, FinishReason]] = {word: reason for reason, words in _WORDS.items() for word in words.split()}


def finish_of(word: object) -> tuple[FinishReason, str | None]:
    """(reason, the word itself where it is unknown). No word and an unknown word are an ordinary end: `stop`."""
    if word == "stop" or word is None:
        return "stop", None
    text = str(word).strip()
    reason = _KNOWN.get(text.lower())
    return ("stop", text or None) if reason is None else (reason, None)
