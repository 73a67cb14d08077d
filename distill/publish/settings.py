"""What a configuration may say under `dataset`: what its card tells, none of which changes a row."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from distill.config import Settings


class DatasetSettings(Settings):
    """Name, licences and languages of the dataset, as its card tells them; nothing is guessed that was not said."""

    name: str | None = Field(None, min_length=1, description="the title of the card; default: the run's name")
    description: str = Field("", description="a paragraph on what the data is about")
    licence: str | None = Field(
        None, min_length=1, description="of the whole, such as cc-by-4.0; default: none is named"
    )
    licences: dict[str, str] = Field(
        {}, description="of what went in, such as {MS MARCO: non-commercial research only}"
    )
    language: list[str] = Field([], description="codes such as en; default: those that the pairs carry")
    tags: list[str] = Field([], description="of the card, for a hub's search")

    @field_validator("language", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("language")
    @classmethod
    def _codes(cls, codes: list[str]) -> list[str]:
        for code in codes:
            if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", code):
                raise ValueError(f"{code!r} is no language code; write en, de, zh and the like")
        return codes

    @field_validator("tags")
    @classmethod
    def _tags(cls, tags: list[str]) -> list[str]:
        for tag in tags:
            if not re.fullmatch(r"[\w.:/+-]+( [\w.:/+-]+)*", tag):
                raise ValueError(f"{tag!r} is no tag; use letters, digits and hyphens")
        return tags
