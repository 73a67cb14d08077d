"""The example's teacher: rules that read a prompt, reason in words, and err at rates that are set.

It sees the text of the message and nothing else. Where query and passage speak the world's language it
goes through the conditions in the query's order, quotes what the passage says to each, stops at the first that fails
and ends with a verdict. Other text it answers in the same form by word overlap; such verdicts are worthless.

Every choice it makes is drawn from a hash of the message and the request's `seed`: equal requests get equal
answers in any order and from any number of servers.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from distill.example.vocabulary import BOUNDS, KINDS, PLACES, compare

FAULTS = ("wrong", "truncated", "empty", "unclosed", "chinese", "loop")


class TeacherSettings(BaseModel):
    """How the teacher answers, how often it errs (at most one fault an answer), how slow it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "example-teacher"
    reasoning_format: Literal["reasoning_content", "reasoning", "inline"] = "reasoning_content"
    api_key: str | None = None
    seed: int = 0
    wrong: float = Field(0.0, ge=0, description="a condition is misread, and the verdict with it")
    truncated: float = Field(0.0, ge=0, description='stops in the middle: finish_reason "length", no verdict')
    empty: float = Field(0.0, ge=0, description="no text at all")
    unclosed: float = Field(0.0, ge=0, description="the reasoning is never closed, so there is no answer beside it")
    chinese: float = Field(0.0, ge=0, description="a stray Chinese sentence in English reasoning")
    loop: float = Field(0.0, ge=0, description="one sentence again and again")
    latency_s: float = Field(0.0, ge=0, description="the mean; 0 answers at once")
    latency_sigma: float = Field(0.5, ge=0, description="of the log-normal that latencies are drawn from")

    @model_validator(mode="after")
    def _at_most_one_fault(self) -> TeacherSettings:
        total = sum(getattr(self, fault) for fault in FAULTS)
        if total > 1:
            raise ValueError(f"the rates of {', '.join(FAULTS)} are {total:g} together; at most 1 is possible")
        return self


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is put into a format. `fault` says what went wrong on purpose; it never travels."""

    reasoning: str
    verdict: str  # "true", "false", or "" where the answer has none
    closed: bool  # whether the reasoning came to its end
    finish_reason: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing to check: what is wanted, what the passage says, whether that fits."""

    wanted: str
    found: str
    holds: bool


_FRAME = re.compile(r"\nQuery: (.*?)\nPassage: (.*)\Z", re.DOTALL)
_WORD = re.compile(r"[a-z0-9]{3,}")
_THING = re.compile(rf"\b({'|'.join(k.name for k in KINDS)})\b")
_PLACE = re.compile(rf"\b(?:in|near|at|around) ({'|'.join(PLACES)})\b")


def _alternatives(phrases: list[str]) -> str:
    return "|".join(sorted((re.escape(p) for p in phrases), key=len, reverse=True))


_ASKED = {p: (t.key, True) for k in KINDS for t in k.topics for p in t.wanted} | {
    p: (t.key, False) for k in KINDS for t in k.topics for p in t.unwanted
}
_SAID = {p: (t.key, True) for k in KINDS for t in k.topics for p in t.holds} | {
    p: (t.key, False) for k in KINDS for t in k.topics for p in t.fails
}
_BOUND = f"({_alternatives(list(BOUNDS))}) ([0-9]+)"
_ASK = re.compile(
    rf"\b(?:({_alternatives(list(_ASKED))})|(?:"
    + "|".join(k.measure.asked.replace("{bound}", _BOUND) for k in KINDS)
    + r"))\b"
)
_SAY = re.compile(rf"\b(?:{_alternatives(list(_SAID))})\b")
_STATED = dict.fromkeys(form.replace("{n}", "([0-9]+)") for k in KINDS for form in k.measure.stated)
_NUMBER = re.compile(rf"\b(?:{'|'.join(_STATED)})\b")

# How a trace opens: kind and place are checked first.
_OPENINGS = ("", "Okay. ")
# What a finding comes to. Four words, not two, so that each follows from what is wanted plus what is said; with only
# "yes" and "no" the judgement is an exclusive or of two far words, which small students learn late or never.
_STATES = {(True, True): "met", (True, False): "missed", (False, True): "faced", (False, False): "avoided"}
_LIMITS = {("<", True): "within", ("<", False): "beyond", (">", True): "enough", (">", False): "short"}
_CHINESE = ("等等，让我再看一遍这段话。", "这个条件看起来没有问题。", "我们需要仔细检查这一点。")


def _steps(query: str, passage: str) -> list[_Step] | None:
    """The checks in order, the thing itself first; None where the text is not of the world."""
    wanted_thing, wanted_place = _THING.search(query), _PLACE.search(query)
    given_thing, given_place = _THING.search(passage), _PLACE.search(passage)
    if not (wanted_thing and wanted_place and given_thing and given_place):
        return None
    steps = [
        _Step(f"Wanted {want[1]}, ", f"found {got[1]}", want[1] == got[1])
        for want, got in ((wanted_thing, given_thing), (wanted_place, given_place))
    ]
    said = {_SAID[phrase][0]: phrase for phrase in _SAY.findall(passage)}
    number = _NUMBER.search(passage)
    for match in _ASK.finditer(query):
        if match[1]:
            key, good = _ASKED[match[1]]
            phrase = said.get(key)
            found = "nothing is said" if phrase is None else f"{phrase}, so {_STATES[good, _SAID[phrase][1]]}"
            holds = phrase is not None and _SAID[phrase][1] is good
            steps.append(_Step(f"{'Wanted' if good else 'Unwanted'} {key}: ", found, holds))
            continue
        bound, threshold = [group for group in match.groups() if group is not None]
        found, holds = "nothing is said", False
        if number:
            value = _value(number)
            holds = compare(value, bound, int(threshold))
            relation = "more" if value > int(threshold) else "less" if value < int(threshold) else "equal"
            found = f"{number[0]}, so {relation}, {_LIMITS[BOUNDS[bound], holds]}"
        steps.append(_Step(f"Wanted {match[0].rsplit(' ', 1)[0]}: ", found, holds))
    return steps if len(steps) > 2 else None


def _value(number: re.Match[str]) -> int:
    return int(next(group for group in number.groups() if group is not None))


def _by_overlap(query: str, passage: str) -> tuple[list[str], bool]:
    """Sentences and a verdict for text that is not of the world: the share of the query's words in the passage."""
    words = list(dict.fromkeys(_WORD.findall(query.lower())))
    there = set(_WORD.findall(passage.lower()))
    found = [word for word in words if word in there]
    verdict = len(found) * 2 >= len(words) > 0
    sentences = [f"The query speaks of {', '.join(words[:12]) or 'nothing that I know'}."]
    sentences.append(f"The passage mentions {', '.join(found[:12]) or 'none of it'}.")
    sentences.append(
        f"That is {len(found)} of {len(words)} words, so it is {'likely' if verdict else 'hardly'} relevant."
    )
    return sentences, verdict


class Teacher:
    """Answers prompts by rules."""

    def __init__(self, settings: TeacherSettings) -> None:
        """Keep the settings; there is no other state."""
        self.settings = settings

    def reply(self, message: str, seed: int | None = None) -> Reply:
        """The answer to one chat message."""
        key = f"{self.settings.seed}\0{seed}\0{message}".encode()
        draws = hashlib.blake2b(key, digest_size=16).digest()
        fault = self._fault(int.from_bytes(draws[:6]) / 2**48)
        if fault == "empty":
            return Reply("", "", True, "stop", fault)
        sentences, verdict = self._reason(message, draws, fault == "wrong")
        pick = int.from_bytes(draws[8:12])
        if fault == "chinese":
            sentences.insert(1 + pick % len(sentences), _CHINESE[pick % len(_CHINESE)])
        elif fault == "loop":
            sentences[-1:] = [sentences[-1]] * (8 + pick % 17)
        reasoning = " ".join(sentences)
        if fault == "truncated":
            cut = len(reasoning) * (20 + pick % 70) // 100
            return Reply(reasoning[:cut], "", False, "length", fault)
        return Reply(reasoning, "true" if verdict else "false", fault != "unclosed", "stop", fault)

    def _fault(self, draw: float) -> str | None:
        for fault in FAULTS:
            draw -= getattr(self.settings, fault)
            if draw < 0:
                return fault
        return None

    @staticmethod
    def _reason(message: str, draws: bytes, wrong: bool) -> tuple[list[str], bool]:
        frame = _FRAME.search(message)
        query, passage = frame.groups() if frame else ("", message)
        steps = _steps(query, passage)
        if steps is None:
            sentences, verdict = _by_overlap(query, passage)
            return sentences, verdict is not wrong
        judged = [step.holds for step in steps]
        if wrong and all(judged):  # one condition is misread as failing
            judged[draws[6] % len(steps)] = False
        elif wrong:  # whatever fails is read as holding
            judged = [True] * len(steps)
        sentences = []
        for step, holds in zip(steps, judged, strict=True):
            sentences.append(f"{step.wanted}{step.found}: {'good' if holds else 'bad'}.")
            if not holds:
                break
        sentences[0] = _OPENINGS[draws[7] % len(_OPENINGS)] + sentences[0]
        return sentences, all(judged)
