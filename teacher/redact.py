"""Masks e-mail addresses, phone numbers, card numbers and own patterns in what is sent to the teacher.

`teacher.redact` of the configuration; `teacher.requests`, which makes every request, calls `mask`. A value becomes a
placeholder such as `[EMAIL_1]`; equal values of one message have one, so that the teacher still sees that two of them
are the same. What is found:

- `email`: a local part of RFC 5322's atom characters, `@` (or `%40`, `&#64;`, `＠`), a domain with a dot;
- `phone`: `+` or `00` and 7 to 15 digits in groups; in national form what libphonenumber takes for a valid number of
  the countries of `regions`, of 7 digits and more, unless it reads as a value, a range, a date or part of an ID;
- `card`: 13 to 19 digits in one piece or in groups of three and more, which begin as the issuers' numbers do (not with
  0, 1 or 7: years, ISBNs and times in milliseconds are no cards) and whose Luhn checksum is right;
- `patterns`: whatever one's own regular expressions match, in any part of the message.

Not covered: names, postal addresses, account numbers and all else; addresses that are spelt out ("bob at example dot
com") or have no dot; phone numbers in words, cut by a line, or in national form of a country that is not named or next
to other digits; text in pictures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from distill.config import Settings

Kind = Literal["email", "phone", "card"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_ATOM = r"[\w.!#$%&'*+/=?^`{|}~-]"
_EMAIL = re.compile(rf"(?<!{_ATOM}){_ATOM}+(?:[@＠]|%40|&#64;)\w+(?:-+\w+)*(?:\.\w+(?:-+\w+)*)+", re.I)
_INTERNATIONAL = re.compile(
    r"(?:[+＋]|(?<![\w.,])00(?=\D{0,2}[1-9]))"
    r"(?:[ \t()\[\]./~\-\u00a0\u00ad\u2010-\u2015\u202f\u2212\u3000]{0,3}\d){7,15}\d*"  # to the end of the last group
)
_DIGITS = re.compile(r"\d+")
_BETWEEN = re.compile(r"[ .\-\u00a0\u2010-\u2015\u202f]")  # one of these may separate the groups of a card's digits
_ISSUER = re.compile(r"[3-68]|220[0-4]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|9792")  # Mastercard's and Mir's 2, Troy's 9
CARD_DIGITS, CARD_GROUP = range(13, 20), 3
_DASH = r"\s?[-\u2010-\u2015\u2212]\s?"
_OTHERS = re.compile(  # whole numbers that libphonenumber takes for a phone's: 164.2, 1.6-4.3, 1645-55, 0.9/100;
    rf"[(\[]?(?:\d+[.,]\d+(?:{_DASH}\d+(?:[.,]\d+)?)?|\d{{1,4}}{_DASH}\d{{1,4}}|0[.,]\d.*)"
    r"|\d{1,2}([-./])\d{1,2}\1\d{4}|\d{3} (?:19|20)\d\d|\d-\d+-\d+-\d|\d+\. \d+"  # a date, a page and a year, an ISBN
)
_BEFORE = re.compile(r"(?:[A-Z\d][-\u2010-\u2015]|\d[/.,])$")  # of an ID or a number: CK-0944636, 2010/091/0002
_AFTER = re.compile(r"[.,]\d")
NATIONAL_DIGITS = 7  # at least, in a phone number without its country's code


class RedactSettings(Settings):
    """What is masked before a text is sent, and whether it is put back in what the teacher says."""

    mask: list[Kind] = Field(list(KINDS), description="email, phone, card")
    regions: list[str] = Field(
        [], description="countries (DE, US) whose phone numbers are found without +, in their national form"
    )
    patterns: dict[str, str] = Field(
        {}, description="own regular expressions by a name, such as {customer: 'K-\\d{8}'}"
    )
    restore: bool = Field(True, description="put the values back in the teacher's answers, in place of placeholders")

    @field_validator("regions")
    @classmethod
    def _known(cls, regions: list[str]) -> list[str]:
        if not regions:
            return regions
        from phonenumbers import SUPPORTED_REGIONS

        for region in regions:
            if region not in SUPPORTED_REGIONS:
                near = "; the United Kingdom is GB" if region == "UK" else ""
                raise ValueError(f"{region!r} is no country's code of two capital letters (ISO 3166){near}")
        return regions

    @field_validator("patterns")
    @classmethod
    def _compiled(cls, patterns: dict[str, str]) -> dict[str, str]:
        for name, pattern in patterns.items():
            if not re.fullmatch(r"[a-z]+(?:_[a-z]+)*", name) or name in (*KINDS, "messages"):
                raise ValueError(
                    f"{name!r} names a pattern; use a to z and _, and none of {', '.join(KINDS)}, messages"
                )
            try:
                empty = re.compile(pattern).search("")
            except re.error as error:
                raise ValueError(f"{name}: {pattern!r} is no regular expression ({error})") from None
            if empty:
                raise ValueError(f"{name}: {pattern!r} matches an empty text, and so would mask nothing or all")
        return patterns

    @model_validator(mode="after")
    def _something(self) -> RedactSettings:
        if not self.mask and not self.patterns:
            raise ValueError("masks nothing: name email, phone or card under mask, or patterns of your own")
        if self.regions and "phone" not in self.mask:
            raise ValueError("regions are of phone numbers; add phone to mask, or leave them out")
        return self

    @property
    def kinds(self) -> list[str]:
        """The names of what is masked."""
        return [*self.patterns, *self.mask]


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked text; `values` are {placeholder: what it stands for}."""

    text: str
    values: Mapping[str, str] = field(default_factory=dict)


class MaskCounts:
    """What was masked in a number of messages: different values by their kind, and the messages that hold any."""

    def __init__(self, settings: RedactSettings | None) -> None:
        self._values = Counter(dict.fromkeys(settings.kinds, 0)) if settings else None
        self._messages = 0

    def add(self, values: Mapping[str, str]) -> None:
        """Count the values of one message, {placeholder: value}."""
        if self._values is not None:
            self._values.update(map(_kind_of, values))
            self._messages += bool(values)

    def counts(self) -> dict[str, int]:
        """{kind: values, `messages`: messages}; {} where nothing is to be masked."""
        return {} if self._values is None else {**self._values, "messages": self._messages}


def masked_text(counts: Mapping[str, int], where: str = "of the prompts") -> str:
    """What `MaskCounts` counted, in a sentence for a person."""
    values = ", ".join(f"{kind} {count:,}" for kind, count in counts.items() if kind != "messages")
    return f"masked before sending, in {counts['messages']:,} {where}: {values}; nothing else is masked"


def mask(text: str, settings: RedactSettings, known: Mapping[str, str] | None = None) -> Masked:
    """The text with placeholders. Spans that overlap are masked as one, by the kind that is looked for first.

    `known` are the values of a text that this one is a part of: they keep their placeholders.
    """
    values: dict[str, str] = {}
    known = known or {}
    names = {(_kind_of(placeholder), value): placeholder for placeholder, value in known.items()}
    numbers = Counter(_kind_of(placeholder) for placeholder in known)
    parts, end = [], 0
    for start, stop, kind in _merged(_spans(text, settings)):
        value = text[start:stop]
        if (kind, value) not in names:
            names[kind, value] = _free(text, kind, numbers, known)
        values[names[kind, value]] = value
        parts += [text[end:start], names[kind, value]]
        end = stop
    return Masked("".join([*parts, text[end:]]), values)


def _kind_of(placeholder: str) -> str:
    return placeholder[1:].rpartition("_")[0].lower()


def _free(text: str, kind: str, numbers: Counter[str], known: Mapping[str, str]) -> str:
    """The next placeholder of a kind that is not known, and that the text does not hold itself."""
    while True:
        numbers[kind] += 1
        placeholder = f"[{kind.upper()}_{numbers[kind]}]"
        if placeholder not in text and placeholder not in known:
            return placeholder


def _spans(text: str, settings: RedactSettings) -> list[tuple[int, int, int, str]]:
    """(start, end, rank, kind) of all that is to be masked."""
    spans: list[tuple[int, int, int, str]] = []
    found: Iterator[tuple[int, int]]
    for rank, kind in enumerate(settings.kinds):
        if kind in settings.patterns:
            found = (match.span() for match in re.finditer(settings.patterns[kind], text))
        elif kind == "email":
            found = (match.span() for match in _EMAIL.finditer(text))
        elif kind == "card":
            found = _cards(text)
        else:
            continue
        spans += [(start, stop, rank, kind) for start, stop in found if start < stop]
    if "phone" in settings.mask:  # last, and without what is masked: digits next to a number would hide it
        rank = len(settings.kinds)
        spans += [(start, stop, rank, "phone") for start, stop in _phones(_without(text, spans), settings.regions)]
    return spans


def _without(text: str, spans: list[tuple[int, int, int, str]]) -> str:
    """The text with line ends in place of the spans, and as long as before."""
    parts, end = [], 0
    for start, stop, _ in _merged(spans):
        parts += [text[end:start], "\n" * (stop - start)]
        end = stop
    return "".join([*parts, text[end:]])


def _merged(spans: list[tuple[int, int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) in order; spans that overlap are one."""
    open_span: tuple[int, int, int, str] | None = None
    for span in sorted(spans):
        if open_span is not None and span[0] < open_span[1]:
            first = min(open_span, span, key=lambda each: each[2])
            open_span = open_span[0], max(open_span[1], span[1]), first[2], first[3]
            continue
        if open_span is not None:
            yield open_span[0], open_span[1], open_span[3]
        open_span = span
    if open_span is not None:
        yield open_span[0], open_span[1], open_span[3]


def _phones(text: str, regions: list[str]) -> Iterator[tuple[int, int]]:
    international = [match.span() for match in _INTERNATIONAL.finditer(text)]
    yield from international
    if not regions:
        return
    from phonenumbers import Leniency, PhoneNumberMatcher

    text = _without(text, [(start, stop, 0, "phone") for start, stop in international])
    for region in regions:
        for match in PhoneNumberMatcher(text, region, Leniency.VALID, len(text) + 1):  # else it gives up at 65,535
            if not _is_another_number(text, match.start, match.end):
                yield match.start, match.end


def _is_another_number(text: str, start: int, end: int) -> bool:
    """Whether what libphonenumber takes for a national number is a year, a value, a range, a date, an ID or a list."""
    number = text[start:end]
    groups = _DIGITS.findall(number)
    return (
        len("".join(groups)) < NATIONAL_DIGITS
        or sum(len(group) == 1 for group in groups) > 2
        or any((_OTHERS.fullmatch(number), _BEFORE.search(text, max(0, start - 2), start), _AFTER.match(text, end)))
    )


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Every stretch of whole groups of digits that may be a card's number, the longest from each group."""
    run: list[re.Match[str]] = []  # groups with one separator between each two
    for group in _DIGITS.finditer(text):
        if len(group.group()) < CARD_GROUP:
            continue  # a separator is one character, so the run ends here
        if run and not (group.start() - run[-1].end() == 1 and _BETWEEN.match(text, run[-1].end())):
            yield from _cards_of(run)
            run = []
        run.append(group)
    yield from _cards_of(run)


def _cards_of(run: list[re.Match[str]]) -> Iterator[tuple[int, int]]:
    for first, group in enumerate(run):
        if not _ISSUER.match("".join(each.group() for each in run[first : first + 2])):
            continue
        digits, longest = "", None
        for last in run[first:]:
            digits += last.group()
            if len(digits) >= CARD_DIGITS.stop:
                break
            if len(digits) in CARD_DIGITS and luhn(digits):
                longest = last
        if longest is not None:
            yield group.start(), longest.end()


def luhn(digits: str) -> bool:
    """Whether the last of the digits is the checksum of the others (ISO/IEC 7812)."""
    numbers = [int(digit) for digit in reversed(digits)]
    doubled = [sum(divmod(2 * number, 10)) for number in numbers[1::2]]
    return (sum(numbers[::2]) + sum(doubled)) % 10 == 0
