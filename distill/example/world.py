"""The example's world: things, passages about them, queries with conditions, labels that follow.

A thing has a kind, a place, a number and five yes/no facts; its passage states all of them. A query
asks for a kind in a place, with one to four conditions. The label is computed from the facts and
never from the text, so a reader of the text can be wrong and the label cannot.

`write_beir` writes a BEIR folder for each split, with a corpus of its own; the splits share no passage
and no query text. The development and test labels are complete: a document that is not in the qrels is not relevant.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from distill.example.folder import document_row, write_folder
from distill.example.vocabulary import (
    BOUNDS,
    JOINTS,
    KINDS,
    LEADS,
    NAMES,
    OPENINGS,
    PLACES,
    QUERY_FORMS,
    Kind,
    Topic,
    compare,
)


class WorldSettings(BaseModel):
    """How large the world is and how hard its candidates are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queries: dict[str, int] = Field({"train": 1800, "dev": 40, "test": 100}, description="by split")
    relevant: int = Field(2, ge=0, description="candidates of a query's own that meet every condition")
    near_misses: int = Field(3, ge=0, description="candidates that miss exactly one condition")
    same_place: int = Field(1, ge=0, description="candidates of the kind and place asked for, facts at random")
    plain: int = Field(3, ge=0, description="candidates of another kind or place, facts at random")
    plain_kind: float = Field(0.4, ge=0, le=1, description="share of these that are of another kind, in the place")
    condition_shares: tuple[float, ...] = Field(
        (0.15, 0.25, 0.4, 0.2),
        min_length=1,
        max_length=5,
        description="how often a query sets one, two, ... conditions",
    )
    usual: float = Field(0.7, ge=0, le=1, description='how often the usual is asked for ("with lake", "without noise")')
    kinds: int = Field(len(KINDS), ge=2, le=len(KINDS), description="of things that the world has")
    places: int = Field(len(PLACES), ge=2, le=len(PLACES), description="that the world has")


@dataclass(frozen=True, slots=True)
class Thing:
    """What there is: the truth that a passage states and labels follow from."""

    kind: Kind
    place: str
    value: int
    facts: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """One demand: a topic that must hold or not, or a bound on the number."""

    topic: Topic | None
    wanted: bool = True
    bound: str = ""
    threshold: int = 0

    def met(self, thing: Thing) -> bool:
        """Whether the thing satisfies the demand."""
        if self.topic is not None:
            return thing.facts[self.topic.key] is self.wanted
        return compare(thing.value, self.bound, self.threshold)


@dataclass(frozen=True, slots=True)
class Query:
    """A kind, a place and what is demanded."""

    kind: Kind
    place: str
    conditions: tuple[Condition, ...]

    def relevant(self, thing: Thing) -> bool:
        """Whether the thing is of the kind, in the place, and meets every condition."""
        same = thing.kind is self.kind and thing.place == self.place
        return same and all(condition.met(thing) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Split:
    """One split: texts and truths by id, and the labels."""

    queries: dict[str, tuple[str, Query]]
    documents: dict[str, tuple[str, str, Thing]]
    qrels: dict[str, dict[str, int]]


def _thing(rng: random.Random, kind: Kind, place: str) -> Thing:
    measure = kind.measure
    facts = {topic.key: rng.random() < 0.5 for topic in kind.topics}
    return Thing(kind, place, rng.randint(measure.low, measure.high), facts)


def draw_query(rng: random.Random, kind: Kind, place: str, count: int, usual: float) -> Query:
    """A query with `count` conditions; the usual thing is asked for so often."""
    options: list[Topic | None] = [None, *kind.topics]
    conditions = []
    for topic in rng.sample(options, count):
        if topic is not None:
            conditions.append(Condition(topic, wanted=topic.usual is (rng.random() < usual)))
            continue
        # Away from the ends, so that every bound can be met and missed.
        threshold = rng.randint(kind.measure.low + 2, kind.measure.high - 2)
        conditions.append(Condition(None, bound=rng.choice(sorted(BOUNDS)), threshold=threshold))
    return Query(kind, place, tuple(conditions))


def candidate(rng: random.Random, query: Query, miss: Condition | None) -> Thing:
    """A thing of the query's kind and place that meets every condition but `miss`."""
    measure = query.kind.measure
    facts = {topic.key: rng.random() < 0.5 for topic in query.kind.topics}
    values = list(range(measure.low, measure.high + 1))
    for condition in query.conditions:
        good = condition is not miss
        if condition.topic is not None:
            facts[condition.topic.key] = condition.wanted is good
        else:
            values = [v for v in values if compare(v, condition.bound, condition.threshold) is good]
    return Thing(query.kind, query.place, rng.choice(values), facts)


def condition_text(rng: random.Random, kind: Kind, condition: Condition) -> str:
    """One demand as queries word it."""
    if condition.topic is None:
        return kind.measure.asked.format(bound=f"{condition.bound} {condition.threshold}")
    return rng.choice(condition.topic.wanted if condition.wanted else condition.topic.unwanted)


def query_text(rng: random.Random, query: Query) -> str:
    """The query in words."""
    words = [condition_text(rng, query.kind, condition) for condition in query.conditions]
    joined = words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
    return rng.choice(QUERY_FORMS).format(kind=query.kind.name, place=query.place, conditions=joined)


def passage(rng: random.Random, thing: Thing) -> tuple[str, str]:
    """Title and text: every fact stated once, in an order and a wording drawn at random."""
    measure = thing.kind.measure
    phrases = [rng.choice(measure.stated).format(n=thing.value)]
    phrases += [rng.choice(t.holds if thing.facts[t.key] else t.fails) for t in thing.kind.topics]
    rng.shuffle(phrases)
    opening = rng.choice(OPENINGS).format(kind=thing.kind.name, place=thing.place)
    cut = rng.choice((2, 3))
    sentences = [f"{rng.choice(LEADS)} {_joined(rng, part)}." for part in (phrases[:cut], phrases[cut:])]
    title = f"{thing.place} {rng.choice(NAMES)}"
    return title, " ".join([opening, *sentences])


def _joined(rng: random.Random, phrases: list[str]) -> str:
    return ", ".join(phrases[:-1]) + rng.choice(JOINTS) + phrases[-1]


def _candidates(rng: random.Random, query: Query, settings: WorldSettings) -> Iterator[Thing]:
    for _ in range(settings.relevant):
        yield candidate(rng, query, None)
    for _ in range(settings.near_misses):
        yield candidate(rng, query, rng.choice(query.conditions))
    for _ in range(settings.same_place):
        yield _thing(rng, query.kind, query.place)
    kinds, places = KINDS[: settings.kinds], PLACES[: settings.places]
    for _ in range(settings.plain):
        if rng.random() < settings.plain_kind:
            yield _thing(rng, rng.choice([k for k in kinds if k is not query.kind]), query.place)
        else:
            yield _thing(rng, query.kind, rng.choice([p for p in places if p != query.place]))


def build(settings: WorldSettings, seed: int = 0) -> dict[str, Split]:
    """The splits in memory. Equal settings and seed give an equal world."""
    seen_queries: set[str] = set()
    seen_passages: set[str] = set()
    world = {}
    for name, count in settings.queries.items():
        rng = random.Random(f"{seed}:{name}")
        split = Split({}, {}, {})
        while len(split.queries) < count:
            _add_query(rng, name, split, settings, seen_queries, seen_passages)
        if name != "train":
            _complete(split)
        world[name] = split
    return world


def _add_query(
    rng: random.Random,
    name: str,
    split: Split,
    settings: WorldSettings,
    seen_queries: set[str],
    seen_passages: set[str],
) -> None:
    kind = rng.choice(KINDS[: settings.kinds])
    place = rng.choice(PLACES[: settings.places])
    (number,) = rng.choices(range(1, len(settings.condition_shares) + 1), settings.condition_shares)
    query = draw_query(rng, kind, place, number, settings.usual)
    text = query_text(rng, query)
    if text in seen_queries:
        return
    seen_queries.add(text)
    query_id = f"{name}-q{len(split.queries)}"
    split.queries[query_id] = (text, query)
    labels = split.qrels[query_id] = {}
    for thing in _candidates(rng, query, settings):
        title, body = passage(rng, thing)
        if body in seen_passages:
            continue
        seen_passages.add(body)
        doc_id = f"{name}-d{len(split.documents)}"
        split.documents[doc_id] = (title, body, thing)
        labels[doc_id] = int(query.relevant(thing))


def _complete(split: Split) -> None:
    """Judge every document of the split's corpus that is of a query's kind and place."""
    for query_id, (_, query) in split.queries.items():
        labels = split.qrels[query_id]
        for doc_id, (_, _, thing) in split.documents.items():
            if thing.kind is query.kind and thing.place == query.place:
                labels[doc_id] = int(query.relevant(thing))


def write_beir(folder: str | Path, seed: int = 0, settings: WorldSettings | None = None) -> dict[str, dict[str, int]]:
    """Write each split as a BEIR folder of its own, `folder/{train,dev,test}`, and return the counts by split."""
    counts = {}
    for name, split in build(settings or WorldSettings(), seed).items():
        documents = [document_row(doc, title, text) for doc, (title, text, _) in split.documents.items()]
        queries = [{"_id": query, "text": text} for query, (text, _) in split.queries.items()]
        labels = [(query, doc, label) for query, by_doc in split.qrels.items() for doc, label in by_doc.items()]
        counts[name] = write_folder(Path(folder) / name, {"corpus": documents, "queries": queries}, labels, name)
        counts[name]["relevant"] = sum(label > 0 for _, _, label in labels)
    return counts
