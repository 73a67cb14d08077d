"""A refresh, `refresh` of the configuration: what a run takes from an earlier one, and which student to serve.

Answers that the earlier run paid for are taken over, queries stay in the part of the split that they were in, students
go on from that run's, and the student that is served is evaluated with the new ones on the same queries. Called by the
stages pairs, trace, sft and evaluate, by `check`, the dry run and the cli.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distill import store
from distill.config import resolved, validate
from distill.errors import ConfigError, RunFolderError
from distill.pipeline.run import Run
from distill.records import Pair
from distill.results import Json, RefreshResult, SetDetail, read_as
from distill.tables import counted
from distill.texts import clean_text, normalised

if TYPE_CHECKING:
    from distill.evaluation.suites.base import Suite
    from sft.stage import Start

SERVED = "served"  # the system of the evaluation that is the earlier run's student
EXIT = {"promote": 0, "keep": 10, "unsure": 11}  # what `distill run` returns, for a scheduler
TAKEN = "earlier.json"  # in traces/: which run's answers were taken over
SAME = ("sft.base", "sft.revision", "sft.scratch", "sft.think_tokens")  # a student goes on from one of the same base


def earlier(run: Run) -> Run | None:
    """The run that this one refreshes; None where it refreshes none. Raises ConfigError where none can be read."""
    from distill.pipeline.config import RunConfig

    if run.config.refresh is None:
        return None
    folder = Path(run.config.refresh.since)
    raw = resolved(folder)
    if raw is None:
        raise ConfigError(f"refresh.since: {folder} is no run folder: it has no config.yaml of a run")
    origin = folder / "config.yaml"
    return Run(validate(RunConfig, raw, origin), folder, origin, quiet=True)


def check(run: Run) -> None:
    """Raise ConfigError or RunFolderError where refreshing that run makes no sense. Reads small files alone."""
    before = earlier(run)
    if before is None or run.config.refresh is None:
        return
    since = before.folder
    if since.resolve() == run.folder.resolve():
        raise ConfigError(
            f"refresh.since: {since} is this run's own folder; name another with --out, such as runs/2026-12"
        )
    if before.config.prompt != run.config.prompt:
        raise ConfigError(
            f"prompt: is {run.config.prompt!r}, and {before.config.prompt!r} in {since}: neither its answers nor its "
            "students can be gone on from; leave refresh out"
        )
    if store.read_manifest(before.students) is None or not before.metrics().evaluation:
        raise RunFolderError(
            f"refresh.since: {since} has no evaluated students; finish it with `distill run`, or name another"
        )
    if not run.config.evaluation.sets:
        raise ConfigError(
            "evaluation.sets: is empty, and a refresh compares the new student with the served one on a set"
        )
    system, _, _ = served(run, before)
    if system not in _systems(run):
        raise ConfigError(
            f"refresh.served: {system!r} of {since} is no system of this configuration, which has "
            f"{', '.join(_systems(run))}; train and evaluate it again, or name another"
        )
    if run.config.refresh.students == "continue":
        for key in SAME:
            now, then = (_setting(each, key) for each in (run, before))
            if now != then:
                raise ConfigError(
                    f"{key}: is {now}, and {then} in {since}, whose students would be gone on from; set "
                    "refresh.students: afresh to train from the base"
                )


def _setting(run: Run, key: str) -> Json:
    value: Json = run.config.sft.model_dump(mode="json")[key.removeprefix("sft.")]
    return value


def _systems(run: Run) -> dict[str, tuple[str, str]]:
    """{system: (folder, mode)} of a run's trained students, as they are evaluated."""
    from distill.pipeline.modes import modes_of

    return {
        system: (str(run.students / student.name), mode)
        for student in run.config.sft.students
        for system, mode in modes_of(run, student).items()
    }


def served(run: Run, before: Run) -> tuple[str, str, str]:
    """(system, folder, mode) of the student that is served: `refresh.served`, else the earlier run's best.

    Raises ConfigError where that run has no such system.
    """
    from distill.report.evaluated import evaluation_sets
    from distill.report.files import RunFiles
    from distill.report.result import main_set

    there = _systems(before)
    name = run.config.refresh.served if run.config.refresh else None
    if name is None:
        main = main_set(evaluation_sets(RunFiles(before.folder)))
        name = next((system for system in (main.students if main else ()) if system in there), None)
    if name not in there:
        raise ConfigError(f"refresh.served: {before.folder} has no system {name!r}, but {', '.join(there)}")
    folder, mode = there[name]
    if not (Path(folder) / "config.json").exists():
        raise RunFolderError(f"refresh.since: {folder} holds no model; name a run whose students are there")
    return name, folder, mode


# --- answers ---------------------------------------------------------------------------------------------------------


def journal(run: Run) -> str | None:
    """Where the earlier run's answers are; None without one, or where both runs have one journal."""
    before = earlier(run)
    if before is None:
        return None
    place = before.config.teacher.journal or str(before.traces / "journal")
    return None if place == run.config.teacher.journal else place


def take_answers(run: Run) -> None:
    """Take the earlier run's answers over, once. Raises RunFolderError while another process has the journal."""
    from teacher.earlier import take_over

    place = journal(run)
    if place is None or not run.config.teacher.asks:
        return
    mark = {"journal": place, "this": run.config.teacher.journal}
    if store.read_json(run.traces / TAKEN) == mark:
        return
    run.say(f"refresh: taking over the answers of {run.config.refresh.since if run.config.refresh else place}")
    copied = take_over(place, run.config.teacher, run.traces)
    store.write_json(run.traces / TAKEN, mark)
    run.say(f"refresh: {counted(copied, 'answer')} taken over; what is not needed any more stays unused")


# --- queries ---------------------------------------------------------------------------------------------------------


def known_parts(run: Run) -> dict[str, str] | None:
    """{query text: part} of the earlier run, where the split is by shares; None otherwise.

    So no query that its students were trained on comes into a test, whatever new queries are drawn.
    """
    before = earlier(run)
    if before is None or not isinstance(run.config.pairs.split, dict):
        return None
    parts: dict[str, str] = {}
    for entry in before.config.evaluation.sets:
        if entry.split in run.config.pairs.split:
            detail = read_as(SetDetail, store.read_json(before.evaluation / f"{entry.name}.json"))
            parts |= {clean_text(query): entry.split for query in detail.queries.values()}
    for pair in store.read_rows(before.pairs, Pair):
        parts[pair.query] = pair.split
    return {query: part for query, part in parts.items() if part in run.config.pairs.split}


def inputs(run: Run) -> dict[str, Json]:
    """What the split of a refresh is made from, for fingerprints; {} without one, or without shares."""
    before = earlier(run)
    if before is None or not isinstance(run.config.pairs.split, dict):
        return {}
    evaluated = store.read_manifest(before.evaluation)
    return {"since": {"pairs": before.data_hash("pairs"), "evaluation": evaluated and evaluated["fingerprint"]}}


def refuse_leaks(run: Run, sets: Iterable[tuple[str, Suite]]) -> None:
    """Raise ConfigError where a set holds queries that the earlier run's students were trained on.

    Compared without case and punctuation. Not covered: passages, and runs of the chain whose folder is gone.
    """
    before = earlier(run)
    if before is None:
        return
    trained = {normalised(pair.query) for folder in _lineage(before) for pair in store.read_rows(folder, Pair)
               if pair.split == "train"}  # fmt: skip
    for name, suite in sets:
        seen = [query_id for query_id, query in suite.queries.items() if normalised(query) in trained]
        if seen:
            raise ConfigError(
                f"evaluation.sets, {name}: {counted(len(seen), 'query')} of {len(suite.queries):,} were trained on by "
                f"the students of {before.folder} ({seen[0]}: {suite.queries[seen[0]]!r}), so measures would be of "
                "what they have learnt by heart; take them out of the set, or name another set"
            )


def _lineage(before: Run) -> Iterator[Path]:
    """The pairs of a run and of those that its students went on from, as far as their folders are there."""
    run: Run | None = before
    seen: set[Path] = set()
    while run is not None and run.folder.resolve() not in seen:
        seen.add(run.folder.resolve())
        if store.read_manifest(run.pairs) is not None:
            yield run.pairs
        there = run.config.refresh is not None and resolved(Path(run.config.refresh.since)) is not None
        run = earlier(run) if there else None


# --- students --------------------------------------------------------------------------------------------------------


def starts(run: Run) -> Mapping[str, Start]:
    """{student: what it goes on from}; one that the earlier run does not have begins at the base."""
    from sft.stage import Start

    before = earlier(run)
    if before is None or run.config.refresh is None or run.config.refresh.students == "afresh":
        return {}
    names = {student.name for student in before.config.sft.targets}
    return {
        student.name: Start(before.students / student.name, files_hash(run, before.students / student.name))
        for student in run.config.sft.targets
        if student.name in names and (before.students / student.name / "config.json").exists()
    }


def files_hash(run: Run, folder: Path) -> str:
    """The hash of a student's files."""
    from distill.rerank.jobs import student_files

    return store.fingerprint(sorted(run.file_hashes(student_files(str(folder))).values()))


# --- the verdict -----------------------------------------------------------------------------------------------------


def verdict(run: Run) -> RefreshResult | None:
    """The new student against the served one, by the main set's first measure, paired by query; None without a refresh.

    `promote` where the new one is better by a paired randomisation test (p < 0.05), `keep` where it is worse, `unsure`
    otherwise. Not covered: the spread over training seeds.
    """
    from distill.evaluation.evaluate import summarise
    from distill.report.evaluated import evaluation_sets
    from distill.report.files import RunFiles
    from distill.report.result import main_set
    from distill.report.words import LOWER_IS_BETTER

    before = earlier(run)
    files = RunFiles(run.folder)
    main = main_set(evaluation_sets(files))
    if before is None or main is None or main.primary is None:
        return None
    system, _, _ = served(run, before)
    measure = main.primary
    sides = {name: {measure: main.per_query(name)} for name in (SERVED, system)}
    result = summarise(sides, run.config.seed, baseline=SERVED)
    test, (low, high) = result.tests[system][measure], result.differences[system][measure]
    better = test.difference < 0 if measure in LOWER_IS_BETTER else test.difference > 0
    return RefreshResult(
        since=str(before.folder),
        system=system,
        set=main.name,
        measure=measure,
        queries=len(sides[system][measure]),
        served=result.measures[SERVED][measure],
        new=result.measures[system][measure],
        difference=test.difference,
        low=low,
        high=high,
        p=test.p_holm,
        verdict="unsure" if not test.significant else "promote" if better else "keep",
    )
