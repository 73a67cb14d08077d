"""How the example's teacher reads: what a query demands and what a passage says to it, in the world's own words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from distill.example.vocabulary import BOUNDS, KINDS, PLACES, compare
from distill.prompts import END_FIELD, INSTRUCTION, PASSAGE, QUERY


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to check: what is wanted, what the passage says, whether that fits."""

    wanted: str
    found: str
    holds: bool


_FRAME = re.compile(r"\nQuery: (.*?)\nPassage: (.*)\Z", re.DOTALL)
_FIELDED = re.compile(
    rf"\n{re.escape(QUERY)}(.*?){re.escape(END_FIELD)}"
    rf"(?:\n{re.escape(INSTRUCTION)}(.*?){re.escape(END_FIELD)})?"
    rf"\n{re.escape(PASSAGE)}(.*){re.escape(END_FIELD)}\Z",
    re.DOTALL,
)
WORD = re.compile(r"[a-z0-9]{3,}")
THING = re.compile(rf"\b({'|'.join(k.name for k in KINDS)})\b")
PLACE = re.compile(rf"\b(?:in|near|at|around) ({'|'.join(PLACES)})\b")


def _alternatives(phrases: list[str]) -> str:
    return "|".join(sorted((re.escape(p) for p in phrases), key=len, reverse=True))


ASKED = {p: (t.key, True) for k in KINDS for t in k.topics for p in t.wanted} | {
    p: (t.key, False) for k in KINDS for t in k.topics for p in t.unwanted
}
SAID = {p: (t.key, True) for k in KINDS for t in k.topics for p in t.holds} | {
    p: (t.key, False) for k in KINDS for t in k.topics for p in t.fails
}
_BOUND = f"({_alternatives(list(BOUNDS))}) ([0-9]+)"
ASK = re.compile(
    rf"\b(?:({_alternatives(list(ASKED))})|(?:"
    + "|".join(k.measure.asked.replace("{bound}", _BOUND) for k in KINDS)
    + r"))\b"
)
SAY = re.compile(rf"\b(?:{_alternatives(list(SAID))})\b")
_STATED = dict.fromkeys(form.replace("{n}", "([0-9]+)") for k in KINDS for form in k.measure.stated)
NUMBER = re.compile(rf"\b(?:{'|'.join(_STATED)})\b")

# What a finding comes to. Four words, not two, so that each follows from what is wanted plus what is said; with only
# "yes" and "no" the judgement is an exclusive or of two far words, which small students learn late or never.
_STATES = {(True, True): "met", (True, False): "missed", (False, True): "faced", (False, False): "avoided"}
_LIMITS = {("<", True): "within", ("<", False): "beyond", (">", True): "enough", (">", False): "short"}


def read_prompt(message: str) -> tuple[str, str]:
    """(query and instruction, passage) of a prompt of either kind; ("", message) where it is neither."""
    if (fields := _FIELDED.search(message)) is not None:
        return " ".join(filter(None, fields.group(1, 2))), fields[3]
    frame = _FRAME.search(message)
    return (frame[1], frame[2]) if frame else ("", message)


def steps_of(query: str, passage: str) -> list[Step] | None:
    """The checks in order, the thing itself first; None where the text is not of the world."""
    wanted_thing, wanted_place = THING.search(query), PLACE.search(query)
    given_thing, given_place = THING.search(passage), PLACE.search(passage)
    if not (wanted_thing and wanted_place and given_thing and given_place):
        return None
    steps = [
        Step(f"Wanted {want[1]}, ", f"found {got[1]}", want[1] == got[1])
        for want, got in ((wanted_thing, given_thing), (wanted_place, given_place))
    ]
    said = {SAID[phrase][0]: phrase for phrase in SAY.findall(passage)}
    number = NUMBER.search(passage)
    for match in ASK.finditer(query):
        if match[1]:
            key, good = ASKED[match[1]]
            phrase = said.get(key)
            found = "nothing is said" if phrase is None else f"{phrase}, so {_STATES[good, SAID[phrase][1]]}"
            holds = phrase is not None and SAID[phrase][1] is good
            steps.append(Step(f"{'Wanted' if good else 'Unwanted'} {key}: ", found, holds))
            continue
        bound, threshold = [group for group in match.groups() if group is not None]
        found, holds = "nothing is said", False
        if number:
            value = value_of(number)
            holds = compare(value, bound, int(threshold))
            relation = "more" if value > int(threshold) else "less" if value < int(threshold) else "equal"
            found = f"{number[0]}, so {relation}, {_LIMITS[BOUNDS[bound], holds]}"
        steps.append(Step(f"Wanted {match[0].rsplit(' ', 1)[0]}: ", found, holds))
    return steps if len(steps) > 2 else None


def value_of(number: re.Match[str]) -> int:
    return int(next(group for group in number.groups() if group is not None))


def by_overlap(query: str, passage: str) -> tuple[list[str], bool]:
    """Sentences and a verdict for text that is not of the world: the share of the query's words in the passage."""
    words = list(dict.fromkeys(WORD.findall(query.lower())))
    there = set(WORD.findall(passage.lower()))
    found = [word for word in words if word in there]
    verdict = len(found) * 2 >= len(words) > 0
    sentences = [f"The query speaks of {', '.join(words[:12]) or 'nothing that I know'}."]
    sentences.append(f"The passage mentions {', '.join(found[:12]) or 'none of it'}.")
    sentences.append(
        f"That is {len(found)} of {len(words)} words, so it is {'likely' if verdict else 'hardly'} relevant."
    )
    return sentences, verdict
