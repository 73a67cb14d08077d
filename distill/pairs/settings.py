"""What a configuration may say under `pairs`, and how any stage names a source of data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Settings


class NegativeSettings(Settings):
    """Passages that nobody judged, taken as not relevant: `per_query` of BM25's ranks `first` to `last`."""

    miner: Literal["bm25"] = "bm25"
    per_query: int = Field(4, ge=1)
    first: int = Field(1, ge=1)
    last: int = Field(50, ge=1)

    @model_validator(mode="after")
    def _range(self) -> NegativeSettings:
        if self.last - self.first + 1 < self.per_query:
            raise ValueError(f"ranks {self.first} to {self.last} hold fewer than {self.per_query} passages")
        return self


class PairSettings(Settings):
    """Which pairs are made, from what. With no `negatives` and no judged ones, BM25 negatives are mined as by default.

    `split` names a file of qrels, or gives shares by query of the only one, such as `{train: 0.8, test: 0.2}`: then
    `train` is asked about, and an evaluation set names another of the keys.
    """

    source: Literal["beir", "example"] = "beir"
    path: str = ""
    split: str | dict[str, float] = "train"
    qrels: str | None = Field(None, description="which qrels file is split by shares, where there are several")
    relevant_from: int = Field(1, ge=1, description="the lowest grade that counts as relevant")
    negatives: NegativeSettings | None = None
    queries: int | None = Field(None, ge=1, description="at most so many queries, drawn with the seed")
    example: dict[str, Any] = Field(default_factory=dict, description="settings of the embedded world")

    @field_validator("split")
    @classmethod
    def _shares(cls, split: str | dict[str, float]) -> str | dict[str, float]:
        if isinstance(split, dict):
            if "train" not in split:
                raise ValueError("the shares need a part named train, which is asked about")
            if min(split.values()) <= 0 or abs(sum(split.values()) - 1) > 1e-6:
                raise ValueError("the shares of a split are above 0 and add up to 1")
        return split

    @model_validator(mode="after")
    def _has_path(self) -> PairSettings:
        if self.source != "example" and not self.path:
            raise ValueError(f"source {self.source} needs a path")
        return self
