"""The stage `pairs`: queries and passages with labels. Called by `distill.pipeline.stages`; others use its teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from distill import store
from distill.files import READING
from distill.inputs import input_path
from distill.pipeline import refresh
from distill.pipeline.run import Run, dump
from distill.pipeline.sets import HeldOut
from distill.pipeline.sources import data_folder, source_files
from distill.pipeline.stage import Stage
from distill.records import Pair
from distill.results import Counts, Json

if TYPE_CHECKING:
    from distill.pairs.pair_map import Pairs
    from teacher.asker import Asker
    from teacher.settings import AskingStage


def _settings(run: Run) -> Json:
    """What decides which pairs there are, apart from the source's files; prompts and teacher where one is asked."""
    pairs, teacher = run.config.pairs, run.config.teacher
    found: dict[str, Json] = {**dump(pairs), "seed": run.config.seed}
    if pairs.asks:
        from distill.pairs.generation.prompting import hashes

        sampling = {key: value for key, value in teacher.sampling(0).items() if key in ("top_p", "seed")}
        redact = {"redact": dump(teacher.redact)} if teacher.redact else {}
        found["asked"] = {"teacher": teacher.asked_as, "sampling": sampling, "prompts": hashes(), **redact}
    return found


def _inputs(run: Run) -> Counts:
    """The hashes of the source's files, and of the evaluation sets' where their texts are taken out."""
    pairs = run.config.pairs
    if pairs.source == "example":
        return {"example": pairs.example}
    found: dict[str, Json] = {**refresh.inputs(run), **run.file_hashes(source_files(run, pairs)), "reading": READING}
    for miner in pairs.miners:
        if miner.path:
            found |= run.file_hashes([input_path(run.base, miner.path)])
    if pairs.clean.decontaminate:
        held_out = HeldOut(run, made=False)
        found["held_out"] = held_out.inputs()
        if read_as := held_out.read_as():
            found["held_out_read_as"] = read_as
    return found


def _make(run: Run) -> Counts:
    """Make the pairs; what was asked is journalled with the traces, so that a second call asks only what is left."""
    from distill.pairs.build import build

    settings = run.config.pairs
    with teacher_session(run, "pairs") if settings.asks else nullcontext(None) as ask:
        pairs, counts = build(
            settings, run.config.seed, data_folder(run, settings), run.base, ask, HeldOut(run, made=False),
            lambda text: run.say(f"  {text}"), refresh.known_parts(run),
        )  # fmt: skip
        if ask is not None:
            counts |= ask.counts()
    return {**counts, **store.write_rows(run.pairs, pairs, Pair, presorted=True)}


def pairs_without_teacher(run: Run, notify: Callable[[str], None] | None = None) -> Pairs | None:
    """The pairs as they are before anything is asked, for an estimate; None where the teacher writes the queries.

    `notify` gets what the stage would say of them.
    """
    from distill.pairs.build import build

    settings = run.config.pairs
    if settings.synthesize is not None:
        return None
    clean = settings.clean.model_copy(update={"decontaminate": False})
    unlabelled = settings.unlabelled if settings.judge is None else "ask"  # the teacher may label them first
    unasked = {"judge": None, "instructions": None, "poison": None, "clean": clean, "unlabelled": unlabelled}
    pairs, _ = build(
        settings.model_copy(update=unasked), run.config.seed, data_folder(run, settings), run.base,
        notify=notify, known=refresh.known_parts(run),
    )  # fmt: skip
    return pairs


def teacher_running(run: Run) -> AbstractContextManager[str | None]:
    """The embedded teacher, started for as long as it is needed, where the configuration asks for it."""
    if not run.config.teacher.embedded:
        return nullcontext(None)
    from distill.example.server import running
    from distill.example.teacher import TeacherSettings

    return running(TeacherSettings(**{"model": run.config.teacher.teacher_name, **run.config.teacher.example}))


@contextmanager
def teacher_session(run: Run, stage: AskingStage) -> Iterator[Asker]:
    """A session with the teacher on a stage's account; the run's journal holds what was answered before."""
    from teacher.asker import asker

    refresh.take_answers(run)
    account = partial(asker, stage=stage, notify=run.log, retry_failed=run.retry_failed, quiet=run.quiet)
    with teacher_running(run) as url, account(run.config.teacher, run.traces, base_url=url) as ask:
        yield ask


STAGE = Stage("pairs", "pairs", (), _settings, _inputs, _make)
