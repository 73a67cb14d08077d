"""What a row of anybody's dataset says, whatever its columns are called: prompt, reasoning, answer, verdict.

Recognised, in this order: columns of reasoning and answer (ours, and their usual names elsewhere), or of an answer that
holds its think block; prompt and completion, as text or as messages; messages or conversations; instruction, input and
output (Rank1's published data).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distill.answers.message import read_message, reasoning_field
from distill.answers.text import is_unclosed, split_text
from distill.prompts import END_THINK, PROMPTS, THINK, prompt_in, rank1_prompt
from distill.verdicts import parse_verdict

ALIASES = {
    "query": ("query", "question"),
    "passage": ("passage", "document", "text", "doc", "contents"),
    "instruction": ("instruction",),
    "reasoning": ("reasoning", "reasoning_content", "thinking", "think", "trace", "rationale", "explanation"),
    "answer": ("answer", "content", "verdict", "judgment", "judgement", "response"),
    "verdict": ("verdict",),
    "prompt": ("prompt",),
    "completion": ("completion",),
    "messages": ("messages", "conversations"),
    "input": ("input",),
    "output": ("output",),
    "label": ("label",),
    "relevant_from": ("relevant_from",),
    "finish_reason": ("finish_reason",),
    "target": ("target",),
}
NAMES = tuple(ALIASES)
_USUAL = {"yes": 1, "no": 0, "relevant": 1, "not relevant": 0, "irrelevant": 0}


@dataclass(frozen=True, slots=True)
class Seen:
    """A row, understood. `verdict` is None where it cannot be read, `unclosed` where `</think>` is missing; `prompt`
    and `completion` are what a student would read and write."""

    shape: str
    reasoning: str
    answer: str
    verdict: int | None
    prompt: str | None
    completion: str | None
    query: str | None = None
    passage: str | None = None
    instruction: str | None = None
    label: int | None = None
    relevant_from: int = 1
    finish_reason: str | None = None
    target: str | None = None
    unclosed: bool = False


def find_columns(columns: set[str], named: Mapping[str, str]) -> dict[str, str]:
    """Our name -> theirs, of the columns that there are; `named` are those that the user has said."""
    found = {}
    for ours, names in ALIASES.items():
        wanted = (named[ours],) if ours in named else names
        name = next((name for name in wanted if name in columns), None)
        if name is not None:
            found[ours] = name
    return found


def understand(values: Mapping[str, Any], columns: Mapping[str, str]) -> Seen | str:
    """The row, or which columns are missing in it. `columns` is what `find_columns` returned."""
    got = {ours: values.get(theirs) for ours, theirs in columns.items()}
    texts = ("query", "passage", "instruction", "finish_reason", "target")
    context: dict[str, Any] = {name: _text(got.get(name)) for name in texts}
    context["label"] = got["label"] if isinstance(got.get("label"), int) else None
    context["relevant_from"] = got["relevant_from"] if isinstance(got.get("relevant_from"), int) else 1
    if "reasoning" in got and ("answer" in got or "verdict" in got):
        return _columns(got, context)
    answer = _text(got.get("answer")) or ""
    if "reasoning" not in got and (is_unclosed(answer) or split_text(answer)[0]):
        prompt = _flat(got.get("prompt")) or _asked(context)
        return _written("answer with its think block", prompt, answer, context)
    if "prompt" in got and "completion" in got:
        prompt, completion = _flat(got["prompt"]), _flat(got["completion"])
        return _written("prompt and completion", prompt, completion, context)
    turns = got.get("messages")
    if isinstance(turns, list):
        last = turns[-1] if turns and isinstance(turns[-1], Mapping) else {}
        asked = turns if last.get("role", last.get("from")) in ("user", "human", "system", None) else turns[:-1]
        return _written("messages", _flat(asked), _flat(turns[len(asked) :]), context)
    if "input" in got and "output" in got:
        context["instruction"] = None
        prompt = "\n".join(part for part in (_text(got.get("instruction")), _text(got["input"])) if part)
        return _written("instruction, input, output", prompt, _text(got["output"]) or "", context)
    return _missing(columns)


def _columns(got: dict[str, Any], context: dict[str, Any]) -> Seen:
    """Columns of reasoning and answer; a verdict column wins over the answer's words."""
    answer = got.get("answer")
    prompt, completion = _flat(got.get("prompt")), _flat(got.get("completion"))
    prompt = prompt or _asked(context)
    verdict = _verdict(got["verdict"] if got.get("verdict") is not None else answer, prompt_in(prompt))
    column = got["reasoning"]
    said = {"reasoning": column, "content": None if isinstance(answer, bool | int | float) else answer}
    reasoning, read = read_message(said)  # a whole answer may be in the reasoning's column
    return Seen(
        "reasoning and answer",
        reasoning,
        read or _text(answer) or "",
        verdict,
        prompt,
        completion,
        **context,
        unclosed=isinstance(column, str) and is_unclosed(column),
    )


def _asked(context: Mapping[str, Any]) -> str | None:
    query, passage = context["query"], context["passage"]
    return rank1_prompt(query, passage, context["instruction"]) if query and passage else None


def _written(shape: str, prompt: str | None, completion: str | None, context: dict[str, Any]) -> Seen:
    """A prompt and what follows it; the think block may open at the prompt's end."""
    prompt, completion = prompt or "", completion or ""
    opened = prompt.rstrip().endswith(THINK)
    whole = f"{THINK}{completion}" if opened and not completion.lstrip().startswith(THINK) else completion
    reasoning, answer = split_text(whole)
    asked = prompt_in(prompt)
    if whole.partition(END_THINK)[0].strip() in (THINK, "") and END_THINK in whole:
        answer = whole.rpartition(END_THINK)[2]
        first, newline, rest = answer.strip().partition("\n")
        if newline and _verdict(first, asked) is not None:  # verdict first, reasoning after
            reasoning, answer = rest.strip(), first
    return Seen(
        shape, reasoning, answer, _verdict(answer, asked), prompt, completion, **context, unclosed=is_unclosed(whole)
    )


def _missing(columns: Mapping[str, str]) -> str:
    if "reasoning" in columns:
        return "no column of the answer or verdict; name it with --columns answer=NAME"
    if "answer" in columns or "verdict" in columns:
        return "no column of the reasoning; name it with --columns reasoning=NAME"
    return "no columns of reasoning and answer, prompt and completion, messages, or input and output; see --columns"


def _flat(value: Any) -> str | None:
    """A text, or messages as one text; separate reasoning is put where it was written, in a think block."""
    if not isinstance(value, list):
        return _text(value)
    parts = []
    for turn in value:
        if not isinstance(turn, dict):
            continue
        content = turn.get("content", turn.get("value"))
        if isinstance(content, list) or reasoning_field(turn):
            reasoning, content = read_message({**turn, "content": content})
            content = f"{THINK}\n{reasoning}\n{END_THINK} {content}" if reasoning else content
        parts.append(_text(content) or "")
    return "\n".join(parts)


def _text(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else str(value)


def _verdict(value: Any, asked: str) -> int | None:
    """A grade from a number, a truth value, or an answer's words: those of the prompt that was `asked`.

    Apart from true and false also yes, no and relevant when alone.
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return int(value) if value == int(value) and value >= 0 else None
    if not isinstance(value, str):
        return None
    said = parse_verdict(value, asked)
    if said is not None or len(PROMPTS[asked].verdicts) > 2:
        return said
    return _USUAL.get(re.sub(r"[^a-z ]", "", value.strip().lower()))
