"""A run folder as the stages leave it, with hostile text, changed labels, two samples and three splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill import store
from distill.records import Pair, Rejected, Trace, make_pair

HOSTILE = "A passage with <think>, </think> true, <|im_end|>, | pipes |, ```fences``` and <script>alert(1)</script>."
SETTINGS = {"teacher": "teacher-x", "sampling": {"temperature": 0.6, "max_tokens": 4096}, "prompt": "rank1"}


def make_pairs() -> list[Pair]:
    """Four queries of five passages: two train, one dev, one that nobody asked about (test)."""
    found = []
    for q, split in enumerate(("train", "train", "dev", "test")):
        for d in range(5):
            passage = HOSTILE if d == 4 else f"Title {d} The passage {d} of query {q} in plain words."
            found.append(
                make_pair(
                    f"q{q}",
                    f"d{q}-{d}",
                    f"what is number {q}",
                    passage,
                    "Only recent ones." if q == 1 else None,
                    label=int(d < 2),
                    label_origin="assumed" if d > 2 else "judged",
                    source=f"bm25:{d}" if d > 2 else "qrels",
                    split=split,
                    language="en",
                )
            )
    # A person has corrected one label: the teacher says true, the label before said 0.
    changed = {"label": 1, "label_origin": "human", "label_before": 0}
    found[2] = make_pair("q0", "d0-2", found[2].query, found[2].passage, None, **changed)
    return found


def make_trace(pair: Pair, sample: int = 0, **changes: Any) -> Trace:
    """A sound trace of the pair, agreeing with its label."""
    values: dict[str, Any] = {
        "pair_id": pair.pair_id,
        "sample": sample,
        "request_id": f"{pair.pair_id}{sample}",
        "reasoning": f"Okay, the query asks for something.\n\nSample {sample}: the passage of {pair.doc_id} decides.",
        "content": "true" if pair.label else "false",
        "verdict": pair.label,
        "finish_reason": "stop",
        "prompt_tokens": 100,
        "completion_tokens": 40 + sample,
        "cost_usd": 0.001,
        "latency_s": 1.0,
        "teacher": '{"endpoint": "gpu7.internal:8000", "model": "teacher-x", "prompt": "rank1"}',
    }
    return Trace(**{**values, **changes})


def write_run(folder: Path, pairs: list[Pair], kept: list[Trace], rejected: list[Rejected] | None = None) -> Path:
    """The folders of a run whose filter stage is done, with their manifests."""
    rejected = rejected or []
    due = len(kept) + len(rejected)
    by_filter = {"finished": {"rejected": len(rejected), "reasons": {"cut | off <b>": len(rejected)}}}
    filtered = {"samples": due, "kept": len(kept), "rejected": len(rejected), "failed": 0, "not_asked": 0}
    results = {
        "pairs": {"pairs": len(pairs), **store.write_rows(folder / "pairs", pairs, Pair)},
        "traces": {"samples_due": due, "data_hash": "0" * 64},
        "kept": {**filtered, "by_filter": by_filter, **store.write_rows(folder / "kept", kept, Trace)},
    }
    store.write_rows(folder / "rejected", rejected, Rejected)
    chosen = {"filters": [{"finished": {}}, {"length": {"max": 9}}], "files": {}, "seed": 0, "tools": {}}
    for name, settings in (("pairs", {}), ("traces", SETTINGS), ("kept", chosen)):
        store.write_manifest(folder / name, name, {}, settings, results[name])
    stages = {"pairs": results["pairs"], "trace": results["traces"], "filter": results["kept"]}
    store.write_json(folder / "metrics.json", {"name": "my-run", "stages": stages})
    dataset = "{licence: cc-by-4.0, licences: {'Corpus | <i>X</i>': MIT}, description: About numbers.}"
    (folder / "config.yaml").write_text(f"name: my-run\ndataset: {dataset}\n")
    return folder


def judged_run(folder: Path) -> Path:
    """A run with `teacher.source: labels`: the pairs of train with their labels as answers."""
    teacher = '{"endpoint": null, "model": null, "name": "labels", "prompt": "rank1", "sampling": null}'
    pairs = make_pairs()
    nothing = {"reasoning": "", "prompt_tokens": 0, "completion_tokens": 0, "teacher": teacher}
    write_run(folder, pairs, [make_trace(pair, **nothing) for pair in pairs if pair.split == "train"])
    with open(folder / "config.yaml", "a", encoding="utf-8") as config:
        config.write("teacher: {source: labels}\n")
    return folder
