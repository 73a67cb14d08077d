"""The stage `pairs`: a source's texts, and a teacher where the pairs need one, handed to the room that makes pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from distill import store
from distill.pipeline.run import Run, dump
from distill.pipeline.sources import HeldOut, data_folder, source_files
from distill.records import Pair


def pair_settings(run: Run) -> Any:
    """What decides which pairs there are, beside the source's files; prompts and teacher where the teacher is asked."""
    pairs, teacher = run.config.pairs, run.config.teacher
    found = {**dump(pairs), "seed": run.config.seed}
    if pairs.asks:
        from distill.pairs.generation.prompting import hashes

        sampling = {key: value for key, value in teacher.sampling(0).items() if key in ("top_p", "seed")}
        found["asked"] = {"teacher": teacher.teacher_name, "sampling": sampling, "prompts": hashes()}
    return found


def pair_inputs(run: Run) -> dict[str, Any]:
    """The hashes of the source's files, and of the evaluation sets' where their texts are taken out."""
    pairs = run.config.pairs
    if pairs.source == "example":
        return {"example": pairs.example}
    found: dict[str, Any] = run.file_hashes(source_files(run, pairs))
    for negatives in pairs.negatives.miners if pairs.negatives else ():
        if negatives.path:
            found |= run.file_hashes([run.base / negatives.path])
    if pairs.clean.decontaminate:
        from distill.pipeline.sets import set_inputs

        held_out = _HeldOut(run)
        sets = [each for each in run.config.evaluation.sets if each.name in held_out]
        found["held_out"] = {each.name: set_inputs(run, each) for each in sets}
    return found


def make_pairs(run: Run) -> dict[str, Any]:
    """Make the pairs; what was asked is journalled with the traces, so that a second call asks only what is left."""
    from distill.pairs.build import build

    settings = run.config.pairs
    with _asking(run) if settings.asks else nullcontext(None) as ask:
        pairs, counts = build(
            settings, run.config.seed, data_folder(run, settings), run.base, ask, _HeldOut(run),
            lambda text: run.say(f"  {text}"),
        )  # fmt: skip
        if ask is not None:
            counts |= ask.counts()
    return {**counts, **store.write_rows(run.folder / "pairs", pairs, Pair)}


def pairs_without_teacher(run: Run) -> list[Pair] | None:
    """The pairs as they are before anything is asked, for an estimate; None where the teacher writes the queries."""
    from distill.pairs.build import build

    settings = run.config.pairs
    if settings.synthesize is not None:
        return None
    clean = settings.clean.model_copy(update={"decontaminate": False})
    unasked = {"judge": None, "instructions": None, "poison": None, "clean": clean}
    pairs, _ = build(settings.model_copy(update=unasked), run.config.seed, data_folder(run, settings), run.base)
    return pairs


def teacher_running(run: Run) -> AbstractContextManager[str | None]:
    """The embedded teacher, started for as long as it is needed, where the configuration asks for it."""
    if run.config.teacher.source != "example":
        return nullcontext(None)
    from distill.example.server import running
    from distill.example.teacher import TeacherSettings

    return running(TeacherSettings(**{"model": run.config.teacher.teacher_name, **run.config.teacher.example}))


@contextmanager
def _asking(run: Run) -> Iterator[Any]:
    """A session with the teacher on this stage's account."""
    from teacher.asker import asking

    with (
        teacher_running(run) as url,
        asking(
            run.config.teacher,
            run.folder / "traces",
            stage="pairs",
            base_url=url,
            notify=run.log,
            retry_failed=run.retry_failed,
        ) as ask,
    ):
        yield ask


class _HeldOut(Mapping[str, Iterable[str]]):
    """The texts of the evaluation sets that do not come from these very pairs."""

    def __init__(self, run: Run) -> None:
        self._all = HeldOut(run)
        self._names = [each.name for each in run.config.evaluation.sets if each.source != "pairs"]

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Iterable[str]:
        return self._all[name]
