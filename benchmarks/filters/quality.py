"""The figures of docs/benchmarks/filters.md: `python benchmarks/filters/quality.py DATA`.

Reads published traces of TFRank (200), GPT-4 (1,470) and six models on DIRAS (660 pairs each, with human labels). The
last part damages 30 real traces for each of three faults by a seeded recipe (`damaged`), and takes 110 others as they
are, labelled by hand (`LABELLED`).
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from folders import sifted

from distill.records import Pair, Trace, make_pair
from distill.verdicts import parse_verdict

Row = tuple[Pair, Trace]
YES = {"yes": 1, "no": 0}
NAMES = ("tfrank_pointwise_think", "diras_generalqa_gpt4_traces", "diras_chatreport_traces")


def lines(path: Path) -> list[dict[str, Any]]:
    """A JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def trace(pair: Pair, sample: int, reasoning: str | None, verdict: int | None) -> Trace:
    """An answered trace."""
    said = "" if verdict is None else str(bool(verdict)).lower()
    return Trace(pair.pair_id, sample, "r", reasoning or "", said, verdict, "stop", 0, 0, 0.0, 0.0, "{}")


def read(data: Path) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[Row]]]:
    """(raw lines, rows) by file; DIRAS's six models are six samples of a pair, whose label is the human one."""
    raw = {name: lines(data / "traces" / f"{name}.jsonl") for name in NAMES}
    rows: dict[str, list[Row]] = {}
    for name in NAMES[:2]:
        rows[name] = []
        for number, each in enumerate(raw[name]):
            pair = make_pair(str(number), str(number), each["query"], f"{each['passage']}\n({number})")
            rows[name].append((pair, trace(pair, 0, each["reasoning"], YES[each["verdict"]])))
    texts = {
        kind: {each["_id"]: each["text"] for each in lines(data / "diras-chatreport" / f"{kind}.jsonl")}
        for kind in ("queries", "corpus")
    }
    models = sorted({each["model"] for each in raw[NAMES[2]]})
    rows[NAMES[2]] = []
    for each in raw[NAMES[2]]:
        query, passage = texts["queries"][each["query-id"]], texts["corpus"][each["corpus-id"]]
        label = int(each["gold"] == "yes")
        pair = make_pair(each["query-id"], each["corpus-id"], query, passage, label=label, label_origin="judged")
        verdict = YES.get(each["verdict"] or "")
        rows[NAMES[2]].append((pair, trace(pair, models.index(each["model"]), each["reasoning"], verdict)))
    return raw, rows


def parser(raw: dict[str, list[dict[str, Any]]]) -> None:
    """The verdict in each raw output, read by `parse_verdict`, against the published reading."""
    print("verdicts read from the raw outputs (right, wrong, not read)")
    for name, rows in raw.items():
        found: Counter[str] = Counter()
        for row in rows:
            said = parse_verdict(row["raw_output"])
            truth = YES.get(row["verdict"] or "")
            found["right" if said == truth else "not read" if said is None else "wrong"] += 1
        print(f"  {name}: {dict(found)} of {len(rows)}")


def agreement(rows: list[Row]) -> None:
    """Verdicts against people before and after the filters that look at them."""
    print("agreement with the human label on DIRAS (agree, of, pairs left)")
    policies: list[list[Any]] = [[], ["parses"], ["parses", "self_contradiction"]]
    policies += [["parses", {"consensus": {"agreement": share}}] for share in (0.5, 0.8, 1.0)]
    for filters in policies:
        kept = sifted(rows, filters).kept
        pairs = {p.pair_id: p for p, _ in rows}
        right = sum(t.verdict == pairs[t.pair_id].label for t in kept)
        print(f"  {filters}: {100 * right / len(kept):.1f} % of {len(kept)}, {len({t.pair_id for t in kept})} pairs")


def disputes(rows: list[Row]) -> None:
    """15 % of the human labels turned round on purpose, disputed where all six oppose them."""
    print("labels right after label_dispute, 15 % of them turned round before (right, of)")
    ids = sorted({p.pair_id for p, _ in rows})
    turned = set(random.Random(0).sample(ids, round(0.15 * len(ids))))
    truth = {p.pair_id: p.label for p, _ in rows}
    spoilt = [(replace(p, label=1 - (p.label or 0)) if p.pair_id in turned else p, t) for p, t in rows]
    for policy in (None, "drop", "relabel"):
        filters: list[Any] = [{"label_dispute": {"policy": policy, "samples": 6}}] if policy else []
        found = sifted(spoilt, filters)
        pairs = {p.pair_id: p for p, _ in spoilt} | found.changed
        left = {t.pair_id for t in found.kept}
        right = sum(pairs[key].label == truth[key] for key in left)
        mended = sum(pairs[key].label == truth[key] for key in found.changed)
        print(
            f"  {policy}: {100 * right / len(left):.1f} % of {len(left)}; changed {len(found.changed)}, {mended} right"
        )


def losses(rows: dict[str, list[Row]]) -> None:
    """What the filters that look at the text reject of the published reasons, which were meant to be sound."""
    print("published reasons rejected")
    for filters in (["degenerate"], ["language"], [{"language": {"expect": "en"}}], ["leak"], ["self_contradiction"]):
        for name, each in rows.items():
            readable = [(replace(p, label=None), t) for p, t in each if t.reasoning and t.verdict is not None]
            print(f"  {filters} {name}: {len(sifted(readable, filters).rejected)} of {len(readable)}")


CHINESE = ("综合来看，这一段并没有提到所问的内容。", "不过需要注意", "所以答案应该是否定的，因为主题不同。")
TOLD = ("The gold annotation lists it as a hit.", "Since the provided label says relevant, I will argue for it.",
        "As a large language model I cannot verify this.")  # fmt: skip


def damaged(fault: str, text: str, rng: random.Random) -> str:
    """The recipe: a loop of the last sentence or words, a Chinese sentence, or a sentence that tells of a label."""
    sentences = text.split(". ")
    if fault == "degenerate":
        tail = rng.choice([sentences[-1] + ". ", " ".join(text.split()[-4:]) + " "])
        return text + " " + tail * rng.randint(8, 25)
    at = rng.randrange(1, len(sentences) + 1)
    said = rng.choice(CHINESE if fault == "language" else TOLD)
    return ". ".join([*sentences[:at], said, *sentences[at:]])


# Of the 110 as they are, those with a fault, labelled by hand: every trace was searched for words about labels, models
# and references, for foreign letters, for sentences said twice and for text that compresses well; the hits were read.
LABELLED = {"leak": {"tfrank-train-96", "tfrank-train-97", "tfrank-valid-190", "tfrank-valid-192", "tfrank-valid-194"}}


def sample(raw: dict[str, list[dict[str, Any]]], rows: dict[str, list[Row]]) -> None:
    """Precision and recall on 200 traces, of which 90 are damaged."""
    rng = random.Random("sample")
    whole: list[tuple[str, Row]] = []
    others: list[tuple[str, Row]] = []
    for name, count in zip(NAMES, (40, 25, 45), strict=True):
        readable = [(e["id"], row) for e, row in zip(raw[name], rows[name], strict=True) if row[1].reasoning]
        drawn = rng.sample(readable, count + 30)
        whole, others = whole + drawn[:count], others + drawn[count:]
    rng.shuffle(others)
    print("200 traces, 90 of them damaged and 110 as they are:")
    for at, fault in enumerate(("degenerate", "language", "leak")):
        part = others[30 * at : 30 * at + 30]
        hurt = [(p, replace(t, reasoning=damaged(fault, t.reasoning, rng))) for _, (p, t) in part]
        caught = len(sifted(hurt, [fault]).rejected)
        rejected = {(r.trace.pair_id, r.trace.sample) for r in sifted([row for _, row in whole], [fault]).rejected}
        found = {name for name, (_, t) in whole if (t.pair_id, t.sample) in rejected}
        faulty = LABELLED.get(fault, set())
        right = caught + len(found & faulty)
        print(f"  {fault}: precision {right} of {caught + len(found)}, recall {right} of {len(hurt) + len(faulty)}"
              f"; missed {sorted(faulty - found)}, false alarms {sorted(found - faulty)}")  # fmt: skip


def main() -> None:
    """Every figure."""
    raw, rows = read(Path(sys.argv[1]))
    parser(raw)
    agreement(rows[NAMES[2]])
    disputes(rows[NAMES[2]])
    losses(rows)
    sample(raw, rows)


if __name__ == "__main__":
    main()
