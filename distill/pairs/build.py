"""Pairs from a source: what was judged, negatives that are mined, and what the teacher adds. Called by the pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from distill.disk_map import DiskMap
from distill.errors import DataError
from distill.pairs.builder import PairBuilder
from distill.pairs.collection import Collection, gather
from distill.pairs.pair_map import Pairs
from distill.pairs.settings import DataSettings, PairSettings
from distill.pairs.sources import open_source
from distill.pairs.split import parted, subset
from distill.plugins import external_files
from distill.records import Ask
from distill.results import Json
from distill.tables import counted, counted_phrase


def collection(
    settings: DataSettings,
    folder: Path,
    seed: int,
    part: str = "train",
    base: Path | None = None,
    known: Mapping[str, str] | None = None,
) -> Collection:
    """The collection that an evaluation set names, or its `part` where the split is given as shares.

    Labels may be decimal gains. `base` is what the paths under `files` are relative to; `known` is {query text: part}
    of an earlier run, whose queries stay in their parts.
    """
    source = open_source(settings, folder, base)
    if isinstance(settings.split, dict):
        whole = gather(source, settings.qrels, settings.missing, gains=True)
        return parted(whole, settings.split, seed, part, known)
    data = gather(source, settings.split, settings.missing, gains=True)
    return subset(data, data.queries)


def inputs(folder: Path, settings: DataSettings | None = None, base: Path | None = None) -> list[Path]:
    """The files that a source reads, and the file of an external source itself."""
    settings = settings or DataSettings(path=str(folder))
    return open_source(settings, folder, base).files() + external_files([settings.source], base or folder)


def build(
    settings: PairSettings,
    seed: int,
    folder: Path,
    base: Path | None = None,
    ask: Ask | None = None,
    held_out: Mapping[str, Iterable[str]] | None = None,
    notify: Callable[[str], None] | None = None,
    known: Mapping[str, str] | None = None,
) -> tuple[Pairs, dict[str, Json]]:
    """(pairs in the order of their ids, counts). Equal texts are one pair, the second one's id in `duplicate`.

    `base` is what paths of the settings are relative to; `ask` asks the teacher, where the settings say so; `held_out`
    gives the texts of evaluation sets by name; `known` is {query text: part} of an earlier run, whose queries stay in
    their parts. Raises DataError where the source cannot be read, or holds nothing to
    ask about, ConfigError where settings do not fit it, and Stopped where the teacher stops: the same call goes on.
    """
    say = notify or (lambda text: None)
    builder = PairBuilder(settings, seed, folder, base, ask, held_out, say, known)
    for what, count in builder.data.left_out.items():
        say(f"left out: {counted_phrase(count, what)}")
    for what, count in builder.data.counts.items():
        say(f"source: {counted_phrase(count, what)}")
    if len(builder.data.by_split) > 1:
        rows = ", ".join(f"{name} {count:,}" for name, count in builder.data.by_split.items())
        say(f"rows by split: {rows}; split {_split(settings)} is read")
    if settings.synthesize:
        say(f"writing queries for {counted(settings.synthesize.passages, 'passage')}")
        builder.synthesize()
    if isinstance(settings.split, dict):
        parts = Counter(builder.data.split_of.values())
        made = sorted(parts) if settings.synthesize else settings.ask
        shares = ", ".join(f"{part} {parts[part]:,}" for part in settings.split)
        say(f"queries by part: {shares}; pairs are made of {', '.join(made)}")
    queries = builder.chosen()
    builder.judged(queries)
    for reason, count in builder.tally("clean").items():
        kind = "pairs whose passage is " if reason == "the query itself" else "judged pairs: "
        say(f"left out: {counted_phrase(count, kind + reason)}")
    for what, count in builder.counts.get("labels", {}).items():
        say(f"labels: {count:,} {what}{'; the higher grade counts' if what == 'contradictory' else ''}")
    builder.mine(queries)
    if settings.judge:
        say("grading passages")
        builder.judge()
    unlabelled = builder.unlabelled()
    if unlabelled and settings.unlabelled == "drop":
        say(f"left out: {counted(unlabelled, 'pair')} without a label (pairs.unlabelled: drop)")
    elif unlabelled:
        say(f"labels: {counted(unlabelled, 'pair')} without one; they are asked about, and the teacher's verdict alone "
            "is trained on (pairs.unlabelled: drop leaves them out)")  # fmt: skip
    if settings.instructions:
        say("writing instructions")
        builder.instruct()
    if odd := _one_sided(builder):
        say(f"labels: {odd}")
    if not builder.pairs:
        reasons = ", ".join(f"{count} {why}" for why, count in builder.tally("clean").items()) or "it holds none"
        raise DataError(f"{folder}: no pair is left ({reasons})")
    return Pairs(builder.pairs), _counts(builder)


def _one_sided(builder: PairBuilder) -> str | None:
    """What to say of labels by which all pairs are relevant, though they are of several grades, or none is."""
    grades = Counter(pair.label or 0 for pair in builder.pairs.values() if pair.label_origin == "judged")
    lowest, judged = builder.settings.relevant_from, grades.total()
    relevant = sum(count for grade, count in grades.items() if grade >= lowest)
    counts = ", ".join(f"{grade}: {counted(count, 'pair')}" for grade, count in sorted(grades.items()))
    since = f"by pairs.relevant_from {lowest} (grades {counts})"
    if judged and not relevant:
        return f"none of {counted(judged, 'judged pair')} is relevant {since}; lower it, or mend the labels"
    if relevant == judged and len(grades) > 1:
        return f"all of {counted(relevant, 'judged pair')} are relevant {since}; raise it where the lower ones are not"
    return None


def _split(settings: PairSettings) -> str | None:
    """The split of the source that is read; None: its only one."""
    return settings.split if isinstance(settings.split, str) else settings.qrels


def _counts(builder: PairBuilder) -> dict[str, Json]:
    pairs = builder.pairs
    by_source, by_split, by_grade = Counter[str](), Counter[str](), Counter[str]()
    relevant = suspected = 0
    queries: DiskMap[None] = DiskMap()
    last = None
    for pair in pairs.values():
        by_source[pair.source.split(":")[0]] += 1
        by_split[pair.split] += 1
        by_grade[str(pair.label)] += 1
        relevant += pair.relevant is True
        suspected += pair.suspected is not None
        if pair.query_id != last:
            last = pair.query_id
            queries.add(last, None)
    clean = Counter(builder.tally("clean"))
    others = {name: rows for name, rows in builder.data.by_split.items() if name != _split(builder.settings)}
    clean.update({f"rows of split {name}": rows for name, rows in others.items() if len(builder.data.by_split) > 1})
    steps = {name: dict(sorted(counts.items())) for name, counts in builder.counts.items() if name != "clean"}
    return {
        "pairs": len(pairs),
        "queries": len(queries),
        "relevant": relevant,
        "unlabelled": by_grade["None"],
        "suspected": suspected,
        "empty": clean.pop("empty", 0),
        "duplicates": clean.pop("duplicates", 0),
        "negative_grades": builder.data.negative_grades,
        "without_text": sum(builder.data.left_out.values()),
        "of_source": builder.data.counts,
        "by_source": dict(by_source),
        "by_split": dict(by_split),
        "by_grade": dict(sorted(by_grade.items())),
        "left_out": dict(sorted(clean.items())),
        "passages": {"in_source": len(builder.data.passages), **builder.usable.counts()},
        **steps,
    }
