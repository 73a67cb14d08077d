"""The stage `evaluate`: every student reranks the first stage's lists of every set. Called by `stages`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from distill import store
from distill.disk_map import DiskMap
from distill.errors import ConfigError, InputError
from distill.pipeline import modes, refresh, scoring
from distill.pipeline.run import Run, dump
from distill.pipeline.sets import HeldOut, first_stage, suite_of
from distill.pipeline.sources import base_of
from distill.pipeline.stage import Stage
from distill.plugins import external_files
from distill.prompts import PROMPTS
from distill.records import Judgement, Pair, make_pair
from distill.results import Counts, EvaluationResult, Json, Listed, SetDetail, as_json
from distill.tables import counted_phrase

if TYPE_CHECKING:
    from distill.evaluation.first_stage import FirstStage
    from distill.evaluation.settings import SetSettings
    from distill.evaluation.suites.base import Suite
    from distill.files.qrels import Qrels
    from distill.files.runs import Rankings
    from distill.rerank.fusion import Fusion
    from distill.rerank.jobs import Job, Judged
    from distill.rerank.scorer import Scorer


FUSED = "fused"  # SYSTEM.fused is that system's ranking fused with the first stage's
BLOCK = 50_000  # pairs that are in memory together


class Candidates:
    """The pairs of a set, the first stage's lists: in blocks of whole queries, sorted by query; anew for each loop."""

    def __init__(self, suite: Suite, first: FirstStage, split: str) -> None:
        self.suite, self.first, self.split = suite, first, split

    def __iter__(self) -> Iterator[list[Pair]]:
        suite, block = self.suite, list[Pair]()
        for query, ranked in self.first.sorted_items():
            text, instruction = suite.queries[query], suite.instructions.get(query)
            block += [
                make_pair(query, doc, text, suite.passages[doc], instruction, split=self.split) for doc, _ in ranked
            ]
            if len(block) >= BLOCK:
                yield block
                block = []
        if block:
            yield block


class Judgements(Collection[Judgement]):
    """A system's judgements of a set, read from its folder in each loop; a query's in the order of its list."""

    def __init__(self, folder: Path, rows: int, first: FirstStage) -> None:
        self._folder, self._rows, self._first = folder, rows, first

    def __len__(self) -> int:
        return self._rows

    def __contains__(self, row: object) -> bool:
        return any(row == each for each in self)

    def __iter__(self) -> Iterator[Judgement]:
        for query, rows in groupby(store.read_rows(self._folder, Judgement), attrgetter("query_id")):
            by_passage = {row.doc_id: row for row in rows}
            yield from (by_passage[doc] for doc, _ in self._first[query] if doc in by_passage)


def _settings(run: Run) -> Json:
    """The evaluation's own, and those of pairs and scoring that decide measures, lists and scores, where they are not
    the defaults."""
    deciding = {"relevant_from", "language", "clicks", "split", "files", "cut_words"}
    of_pairs = run.config.pairs.model_dump(mode="json", include=deciding, exclude_defaults=True)
    bound = {"max_new_tokens": run.config.evaluation.max_new_tokens or _own_bounds(run)}
    return {**dump(run.config.evaluation), **bound, "seed": run.config.seed, **of_pairs, **scoring.deciding(run)}


def _own_bounds(run: Run) -> int | None:
    """The bound on the reasoning of all students where none of them knows its own, as it was before any did."""
    from distill.rerank.student_format import MAX_REASONING, reasoning_bound

    own = {reasoning_bound(str(run.students / student.name)) for student in run.config.sft.students}
    return MAX_REASONING if own == {MAX_REASONING} else None


def _inputs(run: Run) -> Counts:
    backend = run.file_hashes(external_files([run.config.scoring.backend], run.base))
    return {"students": run.data_hash("students"), **HeldOut(run).inputs(), **backend, **_served_inputs(run)}


def _served_inputs(run: Run) -> Counts:
    before = refresh.earlier(run)
    if before is None:
        return {}
    _, folder, mode = refresh.served(run, before)
    return {**refresh.inputs(run), refresh.SERVED: [refresh.files_hash(run, Path(folder)), mode]}


def systems(run: Run) -> dict[str, tuple[str, str]]:
    """{system: (model, mode)} of all that `evaluation.systems` does not leave out, the untrained one first.

    The untrained model answers directly: what it would write before an answer says nothing, at great length. With
    students that write nothing alone it says nothing at all, and is judged only where it is named.
    """
    trained = {
        system: (str(run.students / student.name), mode)
        for student in run.config.sft.students
        for system, mode in modes.modes_of(run, student).items()
    }
    found = {}
    if modes.judges_untrained(run):
        base = base_of(run)
        found["untrained"] = (str(run.students / "untrained") if base == "scratch" else base, "direct")
    if before := refresh.earlier(run):
        found[refresh.SERVED] = refresh.served(run, before)[1:]
    return found | trained


def _make(run: Run) -> Counts:
    metrics = run.metrics()
    metrics.evaluation, metrics.intervals = {}, {}
    counts: dict[str, Json] = {}
    fusion: dict[str, Fusion] = {}  # by system, chosen on the development set, which comes first
    with scoring.scorer(run) as scorer:
        for entry in modes.in_order(run):
            result, counts[entry.name] = _evaluate_set(run, entry, scorer, fusion)
            metrics.evaluation[entry.name] = result.measures
            metrics.intervals[entry.name] = result.intervals
    _remove_sets(run, metrics.evaluation)
    run.write_metrics(metrics)
    metrics.refresh = refresh.verdict(run)
    run.write_metrics(metrics)
    return {"sets": counts, **_devices(run, scorer.started)}


def _devices(run: Run, count: int) -> Counts:
    """How many devices judged, and the rent of one an hour where the table knows it; nothing where none judged here."""
    from sft.estimate.shapes import device_of

    if not count or run.config.scoring.backend == "openai":
        return {}
    rent = device_of(None).usd_per_hour
    return {"devices": count, **({"usd_per_hour": rent} if rent else {})}


def _evaluate_set(
    run: Run, entry: SetSettings, scorer: Scorer, fusion: dict[str, Fusion]
) -> tuple[EvaluationResult, Counts]:
    """Judge one set by every student, write its files, and return the result and the counts.

    `fusion` is filled by the development set, on which no fused ranking is measured: its weight was chosen there.
    """
    from distill.evaluation.evaluate import summarise
    from distill.evaluation.measures import student_intervals, student_measures
    from distill.rerank.fusion import fuse_all, margins_of
    from distill.statistics.measures import relevant_measures

    started, seed = time.monotonic(), run.config.seed
    suite = suite_of(run, entry)
    refresh.refuse_leaks(run, [(entry.name, suite)])
    run.evaluation.mkdir(exist_ok=True)
    first = first_stage(run, entry, suite)
    left_out = {**suite.left_out, **first.left_out}
    for what, count in left_out.items():
        run.say(f"  {entry.name}: {counted_phrase(count, what)}")
    candidates = Candidates(suite, first, entry.split)
    judged, seconds = _judge(run, entry, scorer, candidates, left_out)
    relevant_from = suite.relevant_from or run.config.pairs.relevant_from
    of_first = DiskMap((query, dict(ranked)) for query, ranked in first.items())
    margins = {name: margins_of(judgements) for name, judgements in judged.items()}
    fused: dict[str, Rankings] = {}
    if entry.name == run.config.evaluation.calibrate_on:
        if run.config.evaluation.fuse:
            fusion |= _choose(run, margins, of_first, suite.qrels)
        modes.calibrate(run, judged, suite.qrels, relevant_from, fusion)
        if run.config.evaluation.calibration_instructions:
            pairs = [pair for block in candidates for pair in block]
            modes.recheck(run, scorer, pairs, suite.qrels, relevant_from)
    else:
        fused = {name: fuse_all(margins[name], of_first, fusion[name].weight) for name in margins if name in fusion}
    modes.write(run.evaluation, entry.name, modes.describe(run, judged, suite.qrels, relevant_from, seconds))
    rankings: dict[str, Rankings] = {"first_stage": of_first}
    for name in margins:
        rankings |= {name: margins[name]} | ({f"{name}.{FUSED}": fused[name]} if name in fused else {})
    measures = relevant_measures(run.config.evaluation.measures, relevant_from)
    values = {name: suite.values(ranking, measures) for name, ranking in rankings.items()}
    result = summarise(values, seed)
    _write_files(run, entry, result, rankings)
    for name, judgements in judged.items():
        result.measures[name] |= student_measures(judgements, suite.qrels, relevant_from)
        result.measures[name]["pairs_per_s"] = round(len(judgements) / seconds[name], 2)
        result.intervals[name] |= student_intervals(judgements, suite.qrels, relevant_from, seed)
    for name in fused:
        result.measures[f"{name}.{FUSED}"]["fusion_weight"] = fusion[name].weight
    detail = SetDetail(
        kind=suite.kind,
        relevant_from=relevant_from,
        tests=result.tests,
        left_out=left_out,
        listed=_listed(suite.qrels, first, relevant_from),
        per_query=values,
    )
    shown = DiskMap((doc, None) for ranked in first.values() for doc, _ in ranked)
    of_set = {
        "queries": suite.queries,
        "instructions": suite.instructions,
        "passages": DiskMap((doc, suite.passages[doc]) for doc in shown.sorted_keys()),
        "qrels": suite.qrels,
    }
    texts = {name: value if isinstance(value, DiskMap) else as_json(value) for name, value in of_set.items()}
    store.write_json(run.evaluation / f"{entry.name}.json", {**as_json(detail), **texts})
    counts: dict[str, Json] = {"queries": len(suite.queries), "pairs": first.pairs, "left_out": left_out}
    if fusion and not fused:
        counts["fusion"] = {name: as_json(chosen) for name, chosen in fusion.items()}
    return result, {**counts, "seconds": round(time.monotonic() - started, 2)}


def _choose(run: Run, margins: Mapping[str, Rankings], first: Rankings, qrels: Qrels) -> dict[str, Fusion]:
    """The first stage's weight for each system, said on the terminal. Raises ConfigError where none can be chosen."""
    from distill.rerank.fusion import choose

    try:
        chosen = {name: choose(rankings, first, qrels) for name, rankings in margins.items()}
    except InputError as error:
        raise ConfigError(f"evaluation.fuse, evaluation.calibrate_on: {error}") from None
    for name, fusion in chosen.items():
        run.say(f"  {name}, fused: {fusion.text()}")
    return chosen


def _judge(
    run: Run, entry: SetSettings, scorer: Scorer, candidates: Candidates, left_out: dict[str, int]
) -> tuple[dict[str, Judgements], dict[str, float]]:
    """Every system's judgements, written as they are complete, and its seconds; in the systems' order.

    What a system cannot read is added to `left_out`. Raises InputError for a student that cannot judge, before the
    first pair is judged.
    """
    from distill.rerank.jobs import Judged
    from distill.rerank.scorer import check_students, refuse_where_nothing_is_read

    wanted = systems(run)
    scale = run.config.prompt if len(PROMPTS[run.config.prompt].verdicts) > 2 else None  # a plain base names no prompt
    jobs = [
        scoring.job_for(run, name, model, mode, (), scale if name == "untrained" else None)
        for name, (model, mode) in wanted.items()
        if modes.due(run, entry.name, mode)
    ]
    check_students(jobs)
    _remove_left_out(run, entry, wanted)
    judged: dict[str, Judgements] = {}
    seconds: dict[str, float] = {}
    scorer.notify = scoring.shown(run, entry.name)
    for job in sorted(jobs, key=lambda job: job.student.mode == "adaptive"):  # it takes the others' answers
        total = Judged(job.name, [])
        folder = run.evaluation / f"{entry.name}.{job.name}"
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        rows = store.write_rows(unfinished, _rows(scorer, job, candidates, total), Judgement, presorted=True)["rows"]
        if total.failed:
            if not rows:
                refuse_where_nothing_is_read(job.student, total.failed)
            text = _too_long(job.name, list(total.failed))
            left_out[text] = len(total.failed)
            run.say(f"  {entry.name}: WARNING: {counted_phrase(len(total.failed), text)}")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        judged[job.name] = Judgements(folder, rows, candidates.first)
        seconds[job.name] = total.seconds
    return {name: judged[name] for name in wanted if name in judged}, seconds


def _rows(scorer: Scorer, job: Job, candidates: Candidates, total: Judged) -> Iterator[Judgement]:
    """A system's judgements, sorted by query and passage; `total` gets its seconds, and what it cannot read."""
    from distill.rerank.progress import Progress

    progress = None if job.student.mode == "adaptive" else Progress(job.name, candidates.first.pairs)
    for block in candidates:
        (made,) = scorer.score([replace(job, pairs=block, part=True, progress=progress)])
        total.seconds += made.seconds
        total.failed |= made.failed
        yield from sorted(made.found, key=lambda row: (row.query_id, row.doc_id))


def _remove_left_out(run: Run, entry: SetSettings, wanted: Collection[str]) -> None:
    """Delete what an earlier evaluation left of systems that are not judged any more; the journal keeps it."""
    for path in run.evaluation.glob(f"{entry.name}.*"):
        name = path.name.removeprefix(f"{entry.name}.")
        if path.is_dir() and name not in wanted:
            shutil.rmtree(path)


def _remove_sets(run: Run, evaluated: Collection[str]) -> None:
    """Delete what an earlier evaluation left of sets that are not evaluated any more; the journal keeps it."""
    first = ".first_stage.trec"  # which every set has
    for name in {path.name.removesuffix(first) for path in run.evaluation.glob(f"*{first}")} - {*evaluated}:
        for path in run.evaluation.glob(f"{name}.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _too_long(system: str, queries: list[str]) -> str:
    """What terminal and report say of queries that a student cannot read; their number comes first."""
    some = ", ".join(queries[:5]) + (", ..." if len(queries) > 5 else "")
    return f"queries too long for {system}, not judged and counted as 0 ({some})"


def _write_files(run: Run, entry: SetSettings, result: EvaluationResult, rankings: Mapping[str, Rankings]) -> None:
    """The set's tables, and each system's ranking as a TREC run."""
    from distill.evaluation import tables
    from distill.files.runs import write_run

    (run.evaluation / f"{entry.name}.md").write_text(tables.markdown_table(result), encoding="utf-8")
    (run.evaluation / f"{entry.name}.tex").write_text(tables.latex_table(result), encoding="utf-8")
    for path in run.evaluation.glob(f"{entry.name}.*.trec"):  # a system's that is not judged, or not fused, any more
        if path.name not in {f"{entry.name}.{name}.trec" for name in rankings}:
            path.unlink()
    for name, ranking in rankings.items():
        write_run(run.evaluation / f"{entry.name}.{name}.trec", ranking, name)


def _listed(qrels: Mapping[str, Mapping[str, float]], first: FirstStage, relevant_from: int) -> Listed:
    """How many of the relevant passages the first stage's lists hold: no reranker finds the others."""
    listed = count = 0
    for query, labels in qrels.items():
        relevant = {doc for doc, grade in labels.items() if grade >= relevant_from}
        listed += len(relevant.intersection(doc for doc, _ in first.get(query, ())))
        count += len(relevant)
    return Listed(relevant=listed, of=count)


STAGE = Stage("evaluate", "evaluation", ("students",), _settings, _inputs, _make)
