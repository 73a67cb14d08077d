"""What the example's teacher does when it is not asked for a verdict: grades, queries, instructions, altered texts.

A prompt that begins with `Task:` is such a task; its texts are at its end after `Query:`, `Instruction:` and
`Passage:`. Like the verdicts these answers follow from the world's words alone. An answer that is wrong on purpose
is wrong in substance and right in form: an instruction that the passage fails, a passage that does not fail, a false
grade.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

from distill.example.reading import ASK, ASKED, NUMBER, PLACE, SAID, SAY, THING, WORD, by_overlap, steps_of, value_of
from distill.example.vocabulary import BOUNDS, KINDS, PLACES, QUERY_FORMS, Kind, Topic, compare

_TASK = re.compile(r"\ATask: ([a-z ]+)\.\n")
_TEXTS = re.compile(r"\n\n(?:Query: (.*?)\n)?(?:Instruction: (.*?)\n)?Passage: (.*)\Z", re.DOTALL)
_KINDS_ASKED = re.compile(r"in this order: ([a-z, ]+)\n")
_COUNT = re.compile(r"Write (\d+) other passages")
_STYLE = re.compile(r"\nStyle: (.*)\n")
_LENGTH = re.compile(r"\nLength: (.*)\n")
_TOPICS: dict[str, Topic] = {topic.key: topic for kind in KINDS for topic in kind.topics}
_OPPOSITE = {"under": "over", "below": "above", "over": "under", "above": "below"}

# How an instruction is worded, by the beginning of the style that is asked for; {it} is a condition.
STYLES = (
    ("say what must not", ("Whatever is not {it} does not count.", "Leave out what is not {it}.")),
    (
        "describe the situation",
        ("We come with two small children, so it must be {it}.", "It rains a lot: {it} please."),
    ),
    ("say who is asking", ("I am a nurse on leave and need it {it}.", "As a teacher I look for one {it}.")),
    ("say directly", ("Only those {it} count.", "It must be {it}.")),
)
_MORE = ("Nothing else matters much.", "The rest is for us to choose.", "We decide on Friday.", "Take your time.")

Answer = tuple[list[str], str]


def do(message: str, draws: bytes, wrong: bool) -> Answer | None:
    """(sentences of reasoning, answer) of a task; None where the message is none. Equal draws, equal answer."""
    task, texts = _TASK.search(message), _TEXTS.search(message)
    found = _DONE.get(task[1]) if task and texts else None
    if found is None or texts is None:
        return None
    query, instruction, passage = (text or "" for text in texts.groups())
    instruction = "" if instruction == "none" else instruction
    return found(message, query, instruction, passage, random.Random(draws), wrong)


def _grade(message: str, query: str, instruction: str, passage: str, rng: random.Random, wrong: bool) -> Answer:
    sentences, grade = _graded(f"{query} {instruction}".strip(), passage)
    if wrong:
        grade = 1 if grade >= 2 else 3
    return sentences, f"Grade: {grade}"


def _graded(asked: str, passage: str) -> tuple[list[str], int]:
    """3: every condition is met; 1: the right kind in the right place fails one; 0: it is something else."""
    steps = steps_of(asked, passage)
    if steps is None:
        sentences, _ = by_overlap(asked, passage)
        words, there = set(WORD.findall(asked.lower())), set(WORD.findall(passage.lower()))
        share = len(words & there) / max(1, len(words))
        return sentences, 3 if share >= 0.8 else 2 if share >= 0.5 else 1 if share >= 0.25 else 0
    sentences = [f"{step.wanted}{step.found}: {'good' if step.holds else 'bad'}." for step in steps]
    return sentences, 3 if all(s.holds for s in steps) else 1 if steps[0].holds and steps[1].holds else 0


def _queries(message: str, query: str, instruction: str, passage: str, rng: random.Random, wrong: bool) -> Answer:
    asked = _KINDS_ASKED.search(message)
    count = len(asked[1].split(",")) if asked else 1
    kind, place = _kind(passage), PLACE.search(passage)
    if kind is None or place is None:
        words = _by_length(passage)[:24]
        found = [" ".join(rng.sample(words, min(4, len(words)))) for _ in range(count)]
        return ["The passage is not of my world, so I take words from it."], json.dumps({"queries": found})
    found = []
    for _ in range(count):
        conditions = _true_conditions(passage, kind, rng)
        chosen = rng.sample(conditions, min(len(conditions), rng.choice((1, 2, 2, 3))))
        if wrong:
            chosen[0] = opposite(chosen[0])
        joined = chosen[0] if len(chosen) == 1 else ", ".join(chosen[:-1]) + " and " + chosen[-1]
        found.append(rng.choice(QUERY_FORMS).format(kind=kind.name, place=place[1], conditions=joined))
    return [f"The passage is about a {kind.name} in {place[1]}."], json.dumps({"queries": found})


def _instruction(message: str, query: str, instruction: str, passage: str, rng: random.Random, wrong: bool) -> Answer:
    kind = _kind(passage)
    if kind is None:
        asked_words = WORD.findall(query.lower())
        words = [word for word in _by_length(passage) if word not in asked_words][:6] or ["more"]
        text = f"It must speak of {rng.choice(words)}."
        return ["The passage is not of my world, so I take a word from it."], json.dumps({"instruction": text})
    asked = {_topic_of(match) for match in ASK.finditer(query)}
    free = [c for c in _true_conditions(passage, kind, rng) if _topic_of(ASK.search(c)) not in asked]
    condition = rng.choice(free or _true_conditions(passage, kind, rng))
    condition = opposite(condition) if wrong else condition
    style, length = _STYLE.search(message), _LENGTH.search(message)
    forms = next((f for start, f in STYLES if style and style[1].startswith(start)), STYLES[-1][1])
    sentences = [rng.choice(forms).format(it=condition)]
    wordy = {"one or": 1, "three": 2, "a para": 4}
    for _ in range(next((n for start, n in wordy.items() if length and length[1].startswith(start)), 0)):
        sentences.append(_MORE[len(sentences) - 1])
    return [f"The passage has one thing that the query leaves open: {condition}."], json.dumps(
        {"instruction": " ".join(sentences)}
    )


def _failing(message: str, query: str, instruction: str, passage: str, rng: random.Random, wrong: bool) -> Answer:
    count = int(found[1]) if (found := _COUNT.search(message)) else 1
    demands = [match[0] for match in ASK.finditer(instruction)]
    if not demands:
        return ["The instruction is not of my world."], json.dumps({"passages": []})
    written: list[str] = []
    for _ in range(count * 3):
        text = passage if wrong else _failing_in(passage, rng.choice(demands), rng)
        if text not in written and len(written) < count:
            written.append(text)
    return [f"It must fail in this: {demands[0]}."], json.dumps({"passages": written})


def _alter_instruction(
    message: str, query: str, instruction: str, passage: str, rng: random.Random, wrong: bool
) -> Answer:
    match = ASK.search(instruction)
    if match is None:
        return ["The instruction is not of my world."], json.dumps({"instruction": ""})
    other = match[0] if wrong else opposite(match[0])
    text = f"{instruction[: match.start()]}{other}{instruction[match.end() :]}"
    text = f"{text} Please." if text == instruction else text
    return [f"{match[0]} becomes {other}."], json.dumps({"instruction": text})


def _alter_query(message: str, query: str, instruction: str, passage: str, rng: random.Random, wrong: bool) -> Answer:
    place = PLACE.search(query)
    if place is None:
        return ["The query is not of my world."], json.dumps({"query": ""})
    other = rng.choice([p for p in PLACES if p != place[1]])
    text = f"any {query}" if wrong else f"{query[: place.start(1)]}{other}{query[place.end(1) :]}"
    return [f"{place[1]} becomes {other}."], json.dumps({"query": text})


def _check(message: str, query: str, instruction: str, passage: str, rng: random.Random, wrong: bool) -> Answer:
    demands = {_topic_of(m): m[0] for m in ASK.finditer(query)}
    clash = [m[0] for m in ASK.finditer(instruction) if demands.get(_topic_of(m)) == opposite(m[0])]
    sentences, grade = _graded(f"{query} {instruction}".strip(), passage)
    satisfied = (grade >= 2) is not wrong
    return [*sentences, *(f"{each} contradicts the query." for each in clash)], json.dumps(
        {"plausible": not clash, "satisfied": satisfied}
    )


def _by_length(text: str) -> list[str]:
    """The different words of a text, the longest first; those of one length in the alphabet's order."""
    return sorted(set(WORD.findall(text.lower())), key=lambda word: (-len(word), word))


def _kind(passage: str) -> Kind | None:
    thing = THING.search(passage)
    return next((kind for kind in KINDS if thing and kind.name == thing[1]), None)


def _true_conditions(passage: str, kind: Kind, rng: random.Random) -> list[str]:
    """Conditions, as queries word them, that the passage meets."""
    found = []
    for phrase in SAY.findall(passage):
        key, holds = SAID[phrase]
        topic = _TOPICS[key]
        found.append(rng.choice(topic.wanted if holds else topic.unwanted))
    number = NUMBER.search(passage)
    if number:
        value = value_of(number)
        bound = rng.choice(sorted(BOUNDS))
        threshold = value + (rng.randint(1, 3) if BOUNDS[bound] == "<" else -rng.randint(1, 3))
        found.append(kind.measure.asked.format(bound=f"{bound} {max(0, threshold)}"))
    return list(dict.fromkeys(found))


def _topic_of(match: re.Match[str] | None) -> str:
    """What a condition is about: its topic, or the number."""
    if match is None:
        return ""
    return ASKED[match[1]][0] if match[1] else "number"


def opposite(condition: str) -> str:
    """The condition turned round: with for without, over for under."""
    if condition in ASKED:
        key, good = ASKED[condition]
        topic = _TOPICS[key]
        return (topic.unwanted if good else topic.wanted)[0]
    return re.sub("|".join(_OPPOSITE), lambda m: _OPPOSITE[m[0]], condition, count=1)


def _failing_in(passage: str, condition: str, rng: random.Random) -> str:
    """The passage with what it says to one condition changed so that it fails."""
    if condition in ASKED:
        key, good = ASKED[condition]
        topic = _TOPICS[key]
        other = rng.choice(topic.fails if good else topic.holds)
        return SAY.sub(lambda m: other if SAID[m[0]][0] == key else m[0], passage)
    bound = re.search(rf"({'|'.join(BOUNDS)}) ([0-9]+)", condition)
    number = NUMBER.search(passage)
    if bound is None or number is None:
        return passage
    values = [n for n in range(20) if not compare(n, bound[1], int(bound[2]))]
    at = next(g for g in range(1, (number.lastindex or 0) + 1) if number[g] is not None)
    return f"{passage[: number.start(at)]}{rng.choice(values)}{passage[number.end(at) :]}"


_DONE: dict[str, Callable[[str, str, str, str, random.Random, bool], Answer]] = {
    "grade a passage": _grade,
    "write search queries": _queries,
    "write an instruction for a search": _instruction,
    "write passages that fail an instruction": _failing,
    "alter an instruction": _alter_instruction,
    "alter a query": _alter_query,
    "check a request": _check,
}
