"""Splits a written answer, explanation first and verdict last, into reasoning and verdict. For `teacher`.

`teacher.elicit: written` asks for it (`distill.prompts.teacher_prompt`); published answers often have this form too.
The journal keeps what the teacher wrote; it is split where it is read.
"""

from __future__ import annotations

import re
from dataclasses import replace

from distill.prompts import PROMPT_NAME, Elicit
from distill.records import Answer
from distill.verdicts import parse_verdict

LONGEST_VALUE = 60  # characters of what a label names: "false.", "No, it is not relevant."
_LABEL = re.compile(  # "Verdict:", "**Final answer:**", "[Guess]:", at the beginning of a line or of a sentence
    r"(?:^|(?<=[.!?)\]\"'*]))[^\w\n]{0,12}(?:(?:so|therefore|thus|my|the|final|overall|relevance),? ){0,3}"
    r"(?:verdict|answer|guess|judge?ment|decision|conclusion|label|result|grade|score|rating)\b[^\w\n:=]{0,6}[:=]",
    re.IGNORECASE | re.MULTILINE,
)
_VALUE = re.compile(r"\W*([^\n]+?)(?=[.!?](?:\s|\W*$)|\n|\Z)")
_HEADING = re.compile(
    r"\A\W*(?:reason(?:s|ing)?|explanation|analysis|rationale|thoughts?|justification)\b[^\w\n:]{0,6}:\W*",
    re.IGNORECASE,
)
_LAST_SENTENCE = re.compile(r"(?:\n+|[.!?][\"')*]{0,3}\s+)(?=\S[^\n]*\Z)")


def split_written(text: str, prompt: str = PROMPT_NAME) -> tuple[str, str]:
    """(explanation, the rest with the verdict) of an answer.

    The rest begins at the first label that names a verdict, else at a last sentence that says one. There is no
    explanation where the verdict comes first, and where no verdict can be read.
    """
    text = text.strip()
    for label in _LABEL.finditer(text):
        value = _VALUE.match(text, label.end())
        if value and len(value[1]) <= LONGEST_VALUE and parse_verdict(f"Verdict: {value[1]}", prompt) is not None:
            return _explanation(text[: label.start()]), text[label.start() :].strip()
    verdict = parse_verdict(text, prompt)
    last = _last_sentence(text)
    if verdict is not None and last and parse_verdict(text[last:], prompt) == verdict:
        return _explanation(text[:last]), text[last:].strip()
    return "", text


def as_traced(answer: Answer, elicit: Elicit, prompt: str = PROMPT_NAME) -> Answer:
    """The answer as a trace holds it: of a written one, explanation and verdict apart, after what the model thought."""
    if elicit == "native":
        return answer
    explanation, content = split_written(answer.content, prompt)
    thought = "\n\n".join(part for part in (answer.reasoning, explanation) if part)
    begin = answer.content.rfind(content)
    words = answer.words and [word._replace(at=word.at - begin) for word in answer.words if word.at >= begin]
    return replace(answer, reasoning=thought, content=content, words=words)


def _explanation(text: str) -> str:
    return _HEADING.sub("", text).strip().removesuffix("**").strip()


def _last_sentence(text: str) -> int:
    """Where the last sentence begins; 0 where it is the only one."""
    start = 0
    for boundary in _LAST_SENTENCE.finditer(text):
        start = boundary.end()
    return start
