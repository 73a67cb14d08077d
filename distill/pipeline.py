"""The line from pairs to report: the whole configuration, which stage follows which, and when one need not run again.

What each stage does stands in `distill/line/` (`stages.py`, its data in `sources.py`, its evaluation in `judging.py`);
these and `distill/cli.py` are the only files that know several rooms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator, model_validator

from distill import store
from distill.config import Settings
from distill.dataset.settings import DatasetSettings
from distill.errors import RunFolderError
from distill.evaluation.settings import EvaluationSettings
from distill.line.run import Run
from distill.pairs.settings import PairSettings
from distill.prompts import PROMPT_NAME, PROMPTS
from filters.settings import FilterSettings
from sft.settings import SftSettings
from teacher.settings import TeacherSettings


class RunConfig(Settings):
    """A configuration file, whole."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the run and its folder")
    seed: int = 0
    prompt: str = Field(
        PROMPT_NAME, description="what teacher and students read: rank1, or delimited (docs/security.md)"
    )
    pairs: PairSettings
    teacher: TeacherSettings
    filters: FilterSettings = FilterSettings()
    dataset: DatasetSettings = DatasetSettings()
    sft: SftSettings = SftSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    ablate: list[dict[str, Any]] = Field([], description="settings and the values they take; docs/evaluation.md")
    rounds: int = Field(1, ge=1, le=4, description="2: self_filter's student is trained in a first round")

    @field_validator("ablate", mode="before")
    @classmethod
    def _grids(cls, given: Any) -> Any:
        return [given] if isinstance(given, dict) else given or []

    @model_validator(mode="after")
    def _what_filters_need(self) -> RunConfig:
        """What a filter needs and this configuration cannot give is said before anything is paid for."""
        named = {name: given for entry in self.filters.root for name, given in entry.items()}
        if ("self_filter" in named) != (self.rounds > 1):
            says = "has no student to judge with" if self.rounds == 1 else "is what a first round is for"
            raise ValueError(f"filters.self_filter {says}; rounds: 2 and self_filter go together")
        if named.get("length", {}).get("max_length") and self.sft.base == "scratch":
            raise ValueError("filters.length.max_length needs the student's tokenizer, and base: scratch makes it "
                             "from what the filters keep; use max_tokens")  # fmt: skip
        return self

    @field_validator("prompt")
    @classmethod
    def _known_prompt(cls, name: str) -> str:
        if name not in PROMPTS:
            raise ValueError(f"is no prompt; there are {', '.join(PROMPTS)}")
        return name

    @model_validator(mode="after")
    def _one_prompt(self) -> RunConfig:
        """The rooms that write prompts are told which; a room that is told another by itself is a contradiction."""
        for room in ("teacher", "sft"):
            settings = getattr(self, room)
            if settings.prompt not in (PROMPT_NAME, self.prompt):
                raise ValueError(f"{room}.prompt is {settings.prompt!r}; set prompt at the top, for all rooms alike")
            object.__setattr__(self, room, settings.model_copy(update={"prompt": self.prompt}))
        if PROMPTS[self.prompt].delimited and self.sft.think_tokens == "text":
            raise ValueError("prompt delimited needs its fields' marks as tokens; leave sft.think_tokens out")
        return self


WRITTEN = ("rows", "data_hash", "files", "hashes")  # of a stage's result, what belongs to its manifest alone


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the line.

    `folder` holds its rows and its manifest, `needs` are the folders it reads; `settings` and `inputs` decide whether
    it has to run again; `make` does the work and returns counts, among them the rows' `data_hash`.
    """

    name: str
    folder: str
    needs: tuple[str, ...]
    settings: Callable[[Run], Any]
    inputs: Callable[[Run], dict[str, Any]]
    make: Callable[[Run], dict[str, Any]]

    def done(self, run: Run) -> bool:
        """Whether the folder holds what these settings and inputs make."""
        manifest = store.read_manifest(run.folder / self.folder)
        if manifest is None:
            return False
        return bool(manifest["fingerprint"] == store.stage_fingerprint(self.name, self.inputs(run), self.settings(run)))


def run_stages(run: Run, line: tuple[Stage, ...], names: tuple[str, ...]) -> None:
    """Bring the named stages up to date, in the line's order; redraw the report when anything was made, or failed.

    Raises RunFolderError where a stage's predecessor is not there, and whatever the stages raise.
    """
    made = False
    try:
        for stage in line:
            if stage.name not in names:
                continue
            if stage.done(run) and not run.retry_failed:
                run.say(f"{stage.name}: unchanged")
                continue
            for need in stage.needs:
                if store.read_manifest(run.at(need)) is None:
                    raise RunFolderError(
                        f"{run.at(need)}: not made yet, and {stage.name} reads it; `distill run` makes the whole line"
                    )
            made = True
            (run.folder / stage.folder / store.MANIFEST).unlink(missing_ok=True)
            with run.stage(stage.name) as counts:
                result = stage.make(run)
                counts.update({key: value for key, value in result.items() if key not in WRITTEN})
            store.write_manifest(run.folder / stage.folder, stage.name, stage.inputs(run), stage.settings(run), result)
    finally:
        if "report" in names and (made or names == ("report",) or not (run.folder / "report.html").exists()):
            from distill.report.build import build
            from distill.report.figures import draw

            draw(run.folder)
            run.say(f"report: {build(run.folder)}")


def plan(run: Run, line: tuple[Stage, ...]) -> list[tuple[str, bool]]:
    """(stage, whether it has to run) for the whole line; what follows a stage that has to run may have to as well."""
    lines, dirty = [], False
    for stage in line:
        dirty = dirty or not stage.done(run)
        lines.append((stage.name, dirty))
    return lines
