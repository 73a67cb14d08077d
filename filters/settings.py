"""The list of filters in the configuration, checked whole when it is read; `RunConfig` and the engine use it."""

from __future__ import annotations

from pathlib import Path

from pydantic import GetJsonSchemaHandler, JsonValue, RootModel, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from distill.config import validate
from distill.inputs import input_path
from distill.plugins import Kind, external_files, is_external
from filters.base import Filter

# What earns its place on real traces (docs/filters.md): the rest is for those who know why they want it.
DEFAULT = ("finished", "parses", "has_reasoning", "degenerate", "language", "leak", "verdict_matches_label")
FILTERS = Kind("filter", "filters", Filter, inherit="filters.base.RowFilter or filters.base.GroupFilter")
Thresholds = dict[str, JsonValue]


class FilterSettings(RootModel[list[dict[str, Thresholds]]]):
    """The filters in their order, each as {name: thresholds}. A name is a built-in one's, or `FILE.py:Class`."""

    root: list[dict[str, Thresholds]] = [{name: {}} for name in DEFAULT]

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A list of names, or of {name: thresholds}."""
        names = FILTERS.names()
        thresholds = {name: {"anyOf": [FILTERS.load(name).model_json_schema(), {"type": "null"}]} for name in names}
        return {
            "type": "array",
            "items": {
                "anyOf": [
                    {"enum": list(names)},
                    {"type": "string", "pattern": ":"},
                    {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": thresholds,
                     "patternProperties": {":": {"type": "object"}}, "additionalProperties": False},
                ]
            },
        }  # fmt: skip

    @field_validator("root", mode="before")
    @classmethod
    def _entries(cls, entries: object, info: ValidationInfo) -> list[dict[str, Thresholds]]:
        if not isinstance(entries, list | tuple):
            raise ValueError("filters are a list of names, or of {name: {threshold: value}}")
        folder = Path((info.context or {}).get("base", "."))
        checked = []
        for entry in entries:
            name, thresholds = _name_and_thresholds(entry)
            made = make(name, thresholds, folder)
            if is_external(name):
                from filters.engine.trial import try_out

                try_out(made, folder)
            checked.append({name: thresholds})
        return checked

    def entries(self) -> list[tuple[str, Thresholds]]:
        """(name, thresholds) of each filter."""
        return [next(iter(entry.items())) for entry in self.root]

    def files(self, base: Path) -> list[Path]:
        """The user's own files that the list names: a change in one is a change of the settings."""
        return list(
            dict.fromkeys(file for name, thresholds in self.entries() for file in files(name, thresholds, base))
        )


def make(name: str, thresholds: Thresholds, folder: Path) -> Filter:
    """One filter with its thresholds, not yet prepared. Raises ConfigError naming the filter and the threshold."""
    return validate(FILTERS.load(name, folder), thresholds, name)


def files(name: str, thresholds: Thresholds, folder: Path) -> list[Path]:
    """The files of one filter that are the user's: its code where it is external, and what it reads."""
    return [
        *external_files([name], folder),
        *(input_path(folder, file) for file in make(name, thresholds, folder).reads()),
    ]


def _name_and_thresholds(entry: object) -> tuple[str, Thresholds]:
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(f"{entry!r} is no filter; write a name or {{name: {{threshold: value}}}}")
    ((name, thresholds),) = entry.items()
    name = FILTERS.check_name(name)
    if not isinstance(thresholds or {}, dict):
        raise ValueError(f"{name}: thresholds are a mapping, such as {{{name}: {{threshold: value}}}}")
    return name, dict(thresholds or {})
