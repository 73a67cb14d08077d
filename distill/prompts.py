"""The prompt, the student's format, and how an answer is read: one place for teacher, training and scoring.

The prompt is Rank1's (arXiv 2502.18418), byte for byte. In it nothing but words separates query, instruction and
passage: a passage that writes "Query:" on a line of its own is believed or not by the model, which is measured, not
promised. What is promised: no text of a query or passage becomes a control token (`as_data`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

THINK, END_THINK = "<think>", "</think>"
TRUE, FALSE = " true", " false"
TARGETS = ("think", "direct", "verdict_first", "mixed")
PROMPT_NAME = "rank1"

_FRAME = (
    "Determine if the following passage is relevant to the query. "
    "Answer only with 'true' or 'false'.\nQuery: {query}\nPassage: {passage}"
)

# Control tokens of the model families that this pipeline meets: Qwen/ChatML and Llama-3 <|...|>, DeepSeek's
# full-width <｜...｜>, Llama-2/Mistral, Gemma, BERT-likes, and the think tags.
_CONTROL = re.compile(
    r"<(?=\|[^|<>\n]{1,64}\|>|｜[^｜<>\n]{1,64}｜>|/?(?:think|s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|tool_call|"
    r"tool_response|answer|im_start|im_end|endoftext)>)|\[(?=/?INST\]|(?:CLS|SEP|PAD|MASK|UNK)\])",
    re.IGNORECASE,
)


def as_data(text: str) -> str:
    """`text` with every control token broken by a space ("<think>" -> "< think>"), all else byte for byte.

    Not covered: control tokens of families not listed above; `sft` and `rerank` therefore also check the token ids.
    """
    return _CONTROL.sub(lambda match: match.group() + " ", text)


def teacher_prompt(query: str, passage: str, instruction: str | None = None) -> str:
    """The chat message to the teacher: Rank1's prompt without its `<think>`."""
    asked = f"{query} {instruction}" if instruction else query
    return _FRAME.format(query=as_data(asked), passage=as_data(passage))


def rank1_prompt(query: str, passage: str, instruction: str | None = None) -> str:
    """What a student reads, in training and at work; ends in `<think>`."""
    return f"{teacher_prompt(query, passage, instruction)}\n{THINK}"


def completion(target: str, reasoning: str, verdict: int) -> str:
    """What a student writes after the prompt's `<think>`, without the end-of-text token.

    Raises ValueError for `mixed`, which is two completions (`think` and `direct`), and for unknown targets.
    """
    word = TRUE if verdict else FALSE
    if target == "think":
        return f"\n{reasoning}\n{END_THINK}{word}"
    if target == "direct":
        return f"\n{END_THINK}{word}"
    if target == "verdict_first":
        return f"\n{END_THINK}{word}\n{reasoning}"
    raise ValueError(f"no completion for target {target!r}")


def split_reasoning(reasoning: str | None, content: str | None) -> tuple[str, str]:
    """(reasoning, answer) of a teacher's message, whichever way the server returns reasoning.

    A separate field wins; otherwise an inline `<think>…</think>` block is taken out. An opened block that never
    closes is all reasoning with an empty answer (the answer was cut off), and so has no verdict.
    """
    body = content or ""
    if reasoning and reasoning.strip():
        return reasoning.strip(), body.strip()
    head, closed, tail = body.rpartition(END_THINK)
    if closed:
        return head.replace(THINK, "", 1).replace(END_THINK, "").strip(), tail.strip()
    if body.lstrip().startswith(THINK):
        return body.lstrip()[len(THINK) :].strip(), ""
    return "", body.strip()


_WORD = r"(true|false|yes|no)"
_BARE = re.compile(rf"^[\W_]*{_WORD}(?:\s*\(\d+\))?[\W_]*$", re.IGNORECASE)
_NAMED = re.compile(
    rf"(?:answer|verdict|relevan(?:t|ce)|conclusion|final)\W{{0,12}}(?:is\W{{1,4}})?[\W_]{{0,4}}\b{_WORD}\b(?!\s*(?:or|/)\s)",
    re.IGNORECASE,
)


def parse_verdict(content: str) -> int | None:
    """1 for true or yes, 0 for false or no, None when the answer does not say one of them plainly.

    Accepted: the bare word with any markup or punctuation, a grade in brackets after it ("yes(2)", as TFRank writes);
    the bare word as the first or last line; "answer: true". Two that contradict one another are not a verdict. Reads
    5,630 of the 5,630 readable answers of TFRank's and DIRAS's published traces.
    """
    lines = [line for line in content.strip().splitlines() if line.strip()]
    if not lines:
        return None
    words = [m.group(1) for line in (lines[0], lines[-1]) if (m := _BARE.match(line))] + _NAMED.findall(content)
    said = {int(word.lower() in ("true", "yes")) for word in words}
    return said.pop() if len(said) == 1 else None


def prompt_ids(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of student prompts, in which the last token is the only control token, whatever the texts hold.

    `as_data` has broken the known families' control tokens; one of another family, should the tokenizer have it, is
    spelled out here (its first character and the rest apart). In training and at work alike.
    """
    rows: list[list[int]] = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    control = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    if not control:
        return rows
    for at, row in enumerate(rows):
        if any(token in control for token in row[:-1]):
            rows[at] = [piece for token in row[:-1] for piece in _plain(tokenizer, token, control)] + row[-1:]
    return rows


def _plain(tokenizer: Any, token: int, control: set[int]) -> list[int]:
    if token not in control:
        return [token]
    text = tokenizer.convert_ids_to_tokens(token)
    parts: list[int] = tokenizer.encode(text[:1], add_special_tokens=False)
    return parts + tokenizer.encode(text[1:], add_special_tokens=False)


def suffix_ids(tokenizer: Any) -> tuple[int, int]:
    """Token ids of " true" and " false" as they stand after `</think>`.

    Raises ValueError when either is not exactly one token there, or the text before it is not tokenised alike:
    a score read at another token is silent garbage.
    """
    head = tokenizer.encode(f"{THINK}\n{END_THINK}", add_special_tokens=False)
    ids = []
    for word in (TRUE, FALSE):
        whole = tokenizer.encode(f"{THINK}\n{END_THINK}{word}", add_special_tokens=False)
        if whole[: len(head)] != head or len(whole) != len(head) + 1:
            raise ValueError(
                f"{word!r} after {END_THINK} is {whole[len(head) :]} in this tokenizer, not one token of its own"
            )
        ids.append(whole[-1])
    return ids[0], ids[1]
