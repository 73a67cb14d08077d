"""What each stage of the line does: it reads the rows before it from disk and hands its room what that needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from distill import store
from distill.errors import ConfigError, RunFolderError
from distill.judging import evaluation_inputs, make_evaluation
from distill.pipeline import Stage
from distill.processes import cores
from distill.prompts import PROMPT_NAME
from distill.records import Example, Pair, Trace
from distill.run import Run, dump
from distill.sources import HeldOut, base_of, data_folder

# --- pairs -----------------------------------------------------------------------------------------------------------


def _pairs_inputs(run: Run) -> dict[str, Any]:
    pairs = run.config.pairs
    if pairs.source == "example":
        return {"example": pairs.example}
    from distill.pairs.build import inputs

    return run.file_hashes(inputs(data_folder(run, pairs)))


def _make_pairs(run: Run) -> dict[str, Any]:
    from distill.pairs.build import build

    pairs, counts = build(run.config.pairs, run.config.seed, data_folder(run, run.config.pairs))
    return {**counts, **store.write_rows(run.folder / "pairs", pairs, Pair)}


# --- traces ----------------------------------------------------------------------------------------------------------


def _teacher_settings(run: Run) -> dict[str, Any]:
    """What decides which answers there are: not where they are asked, at what price, or how fast."""
    return {**run.config.teacher.identity(), "prompt": PROMPT_NAME}


def _teacher_running(run: Run) -> AbstractContextManager[str | None]:
    """The embedded teacher, started for as long as it is needed, where the configuration asks for it."""
    if run.config.teacher.source != "example":
        return nullcontext(None)
    from distill.example.server import running
    from distill.example.teacher import TeacherSettings

    return running(TeacherSettings(**{"model": run.config.teacher.teacher_name, **run.config.teacher.example}))


def _make_traces(run: Run) -> dict[str, Any]:
    from teacher.stage import trace

    pairs = store.read_rows(run.folder / "pairs", Pair)
    asked = (pair for pair in pairs if pair.split == "train")
    with _teacher_running(run) as url:
        return trace(
            asked,
            run.config.teacher,
            run.folder / "traces",
            base_url=url,
            notify=run.log,
            retry_failed=run.retry_failed,
        )


def estimate_lines(run: Run) -> list[str]:
    """What asking would take, for a person to read; nothing is sent. Pairs not made yet are built in memory."""
    import tempfile

    from teacher.estimate import describe, estimate

    if store.read_manifest(run.folder / "pairs") is not None:
        pairs = [pair for pair in store.read_rows(run.folder / "pairs", Pair) if pair.split == "train"]
        return describe(estimate(pairs, run.config.teacher, run.folder / "traces"))
    if run.config.pairs.source == "example":
        return ["the embedded example costs nothing"]
    from distill.pairs.build import build

    pairs, _ = build(run.config.pairs, run.config.seed, data_folder(run, run.config.pairs))
    with tempfile.TemporaryDirectory() as folder:
        return describe(estimate(pairs, run.config.teacher, Path(folder)))


# --- filters ---------------------------------------------------------------------------------------------------------


def _filter_settings(run: Run) -> Any:
    own = run.file_hashes(run.config.filters.files(run.base))  # a changed file of the user's is a changed setting
    return {"filters": dump(run.config.filters), "files": own, "seed": run.config.seed}


def _tools(run: Run) -> Any:
    """What filters may need from other rooms."""
    from filters.base import Tools

    return Tools(base=run.base, out=run.folder, seed=run.config.seed, held_out=HeldOut(run))


def explain(run: Run, pair_id: str) -> list[tuple[int, str, str]]:
    """[(sample, filter, what it says)] of one pair's traces. Raises RunFolderError where there are none."""
    from filters.explain import explain as what_filters_say

    if store.read_manifest(run.folder / "traces") is None:
        raise RunFolderError(f"{run.folder / 'traces'}: not made yet; `distill trace` makes them")
    pairs = {pair.pair_id: pair for pair in store.read_rows(run.folder / "pairs", Pair)}
    traces = store.read_rows(run.folder / "traces", Trace)
    return what_filters_say(pair_id, pairs, traces, run.config.filters, _tools(run))


def _make_kept(run: Run) -> dict[str, Any]:
    from filters.files import filter_folders

    pairs, traces, kept, rejected, changed = (
        str(run.folder / name) for name in ("pairs", "traces", "kept", "rejected", "changed")
    )
    return filter_folders(
        pairs, traces, kept, rejected, changed, run.config.filters, tools=_tools(run), processes=cores()
    )


# --- dataset ---------------------------------------------------------------------------------------------------------


def _dataset_settings(run: Run) -> Any:
    students = [dump(s) for s in run.config.sft.targets]
    return {"students": students, "seed": _sft_seed(run), "card": dump(run.config.dataset)}


def _sft_seed(run: Run) -> int:
    sft = run.config.sft
    return int(run.config.seed if sft.seed is None else sft.seed)


def _make_dataset(run: Run) -> dict[str, Any]:
    from distill.dataset.export import export
    from sft.targets import drawn, examples, shuffled

    pairs = {
        pair.pair_id: pair for folder in ("pairs", "changed") for pair in store.read_rows(run.folder / folder, Pair)
    }
    kept = list(store.read_rows(run.folder / "kept", Trace))
    if not kept:
        raise ConfigError(
            "filters: no trace was kept, so there is nothing to train on; see report.html for the reasons"
        )
    seed = _sft_seed(run)
    rows: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for student in run.config.sft.targets:
        traces = drawn(kept, student.train_size, seed)
        if student.shuffle_traces:
            traces = shuffled(traces, seed)
        written = store.write_rows(
            run.folder / "dataset" / student.name, examples(pairs, traces, student.target), Example
        )
        rows[student.name], hashes[student.name] = written["rows"], written["data_hash"]
    joined = hashlib.sha256("".join(hashes[name] for name in sorted(hashes)).encode()).hexdigest()
    published = export(run.folder, "dataset", run.folder / "dataset" / "kept-traces", run.config.dataset)
    counts = {"kept": len(kept), "examples": rows, "published": published["rows"], "left_out": published["left_out"]}
    return {**counts, "hashes": hashes, "data_hash": joined}


# --- sft -------------------------------------------------------------------------------------------------------------


def _sft_settings(run: Run) -> Any:
    return {**dump(run.config.sft, exclude={"parallel"}), "seed": _sft_seed(run)}


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
        lambda run: {**dump(run.config.pairs), "seed": run.config.seed},
        _pairs_inputs,
        _make_pairs,
    ),
    Stage(
        "trace", "traces", ("pairs",), _teacher_settings, lambda run: {"pairs": run.data_hash("pairs")}, _make_traces
    ),
    Stage(
        "filter",
        "kept",
        ("pairs", "traces"),
        _filter_settings,
        lambda run: {name: run.data_hash(name) for name in ("pairs", "traces")},
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
