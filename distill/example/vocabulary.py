"""The words of the example's world: kinds of things, what is said of them, and what people ask.

One place for the wording, because the world writes with it and the teacher reads with it. The
teacher gets nothing else from the world: it sees the text of a prompt, and never a fact or a label.

A statement says what it is about and then what is so ("the sauna is closed", "the tour takes 5 hours"); it stands in a
passage and in a quotation letter for letter, so that quoting is copying.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """Something that holds of a thing or does not, with the ways to say and to ask either."""

    key: str
    holds: tuple[str, ...]
    fails: tuple[str, ...]
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    usual: bool = True  # what people ask for more often: that it holds


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that a thing has; `{n}` stands for the value in a statement, `{bound}` for "under 5" in a query."""

    asked: str
    stated: tuple[str, ...]
    low: int = 2
    high: int = 9


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing: what it is called, its number and its topics, all of which a passage states."""

    name: str
    measure: Measure
    topics: tuple[Topic, ...]


def _part(noun: str, holds: str, fails: str, subject: str = "") -> Topic:
    """Something which a thing has or lacks, asked for by its name."""
    start = subject or f"the {noun} is"
    return Topic(
        key=noun,
        holds=tuple(f"{start} {said}" for said in holds.split()),
        fails=tuple(f"{start} {said}" for said in fails.split()),
        wanted=(f"with {noun}", f"having {noun}"),
        unwanted=(f"without {noun}", f"no {noun}"),
        usual=noun != "noise",
    )


LAKE = _part("lake", "near close adjacent", "remote distant")
SHELTER = _part("shelter", "standing built", "collapsed demolished")
SHADE = _part("shade", "plentiful dense", "sparse scarce", "shade is")
DOGS = _part("dogs", "allowed welcome accepted", "banned forbidden", "dogs are")
BALCONY = _part("balcony", "attached included", "missing lacking")
GARAGE = _part("garage", "available provided", "unavailable sold")
SAUNA = _part("sauna", "heated hot", "closed ruined")
HEATING = _part("heating", "installed working", "broken removed", "heating is")
NOISE = _part("noise", "common frequent", "rare unheard", "noise is")
TERRACE = _part("terrace", "open finished", "shut unfinished")
FITTINGS = Topic(
    key="new fittings",
    holds=tuple(f"the fittings are {said}" for said in ("new", "modern", "renewed")),
    fails=tuple(f"the fittings are {said}" for said in ("old", "dated")),
    wanted=("with new fittings", "having modern fittings"),
    unwanted=("with old fittings", "having dated fittings"),
)

KINDS: tuple[Kind, ...] = (
    Kind(
        "trail",
        Measure("tour {bound} hours", ("the tour takes {n} hours", "the tour lasts {n} hours")),
        (LAKE, SHELTER, SHADE, DOGS),
    ),
    Kind(
        "flat",
        Measure("rent {bound} coins", ("the rent is {n} coins", "the rent reaches {n} coins")),
        (BALCONY, GARAGE, DOGS, FITTINGS),
    ),
    Kind(
        "campsite",
        Measure("fee {bound} euros", ("the fee is {n} euros", "the fee reaches {n} euros")),
        (SAUNA, LAKE, HEATING, NOISE),
    ),
    Kind(
        "restaurant",
        Measure("soup {bound} euros", ("the soup costs {n} euros", "the soup is {n} euros")),
        (TERRACE, GARAGE, NOISE, FITTINGS),
    ),
)

PLACES: tuple[str, ...] = (
    "Lund", "Orsa", "Mora", "Visby", "Falun", "Kalmar", "Arvika", "Ystad", "Kiruna", "Boden",
)  # fmt: skip

# How a number condition is worded, and the comparison it makes: value OP threshold.
BOUNDS: dict[str, str] = {"under": "<", "below": "<", "over": ">", "above": ">"}

NAMES: tuple[str, ...] = (
    "Hill", "Corner", "Bend", "Field", "Gate", "Grove", "House", "Ridge", "Stone", "View", "Way", "Yard", "Point",
    "Meadow", "Bank", "Cross", "Birch", "Cedar", "Falcon", "Granite", "Heron", "Juniper", "Kestrel", "Linden",
)  # fmt: skip

OPENINGS: tuple[str, ...] = (
    "This is a {kind} in {place}.",
    "A {kind} in {place}.",
    "Come to this {kind} in {place}.",
    "Our {kind} in {place}.",
)
LEADS: tuple[str, ...] = ("Here", "Also,", "Mind that", "In short,")
JOINTS: tuple[str, ...] = (" and ", ", and ", ", but ", " while ")

QUERY_FORMS: tuple[str, ...] = (
    "{kind} in {place} {conditions}",
    "a {kind} in {place} {conditions}",
    "any {kind} at {place} {conditions}",
    "{kind} around {place} {conditions}",
)


def compare(value: int, bound: str, threshold: int) -> bool:
    """Whether a value meets a bound in words ("under", 5)."""
    return value < threshold if BOUNDS[bound] == "<" else value > threshold
