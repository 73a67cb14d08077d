"""Run folders for the tests, written by `distill.store` as the pipeline writes them."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from distill import store
from distill.records import Judgement, Pair, Rejected, Trace, make_pair

STAGES = ("pairs", "trace", "filter", "dataset", "sft", "evaluate")
FOLDERS = dict(zip(STAGES, ("pairs", "traces", "kept", "dataset", "students", "evaluation"), strict=True))
NEEDS = {"trace": "pairs", "filter": "traces", "dataset": "kept", "sft": "dataset", "evaluate": "students"}
PLACES = ("Norheim", "Østvik", "Kinna", "Lund", "Varde")
TOPICS = ("sauna", "dogs", "lake", "parking", "noise", "heating")
HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "{{7*7}} {% raw %} ${7*7} <%= 7*7 %>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"'><svg onload=document.title='owned'>",
    "שלום \u202eright to left\u202c مرحبا \u2028 \u2029",
    "</style><style>body{display:none}</style>",
    "<!-- <![CDATA[ ]]> --> &lt;b&gt; &#x3c;script&#x3e;",
    "nul \x00 bell \x07 escape \x1b[31m",
    "javascript:alert(1) https://evil.example/x.png",
    "</textarea></details></summary></pre></td></table>",
)
TESTED = {"p_bootstrap": 0.001, "p_randomisation": 0.001}


def fabricate(
    folder: Path,
    *,
    pairs: int = 240,
    queries: int = 12,
    depth: int = 12,
    upto: str = "evaluate",
    agree: float = 0.8,
    hostile: bool = False,
    source: str = "beir",
    gain: float = 0.35,
) -> Path:
    """A run of `pairs` training pairs and one test set, done up to and with the stage `upto`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(7)
    wanted = STAGES[: STAGES.index(upto) + 1] if upto else ()
    config: dict[str, Any] = {
        "name": "cabins",
        "seed": 0,
        "pairs": {"source": source},
        "teacher": {"samples": 1},
        "sft": {"base": "scratch" if source == "example" else "Qwen/Qwen2.5-1.5B"},
        "evaluation": {
            "measures": ["nDCG@10", "RR@10"],
            "sets": [{"name": "test", "first_stage": "bm25", "depth": depth}],
        },
    }
    if hostile:
        config["name"] = HOSTILE[0]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    metrics: dict[str, Any] = {"name": "cabins", "stages": {}, "evaluation": {}, "intervals": {}}
    made = _pairs(draw, pairs, hostile)
    by_id = {pair.pair_id: pair for pair in made}
    traces = [_trace(draw, pair, agree, hostile) for pair in by_id.values() if pair.split == "train"]
    results: dict[str, dict[str, Any]] = {
        "pairs": {
            "pairs": len(by_id),
            "by_split": dict(Counter(p.split for p in by_id.values())),
            "by_source": dict(Counter(p.source for p in by_id.values())),
        },
        "trace": _asked(traces),
        **_filtered(folder, by_id, traces, "filter" in wanted),
        "dataset": {"kept": 0, "examples": {"direct": 0, "think": 0}},
        "sft": {"students": {"direct": _student(0.31), "think": _student(0.08)}},
    }
    if "pairs" in wanted:
        results["pairs"] |= store.write_rows(folder / "pairs", by_id.values(), Pair)
    if "trace" in wanted:
        results["trace"] |= store.write_rows(folder / "traces", traces, Trace)
    if "sft" in wanted:
        _log(folder, draw)
    if "evaluate" in wanted:
        results["evaluate"] = _evaluation(folder, draw, queries, depth, hostile, gain, metrics)
    for stage in wanted:
        results[stage]["seconds"] = round(draw.uniform(1, 90), 2)
        metrics["stages"][stage] = results[stage]
        need = NEEDS.get(stage)
        before = store.read_manifest(folder / need) if need else None
        inputs = {need: before["result"].get("data_hash", before["fingerprint"])} if before else {}
        store.write_manifest(folder / FOLDERS[stage], stage, inputs, {"seed": 0}, results[stage])
    store.write_json(folder / "metrics.json", metrics)
    return folder


def _text(draw: random.Random, hostile: bool, text: str) -> str:
    return f"{text} {draw.choice(HOSTILE)}" if hostile else text


def _passage(draw: random.Random) -> str:
    says = (f"{topic} {draw.choice(('included', 'missing', 'allowed', 'banned'))}" for topic in TOPICS)
    return f"A cabin in {draw.choice(PLACES)}, {draw.randint(2, 9)} beds. " + ". ".join(says).capitalize() + "."


def _query(draw: random.Random) -> str:
    a, b = draw.sample(TOPICS, 2)
    return f"cabin in {draw.choice(PLACES)} with {a}, without {b}, more than {draw.randint(2, 6)} beds"


def _pairs(draw: random.Random, n: int, hostile: bool) -> list[Pair]:
    made = []
    query = ""
    for at in range(n):
        query = query if at % 4 else _text(draw, hostile, _query(draw))
        passage = _text(draw, hostile, _passage(draw))
        if hostile and at == 0:
            passage = "<b>giant</b> " * 80_000
        label = draw.choice((0, 0, 1))
        kind = {"label_origin": "judged", "source": "qrels"} if label or draw.random() < 0.5 else {}
        kind = kind or {"label_origin": "assumed", "source": f"bm25:{draw.randint(1, 9)}"}
        split = "dev" if at % 10 == 9 else "train"
        made.append(make_pair(f"q{at // 4}", f"d{at}", query, passage, label=label, split=split, **kind))
    return made


def _trace(draw: random.Random, pair: Pair, agree: float, hostile: bool) -> Trace:
    roll = draw.random()
    verdict = pair.label if draw.random() < agree else 1 - (pair.label or 0)
    said = pair.passage[:400].split(". ")[-2:]
    reasoning = _text(draw, hostile, f"It is a cabin. The passage says {' and '.join(said)}, so {bool(verdict)}.")
    base = {"pair_id": pair.pair_id, "sample": 0, "request_id": pair.pair_id, "prompt_tokens": 90, "cost_usd": 0.0004}
    base |= {"latency_s": 0.1, "teacher": "example-teacher"}
    if roll < 0.005:
        error = "not_asked: the budget was reached"
        return Trace(**base, reasoning="", content="", verdict=None, finish_reason="", completion_tokens=0, error=error)
    if roll < 0.02:
        error = _text(draw, hostile, "400: the prompt is too long")
        return Trace(
            **base, reasoning="", content="", verdict=None, finish_reason="error", completion_tokens=0, error=error
        )
    if roll < 0.06:
        return Trace(
            **base, reasoning=reasoning[:30], content="", verdict=None, finish_reason="length", completion_tokens=512
        )
    content = _text(draw, hostile, "true" if verdict else "false")
    return Trace(
        **base, reasoning=reasoning, content=content, verdict=verdict, finish_reason="stop", completion_tokens=45
    )


def _unanswered(traces: list[Trace]) -> dict[str, int]:
    errors = [t.error for t in traces if t.error is not None]
    not_asked = sum(error.startswith("not_asked") for error in errors)
    return {"failed": len(errors) - not_asked, "not_asked": not_asked}


def _asked(traces: list[Trace]) -> dict[str, Any]:
    return {
        "samples_due": len(traces),
        "answered": sum(t.error is None for t in traces),
        **_unanswered(traces),
        "failures": dict(Counter(t.error.split(":")[0] for t in traces if t.error)),
        "prompt_tokens": sum(t.prompt_tokens for t in traces),
        "completion_tokens": sum(t.completion_tokens for t in traces),
        "cost_usd": round(sum(t.cost_usd for t in traces), 6),
        "unusable_cost_usd": 0.0012,
    }


def _filtered(folder: Path, pairs: dict[str, Pair], traces: list[Trace], write: bool) -> dict[str, dict[str, Any]]:
    kept: list[Trace] = []
    rejected: list[Rejected] = []
    for trace in traces:
        label = pairs[trace.pair_id].label
        if trace.error is not None:
            continue
        if trace.finish_reason == "length":
            rejected.append(Rejected(trace, "finished", f"cut off after {trace.completion_tokens} tokens"))
        elif trace.verdict != label:
            said = (
                "the teacher says true, the label is 0" if trace.verdict else "the teacher says false, the label is 1"
            )
            rejected.append(Rejected(trace, "verdict_matches_label", said))
        else:
            kept.append(trace)
    by_filter: dict[str, Any] = {}
    for name in ("finished", "parses", "verdict_matches_label"):
        reasons = Counter(r.reason for r in rejected if r.filter == name)
        by_filter[name] = {"rejected": reasons.total(), "reasons": dict(reasons)}
    counts = {"kept": len(kept), "rejected": len(rejected), **_unanswered(traces), "by_filter": by_filter}
    if write:
        store.write_rows(folder / "rejected", rejected, Rejected)
        counts |= store.write_rows(folder / "kept", kept, Trace)
    return {"filter": counts}


def _student(loss: float) -> dict[str, Any]:
    return {
        "steps": 800,
        "seconds": 88.4,
        "tokens": 1_900_000,
        "tokens_per_s": 21_493.2,
        "final_loss": loss,
        "parameters": 1_204_992,
    }


def _log(folder: Path, draw: random.Random) -> None:
    with open(folder / "log.jsonl", "w", encoding="utf-8") as out:
        out.write(json.dumps({"stage": "sft", "event": "start"}) + "\n")
        for name, floor in (("direct", 0.3), ("think", 0.08)):
            for step in range(10, 801, 10):
                loss = floor + 2.2 * 0.99 ** (step / 2) + draw.uniform(0, 0.04)
                line = {"stage": "sft", "student": name, "target": name, "step": step, "steps": 800, "loss": loss}
                line |= {
                    "token_accuracy": 1 - loss / 3,
                    "learning_rate": 1e-3,
                    "tokens_per_s": 9000,
                    "seconds": step / 10,
                }
                out.write(json.dumps(line) + "\n")
        out.write('{"stage": "sft", "torn')


def _evaluation(
    folder: Path, draw: random.Random, queries: int, depth: int, hostile: bool, gain: float, metrics: dict[str, Any]
) -> dict[str, Any]:
    skill = {"first_stage": 0.2, "untrained": 0.0, "direct": 0.2 + gain / 2, "think": 0.2 + gain}
    texts = {f"t{at}": _text(draw, hostile, _query(draw)) for at in range(queries)}
    passages = {f"{q}d{at}": _text(draw, hostile, _passage(draw)) for q in texts for at in range(depth)}
    qrels = {q: {f"{q}d{at}": int(at < 3) for at in range(depth - 1)} for q in texts}
    per_query: dict[str, Any] = {}
    for system, good in skill.items():
        rows, lines, values = [], [], {}
        for q in texts:
            scores = {doc: good * grade + draw.random() for doc, grade in qrels[q].items()}
            scores[f"{q}d{depth - 1}"] = draw.random()
            ranked = sorted(scores, key=lambda doc: -scores[doc])
            values[q] = sum(1 / at for at, doc in enumerate(ranked, 1) if qrels[q].get(doc)) / (1 + 1 / 2 + 1 / 3)
            lines += [f"{q} Q0 {doc} {at} {scores[doc]:.6f} {system}\n" for at, doc in enumerate(ranked, 1)]
            for doc in ranked:
                reasoning = _text(draw, hostile, "It is a cabin, as asked. Wanted sauna: included, so yes: good.")
                reasoning, ended = (reasoning, draw.choice(("stop", "length"))) if system == "think" else ("", "stop")
                rows.append(Judgement(q, doc, min(scores[doc] / 2, 1), scores[doc], 1, reasoning, system, 45, ended))
        stem = folder / "evaluation" / f"test.{system}"
        if system != "first_stage":
            store.write_rows(stem, rows, Judgement)
        (folder / "evaluation").mkdir(exist_ok=True)
        Path(f"{stem}.trec").write_text("".join(lines), encoding="utf-8")
        mean = sum(values.values()) / len(values)
        per_query[system] = {"nDCG@10": values, "RR@10": values}
        metrics["evaluation"].setdefault("test", {})[system] = {"nDCG@10": mean, "RR@10": mean, "Judged@10": 0.98}
        band = [mean - 0.04, mean + 0.04]
        metrics["intervals"].setdefault("test", {})[system] = {"nDCG@10": band, "RR@10": band}
        if system != "first_stage":
            metrics["evaluation"]["test"][system] |= {
                "tokens_per_pair": 41.2,
                "verdict_accuracy": 0.83,
                "pairs_per_s": 212.0,
            }
    store.write_json(
        folder / "evaluation" / "test.json",
        {
            "queries": texts,
            "passages": passages,
            "qrels": qrels,
            "per_query": per_query,
            "listed": {"relevant": 3 * queries - 5, "of": 3 * queries},
            "tests": {"think": {"nDCG@10": {**TESTED, "difference": gain, "p_holm": 0.001 if gain > 0.1 else 0.7}}},
        },
    )
    return {"sets": {"test": {"queries": queries, "pairs": queries * depth, "seconds": 12.0}}}


def ablate(run: Path) -> Path:
    """Give the run an ablation: think and direct in two sizes, and one variant that leaves a filter out."""
    rows, measures = [], {}
    students = (("think", 400), ("think_100", 100), ("direct", 400), ("direct_100", 100))
    made = [("students", name, size, {"sft.targets": []}) for name, size in students]
    for label, name, size, changes in (*made, ("without leak", "think", 420, {"filters": []})):
        row = f"{label}: {name}"
        measures[row] = {"nDCG@10": 0.5 + size / 2000 + (0.1 if "think" in name else 0)}
        by_set = {"test": {**measures[row], "tokens_per_pair": 40.0 if "think" in name else 1.0}}
        rows.append(
            {
                "row": row, "variant": label, "student": name, "changes": changes, "examples": size,
                "teacher_usd": 1.25, "teacher_tokens": 123_456, "train_seconds": 61.0, "measures": by_set,
            }
        )  # fmt: skip
    intervals = {row: {"nDCG@10": [v["nDCG@10"] - 0.02, v["nDCG@10"] + 0.02]} for row, v in measures.items()}
    tests = {"students: direct": {"nDCG@10": {**TESTED, "difference": -0.1, "p_holm": 0.0004}}}
    result = {"measures": measures, "intervals": intervals, "tests": tests, "baseline": "students: think"}
    (run / "ablation").mkdir()
    store.write_json(run / "ablation" / "ablation.json", {"rows": rows, "sets": {"test": result}})
    return run
