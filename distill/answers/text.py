"""Takes the reasoning out of a text, and end tokens off it. Called by `distill.answers.message`, the verdict parser
and `distill validate`.

Read are pairs of tags (`<think>`, `[THINK]`, …), also without the opening one, and the channels of gpt-oss. Not read:
tags that a user has invented (`<analysis>`), since an answer may use them as well.
"""

from __future__ import annotations

import re
from typing import Final

from distill.prompts import END_THINK, THINK

# (opening, closing): most; Claude, Reflection; prompts; Gemini, EXAONE; Magistral; Kimi; Seed-OSS; Cohere; Gemma 4
TAGS: Final = (
    (THINK, END_THINK),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
)
_ANY_TAG: Final = re.compile("|".join(re.escape(tag) for pair in TAGS for tag in pair), re.IGNORECASE)
_CLOSING: Final = {opening.lower(): closing for opening, closing in TAGS}
_CHANNEL: Final = re.compile(r"(?:<\|channel\|>|\A)\s*(analysis|commentary|final)\b[^<]{0,200}<\|message\|>")
_MESSAGE_ENDS: Final = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_NO_TOKENS: Final = re.compile(r"\Aanalysis(.+?)assistantfinal(.*)\Z", re.DOTALL)
_END_TOKENS: Final = re.compile(
    r"(?:\s*(?:<\|(?!END_THINKING)[\w ▁-]{1,40}\|?>|<｜[^｜<>\n]{1,40}｜>|</s>|<(?:seed:)?eos>|<EOT>|<EOS_TOKEN>"
    r"|<end_of_turn>|<end_of_utterance>"
    r"|<turn\|>|<extra_id_1>|\[EOS\]|\[e~\[|\[\|endofturn\|\]))+\s*\Z"
)
END: Final = 200  # characters, in which one end token at least is whole
_WRAPPED: Final = re.compile(
    r"\A(?:<\|START_RESPONSE\|>|\[BEGIN FINAL RESPONSE\])\s*(.*?)\s*(?:<\|END_RESPONSE\|>|\[END FINAL RESPONSE\])?\Z",
    re.DOTALL,
)


def split_reasoning(reasoning: str | None, content: str | None) -> tuple[str, str]:
    """(reasoning, answer) of a message whose server gives reasoning in a field, in tags, or in both.

    An opening tag that nothing closes is followed by reasoning only: the answer was cut off, and so is "".
    """
    thought, answer = split_text(content or "")
    if not reasoning or not reasoning.strip():
        return thought, answer
    field, rest = split_text(reasoning)
    if not field:
        field, rest = rest, ""
    if not answer:
        answer = rest
    elif rest and rest != answer:
        field = f"{field}\n{rest}"
    if not thought or thought in field:
        return field, answer
    return (thought if field in thought else f"{field}\n\n{thought}"), answer


def split_text(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a text as the model wrote it, without end tokens."""
    text = without_end_tokens(text)
    if not ("<" in text or "[/T" in text or "[T" in text or "◁" in text or text.startswith("analysis")):
        return "", text
    if "<|message|>" in text and (channels := _channels(text)) is not None:
        return channels
    if unmarked := _NO_TOKENS.match(text):
        return unmarked[1].strip(), unmarked[2].strip()
    first = _ANY_TAG.search(text)
    if first is None:
        return "", text
    opening, closing = _pair_of(first[0])
    before, middle = text[: first.start()], text[first.start() :]
    close = _last(middle, closing)
    if close < 0:
        return (middle[len(opening) :].strip(), "") if not before.strip() else ("", text)
    answer = _unwrapped(middle[close + len(closing) :])
    if first[0].lower() == closing.lower():  # the opening tag was in the prompt
        return _without_tags(before + middle[:close], opening, closing), answer
    thought = _without_tags(middle[:close], opening, closing)
    if not before.strip():
        return thought, answer
    return (thought, before.strip()) if not answer else (f"{before.strip()}\n{thought}", answer)


def is_unclosed(text: str) -> bool:
    """Whether a text opens its reasoning and does not close it."""
    first = _ANY_TAG.search(text)
    closing = _CLOSING.get(first[0].lower()) if first else None
    return closing is not None and _last(text, closing) < 0


def without_end_tokens(text: str) -> str:
    """`text` without the control tokens that a server has left at its end, and without white space around it."""
    text = text.strip()
    while text.endswith((">", "]", "[")):
        tail = text[-END:]  # the pattern is tried at each place
        shorter = _END_TOKENS.sub("", tail)
        if shorter == tail:
            break
        text = text[:-END] + shorter
    return text


def _channels(text: str) -> tuple[str, str] | None:
    """gpt-oss's channels (harmony): the last `final` is the answer, the others are reasoning."""
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return None
    thoughts, answer = [], ""
    for index, channel in enumerate(channels):
        end = channels[index + 1].start() if index + 1 < len(channels) else len(text)
        body = _MESSAGE_ENDS.split(text[channel.end() : end], maxsplit=1)[0].strip()
        if channel[1] == "final":
            answer = body
        else:
            thoughts.append(body)
    return "\n".join(thoughts).strip(), answer


def _pair_of(tag: str) -> tuple[str, str]:
    closing = _CLOSING.get(tag.lower())
    if closing is not None:
        return tag, closing
    return next(pair for pair in TAGS if pair[1].lower() == tag.lower())


def _last(text: str, tag: str) -> int:
    """Where the last `tag` begins, -1 without one."""
    place = text.rfind(tag)
    return place if place >= 0 else text.lower().rfind(tag)


def _without_tags(text: str, opening: str, closing: str) -> str:
    text = text.replace(opening, "").replace(closing, "")
    return (_ANY_TAG.sub("", text) if opening != opening.lower() else text).strip()


def _unwrapped(answer: str) -> str:
    """The answer out of its own frame: Cohere's response tokens, Apriel's final response."""
    answer = answer.strip()
    wrapped = _WRAPPED.match(answer) if answer.startswith(("<|", "[B")) else None
    return wrapped[1] if wrapped else answer
