"""What a configuration may say under `evaluation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from distill.config import Settings


class SetSettings(Settings):
    """One set of queries with labels, and the first stage whose lists are reranked.

    `split` names a qrels file of the folder, or a key of `pairs.split` where that gives shares.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    source: Literal["beir", "example"] = "beir"
    path: str = ""
    split: str = "test"
    first_stage: str = Field("bm25", description="'bm25', or the path of a TREC run")
    depth: int = Field(100, ge=1, description="how many passages of each list are reranked")
    queries: int | None = Field(None, ge=1, description="at most so many queries, drawn with the seed")


class EvaluationSettings(Settings):
    """Which sets, which measures (as ir_measures writes them), how the students are run."""

    sets: list[SetSettings] = []
    measures: list[str] = Field(["nDCG@10", "RR@10", "AP", "Judged@10"], min_length=1)
    batch: int = Field(128, ge=1, description="rows through the model at once")
    max_new_tokens: int = Field(8192, ge=1, description="bound on the reasoning (Rank1: 8192)")

    @field_validator("sets")
    @classmethod
    def _named_once(cls, sets: list[SetSettings]) -> list[SetSettings]:
        names = [each.name for each in sets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sets are named {name!r}")
        return sets
