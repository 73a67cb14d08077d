"""Reads one message of an answer, whatever its server's form. Called by `distill.answers.body` and `distill validate`.

Content is a string, or parts as OpenAI, Anthropic, Mistral and Gemini write them. Reasoning is in a field, in parts, in
tags within the text, or in several of these.
"""

from __future__ import annotations

import json
from typing import Final

from distill.answers import JsonObject, JsonValue
from distill.answers.text import split_reasoning

# vLLM before 0.12, SGLang, llama.cpp, DeepSeek; vLLM, Ollama, Groq, OpenRouter; Ollama's own interface; Copilot;
# OpenRouter; LiteLLM.
REASONING_FIELDS: Final = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_text",
    "reasoning_details",
    "thinking_blocks",
)
_THOUGHT_TYPES: Final = ("thinking", "reasoning", "thought", "reasoning.text", "reasoning.summary", "summary_text")
_TEXT_KEYS: Final = ("text", "thinking", "reasoning", "summary", "content", "refusal", "value", "parts")


def read_message(message: JsonObject) -> tuple[str, str]:
    """(reasoning, answer) of a chat message. A refusal in a field of its own is the answer."""
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(content, str) and content and (reasoning is None or isinstance(reasoning, str)):
        return split_reasoning(reasoning or reasoning_field(message), content)
    thought, answer = read_parts(content)
    if not answer.strip():
        answer = _text(message.get("refusal"))
    return split_reasoning("\n\n".join(part for part in (reasoning_field(message), thought) if part), answer)


def reasoning_field(message: JsonObject) -> str:
    """The reasoning of the first field that holds some, LiteLLM's `provider_specific_fields` last; else ""."""
    for name in REASONING_FIELDS:
        if (value := message.get(name)) and (text := _text(value).strip()):
            return text
    inner = message.get("provider_specific_fields")
    return reasoning_field(inner) if isinstance(inner, dict) else ""


def read_parts(content: JsonValue) -> tuple[str, str]:
    """(reasoning, answer) of a message's content: parts, a string, or a JSON value that the server has parsed."""
    if content is None or isinstance(content, str):
        return "", content or ""
    if isinstance(content, dict):
        content = [content] if "type" in content else content.get("parts", [json.dumps(content, ensure_ascii=False)])
    if not isinstance(content, list):
        return "", json.dumps(content)
    thoughts, answers = [], []
    for part in content:
        if isinstance(part, dict) and (part.get("type") in _THOUGHT_TYPES or part.get("thought") is True):
            thoughts.append(_text(part))
        else:
            answers.append(_text(part))
    return "\n".join(text for text in thoughts if text.strip()), "".join(answers)


def _text(value: JsonValue) -> str:
    """The text of a part, of a list of parts, or of a string; "" for what holds none (images, encrypted reasoning)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(part) for part in value)
    if isinstance(value, dict):
        return next((text for key in _TEXT_KEYS if (text := _text(value.get(key)))), "")
    return ""
