"""The stage `dataset`: kept traces become each student's training rows. Called by `distill.pipeline.stages`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from distill import store
from distill.errors import ConfigError
from distill.pipeline.rounds import Round
from distill.pipeline.run import Run, dump
from distill.pipeline.stage import Stage
from distill.plugins import external_files
from distill.records import Pair, Trace
from distill.results import Counts, Json


def sft_seed(run: Run) -> int:
    """The seed of training: `sft.seed`, else the run's."""
    sft = run.config.sft
    return run.config.seed if sft.seed is None else sft.seed


def _settings(run: Run) -> Json:
    sft = run.config.sft
    return {
        "students": [dump(student) for student in sft.targets],
        "seed": sft_seed(run),
        "card": dump(run.config.dataset),
        "dev": dump(sft.dev, include={"pairs"}) if sft.dev else None,
        "weights": dump(sft.weights),
    }


def _inputs(run: Run) -> Counts:
    """The rows (kept's hash covers the changed pairs), the files of one's own targets, and what the published rows'
    card says of earlier stages."""
    from distill.publish.card import provenance

    card = {} if isinstance(run, Round) else {"card": store.fingerprint(provenance(run.folder))}
    targets = run.file_hashes(external_files([student.target for student in run.config.sft.targets], run.base))
    shares = any(student.labels == "share" for student in run.config.sft.targets)
    read = ("pairs", "kept", *(("traces",) if shares else ()))
    return {**{name: run.data_hash(name) for name in read}, **card, **targets}


def _make(run: Run) -> Counts:
    from distill.publish.export import export
    from sft.examples import write_examples

    changed = {pair.pair_id: pair for pair in store.read_rows(run.changed, Pair)}

    def kept() -> Iterator[tuple[Pair, Trace]]:
        return (row for row in store.read_joined(run.pairs, run.kept, changed) if row[0].split == "train")

    if next(kept(), None) is None:
        raise ConfigError(
            "filters: no trace was kept, so there is nothing to train on; see report.html for the reasons"
        )

    def answered() -> Iterator[Trace]:
        return store.read_rows(run.traces, Trace)

    def pairs() -> Iterator[Pair]:
        rows = (changed.get(pair.pair_id, pair) for pair in store.read_rows(run.pairs, Pair))
        return (pair for pair in rows if pair.split == "train")

    traces, rows, hashes = write_examples(run.dataset, kept, run.config.sft, sft_seed(run), answered, pairs)
    joined = hashlib.sha256("".join(hashes[name] for name in sorted(hashes)).encode()).hexdigest()
    published: dict[str, Json] = {}
    if not isinstance(run, Round):
        exported = export(run.folder, "dataset", run.dataset / "kept-traces", run.config.dataset)
        for note in exported["notes"]:
            run.say(f"  {note}")
        published = {"published": exported["rows"], "left_out": exported["left_out"]}
    return {"kept": traces, "examples": rows, **published, "hashes": hashes, "data_hash": joined}


STAGE = Stage("dataset", "dataset", ("pairs", "kept"), _settings, _inputs, _make)
