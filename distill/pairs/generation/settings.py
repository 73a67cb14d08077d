"""What a configuration may say about asking the teacher while pairs are made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Settings

QUERY_KINDS = ("keywords", "question", "need", "comparison", "problem", "fact")
LENGTHS = ("short", "medium", "long", "very_long")
STYLES = ("plain", "negation", "background", "persona")


class GenerationSettings(Settings):
    """How each of these questions is sampled; the teacher's name, endpoints and budget are those of `teacher`."""

    samples: int = Field(1, ge=1, description="answers to each question")
    temperature: float = Field(0.6, ge=0, description="of the teacher's sampling")
    max_tokens: int = Field(2048, ge=1, description="reasoning and answer together")


class JudgeSettings(GenerationSettings):
    """The teacher grades passages from 0 to 3 (UMBRELA's scale in our words); the grade is the samples' median.

    `of`: `mined` grades the negatives that were mined, `unlabelled` the pairs that the source lists without a label.
    More than half of the samples must lie within `spread` of the median, else the pair keeps what label it had.
    `relevant` says what becomes of a mined passage that is graded relevant: it gets its grade, or is left out, or is
    only flagged as suspected.
    """

    samples: int = Field(3, ge=1, description="grades of each passage, whose median is taken")
    temperature: float = Field(0.3, ge=0, description="of the teacher's sampling")
    of: list[Literal["mined", "unlabelled"]] = Field(
        ["mined", "unlabelled"],
        min_length=1,
        description="mined: the negatives that were mined; unlabelled: the pairs that the source lists without a label",
    )
    spread: int = Field(
        0, ge=0, le=3, description="grades from the median within which more than half of the samples must lie"
    )
    relevant_from: int = Field(2, ge=1, le=3, description="the lowest of the teacher's grades that counts as relevant")
    relevant: Literal["relabel", "drop", "flag"] = Field(
        "relabel",
        description="a mined passage that is graded relevant: relabel gives it the grade, drop leaves it out, flag "
        "marks it as suspected",
    )


class SynthesisSettings(GenerationSettings):
    """The teacher writes queries for `passages` drawn passages, `per_passage` of drawn kinds for each.

    Round trip: BM25 must find the passage within `found_within` ranks, and the teacher must then grade it relevant.
    Queries of the same stems are one. `kinds` gives the kinds a weight each; the default is all of them alike.
    """

    temperature: float = Field(0.9, ge=0, description="of the teacher's sampling")
    passages: int = Field(1000, ge=1, description="passages that are drawn with the seed")
    per_passage: int = Field(2, ge=1, le=10, description="queries that are written for each passage")
    kinds: dict[str, float] = Field(
        dict.fromkeys(QUERY_KINDS, 1.0),
        description="weight of each kind of query: keywords, question, need, comparison, problem, fact",
    )
    found_within: int | None = Field(20, ge=1, description="null: no check by BM25")
    judged: bool = Field(True, description="whether the teacher's grade is part of the round trip")

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(kinds) - set(QUERY_KINDS))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(QUERY_KINDS)}")
        if not kinds or min(kinds.values()) < 0 or sum(kinds.values()) <= 0:
            raise ValueError("weights are at least 0 and not all 0")
        return kinds


class InstructionSettings(GenerationSettings):
    """The teacher writes instructions for (query, positive), of a drawn length and style, and passages that fail them.

    `share` is the part of the positives that get one. Each instruction is checked: the positive must still satisfy it.
    Instruction negatives: up to `mined` other positives of the query, up to `written` passages by the teacher; each
    must suit the query and fail the instruction. `easy` of the query's own negatives are added to them, so that an
    instruction alone says nothing about the label.
    """

    temperature: float = Field(0.9, ge=0, description="of the teacher's sampling")
    share: float = Field(1.0, gt=0, le=1, description="share of the positives that get an instruction")
    lengths: list[str] = Field(list(LENGTHS), description="which lengths are drawn: short, medium, long, very_long")
    styles: list[str] = Field(list(STYLES), description="which styles are drawn: plain, negation, background, persona")
    mined: int = Field(2, ge=0, description="other positives of the query that fail the instruction, at most so many")
    written: int = Field(
        2, ge=0, le=5, description="passages that the teacher writes to fail the instruction, at most so many"
    )
    easy: int = Field(
        1,
        ge=0,
        description="negatives of the query that are added, so that an instruction alone says nothing about the label",
    )

    @model_validator(mode="after")
    def _known(self) -> InstructionSettings:
        for key, known in (("lengths", LENGTHS), ("styles", STYLES)):
            given = getattr(self, key)
            if not given or set(given) - set(known):
                raise ValueError(f"{key} are some of {', '.join(known)}")
        return self


class PoisonSettings(GenerationSettings):
    """Poisoned negatives (InF-IR): of each instructed positive, the instruction altered, the query altered.

    Each is checked by the teacher: plausible as a request, and yet not what the passage answers.
    """

    temperature: float = Field(0.9, ge=0, description="of the teacher's sampling")
    of: list[Literal["instruction", "query"]] = Field(
        ["instruction", "query"], min_length=1, description="what is altered"
    )
    share: float = Field(1.0, gt=0, le=1, description="share of the instructed positives that are altered")
