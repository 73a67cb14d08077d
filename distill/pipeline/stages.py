"""What each stage of the line does: it reads the rows before it from disk and hands its room what that needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill import store
from distill.errors import ConfigError, RunFolderError
from distill.pipeline.evaluate import evaluation_inputs, make_evaluation
from distill.pipeline.filter import cluster, count_when_written, filter_settings, filter_tools
from distill.pipeline.pairs import make_pairs, pair_inputs, pair_settings, pairs_without_teacher, teacher_running
from distill.pipeline.rounds import Round
from distill.pipeline.run import Run, dump
from distill.pipeline.sources import base_of
from distill.pipeline.stage import Stage
from distill.processes import cores
from distill.records import Example, Pair, Trace

# --- traces ----------------------------------------------------------------------------------------------------------


def _teacher_settings(run: Run) -> dict[str, Any]:
    """What decides which answers there are: not where they are asked, at what price, or how fast."""
    return {**run.config.teacher.identity(), "prompt": run.config.prompt}


def _make_traces(run: Run) -> dict[str, Any]:
    from teacher.stage import trace

    pairs = store.read_rows(run.folder / "pairs", Pair)
    asked = (pair for pair in pairs if pair.split in run.config.pairs.ask)
    by_split = (store.read_manifest(run.folder / "pairs") or {}).get("result", {}).get("by_split", {})
    with teacher_running(run) as url:
        result = trace(
            asked,
            run.config.teacher,
            run.folder / "traces",
            base_url=url,
            notify=run.log,
            total=sum(by_split.get(split, 0) for split in run.config.pairs.ask) or None,
            retry_failed=run.retry_failed,
        )
    count_when_written(run, result)
    return result


def estimate_lines(run: Run) -> list[str]:
    """What asking would take, for a person to read; nothing is sent. Pairs not made yet are built in memory."""
    import tempfile

    from teacher.estimate import describe, estimate

    if store.read_manifest(run.folder / "pairs") is not None:
        pairs = [p for p in store.read_rows(run.folder / "pairs", Pair) if p.split in run.config.pairs.ask]
        return describe(estimate(pairs, run.config.teacher, run.folder / "traces"))
    if run.config.pairs.source == "example":
        return ["the embedded example costs nothing"]
    made = pairs_without_teacher(run)
    if made is None:
        return ["no estimate before the teacher has written the queries; `distill pairs` has it write them"]
    pairs = [pair for pair in made if pair.split in run.config.pairs.ask]
    with tempfile.TemporaryDirectory() as folder:
        return describe(estimate(pairs, run.config.teacher, Path(folder)))


# --- filters ---------------------------------------------------------------------------------------------------------


def explain(run: Run, pair_id: str) -> list[tuple[int, str, str]]:
    """[(sample, filter, what it says)] of one pair's traces. Raises RunFolderError where there are none."""
    from filters.engine.explain import explain as what_filters_say

    if store.read_manifest(run.folder / "traces") is None:
        raise RunFolderError(f"{run.folder / 'traces'}: not made yet; `distill trace` makes them")
    pairs = {pair.pair_id: pair for pair in store.read_rows(run.folder / "pairs", Pair)}
    traces = store.read_rows(run.folder / "traces", Trace)
    with filter_tools(run) as tools:
        return what_filters_say(pair_id, pairs, traces, run.config.filters, tools)


def _filter_inputs(run: Run) -> dict[str, Any]:
    return {name: run.data_hash(name) for name in ("pairs", "traces")}


def _make_kept(run: Run) -> dict[str, Any]:
    from filters.engine.run import filter_folders

    pairs, traces, kept, rejected, changed, verdicts = (
        str(run.at(name)) for name in ("pairs", "traces", "kept", "rejected", "changed", "verdicts")
    )
    with filter_tools(run) as tools:
        return filter_folders(
            pairs, traces, kept, rejected, changed, run.config.filters, tools=tools, processes=cores(),
            executor=cluster(), verdicts=verdicts,
        )  # fmt: skip


# --- dataset ---------------------------------------------------------------------------------------------------------


def _dataset_settings(run: Run) -> Any:
    students = [dump(s) for s in run.config.sft.targets]
    sft = run.config.sft
    dev = dump(sft.dev, include={"pairs"}) if sft.dev else None
    own = {"dev": dev, "weights": dump(sft.weights)}
    return {"students": students, "seed": _sft_seed(run), "card": dump(run.config.dataset), **own}


def _sft_seed(run: Run) -> int:
    sft = run.config.sft
    return int(run.config.seed if sft.seed is None else sft.seed)


def _make_dataset(run: Run) -> dict[str, Any]:
    from distill.publish.export import export
    from sft.targets import examples, hold_out, order_lengths, shuffled, subsample

    prompt, weights = run.config.prompt, run.config.sft.weights
    pairs = {pair.pair_id: pair for folder in ("pairs", "changed") for pair in store.read_rows(run.at(folder), Pair)}
    kept = [t for t in store.read_rows(run.folder / "kept", Trace) if pairs[t.pair_id].split == "train"]
    if not kept:
        raise ConfigError(
            "filters: no trace was kept, so there is nothing to train on; see report.html for the reasons"
        )
    seed = _sft_seed(run)
    rows: dict[str, int] = {}
    hashes: dict[str, str] = {}
    if run.config.sft.dev is not None:
        kept, held_out = hold_out(pairs, kept, run.config.sft.dev.pairs, seed, prompt)
        written = store.write_rows(run.folder / "dataset" / "dev", held_out, Pair)
        rows["dev"], hashes["dev"] = written["rows"], written["data_hash"]
    for student in run.config.sft.targets:
        traces = subsample(kept, student.train_size, seed)
        if student.shuffle_traces:
            traces = shuffled(traces, seed)
        by_verdict = (weights.not_relevant, weights.relevant)
        made = examples(pairs, traces, student.target, prompt, by_verdict, weights.direct)
        written = store.write_rows(run.folder / "dataset" / student.name, made, Example)
        rows[student.name], hashes[student.name] = written["rows"], written["data_hash"]
    lengths = order_lengths(pairs, kept, prompt)
    store.write_json(run.folder / "dataset" / "lengths.json", lengths)
    hashes["lengths"] = store.fingerprint(lengths)
    joined = hashlib.sha256("".join(hashes[name] for name in sorted(hashes)).encode()).hexdigest()
    counts: dict[str, Any] = {"kept": len(kept), "examples": rows}
    if not isinstance(run, Round):
        published = export(run.folder, "dataset", run.folder / "dataset" / "kept-traces", run.config.dataset)
        counts |= {"published": published["rows"], "left_out": published["left_out"]}
    return {**counts, "hashes": hashes, "data_hash": joined}


# --- sft -------------------------------------------------------------------------------------------------------------


def _sft_settings(run: Run) -> Any:
    return {**dump(run.config.sft, exclude={"parallel", "assume", "ray"}), "seed": _sft_seed(run)}


def _make_students(run: Run) -> dict[str, Any]:
    from sft.stage import train_students

    def texts() -> Iterator[str]:
        for student in run.config.sft.targets:
            for row in store.read_rows(run.folder / "dataset" / student.name, Example):
                yield row.prompt + row.completion

    manifest = store.read_manifest(run.folder / "dataset") or {}
    return train_students(
        run.config.sft.model_copy(update={"base": base_of(run)}),
        run.folder / "dataset",
        run.folder / "students",
        _sft_seed(run),
        manifest["result"]["hashes"],
        texts,
        run.data_hash("kept"),
        run.log,
    )


LINE = (
    Stage(
        "pairs",
        "pairs",
        (),
        pair_settings,
        pair_inputs,
        make_pairs,
    ),
    Stage(
        "trace", "traces", ("pairs",), _teacher_settings, lambda run: {"pairs": run.data_hash("pairs")}, _make_traces
    ),
    Stage(
        "filter",
        "kept",
        ("pairs", "traces"),
        filter_settings,
        _filter_inputs,
        _make_kept,
    ),
    Stage(
        "dataset",
        "dataset",
        ("pairs", "kept"),
        _dataset_settings,
        lambda run: {name: run.data_hash(name) for name in ("pairs", "kept")},
        _make_dataset,
    ),
    Stage(
        "sft",
        "students",
        ("dataset",),
        _sft_settings,
        lambda run: {"dataset": run.data_hash("dataset")},
        _make_students,
    ),
    Stage(
        "evaluate",
        "evaluation",
        ("students",),
        lambda run: {**dump(run.config.evaluation), "seed": run.config.seed},
        evaluation_inputs,
        make_evaluation,
    ),
)
