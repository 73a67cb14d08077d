"""Answers of a live model to five wordings of the question, and how many of them the parser of verdicts reads.

    python benchmarks/teacher/live_answers.py make --url http://127.0.0.1:8080/v1 --model NAME --data FOLDER --out FILE
    python benchmarks/teacher/live_answers.py score FILE

`make` asks an OpenAI-compatible server about pairs of a BEIR folder (corpus.jsonl, queries.jsonl, qrels/*.tsv), half of
them judged relevant, and appends one JSON line per answer: `prompt`, `pair`, `answer`, and `verdict`, which is empty. A
person then reads each answer and writes what it says into `verdict`: `true`, `false`, `none` (no verdict, or a plain
contradiction) or `unsure` (it can be read either way). Answers that the file already holds are not asked again.
`score` compares the parser with these labels.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

from distill.verdicts import parse_verdict

PROMPTS = {
    "sentence": "Query: {query}\nPassage: {passage}\n\n"
    "In one sentence, say whether this passage is relevant to the query.",
    "verdict_last": "Read the passage and decide whether it helps somebody who searched for the query. Explain in two "
    "sentences, then write a last line 'Verdict: relevant' or 'Verdict: not relevant'.\n\nQuery: {query}\n\n{passage}",
    "yes_no": "Does the passage below answer the question? Reply with yes or no and a short reason.\n\n"
    "Question: {query}\nPassage: {passage}",
    "form": "Fill in this form.\n\nQuery: {query}\nPassage: {passage}\nReason:\nRelevant (true/false):",
    "opinion": "A colleague says that the following passage is a good search result for '{query}'. Do you agree? "
    "Say what you think of its relevance.\n\n{passage}",
}  # fmt: skip
TEMPERATURE, MAX_TOKENS, SEED = 0.6, 90, 20
TRUTH = {"true": 1, "false": 0, "none": None}


class Labelled(TypedDict):
    """One answer; `verdict` is what a reader found in it."""

    prompt: str
    pair: str
    answer: str
    verdict: str


def texts(path: Path) -> dict[str, str]:
    """The texts of a BEIR file by their ids."""
    with path.open(encoding="utf-8") as lines:
        return {row["_id"]: row["text"] for row in map(json.loads, lines)}


def pairs(folder: Path, count: int) -> list[tuple[str, str, str]]:
    """(id, query, passage) of judged pairs drawn at random, half of them with the highest grade, half with grade 0."""
    with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as lines:
        judged = [
            (row["query-id"], row["corpus-id"], int(row["score"])) for row in csv.DictReader(lines, delimiter="\t")
        ]
    queries, passages = texts(folder / "queries.jsonl"), texts(folder / "corpus.jsonl")
    drawn = random.Random(SEED)
    top = max(grade for *_, grade in judged)
    chosen = []
    for wanted, size in ((top, count - count // 2), (0, count // 2)):
        of_grade = [(q, d) for q, d, grade in judged if grade == wanted and q in queries and d in passages]
        chosen += drawn.sample(sorted(of_grade), size)
    return [(f"{q}/{d}", queries[q], passages[d]) for q, d in chosen]


def ask(url: str, model: str, content: str) -> str:
    """One chat completion."""
    body = {"model": model, "messages": [{"role": "user", "content": content}], "seed": SEED}
    raw = json.dumps({**body, "temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}).encode()
    request = urllib.request.Request(f"{url}/chat/completions", raw, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=600) as response:
        return str(json.load(response)["choices"][0]["message"]["content"])


def make(url: str, model: str, data: Path, out: Path, count: int, at_once: int) -> None:
    """Append what the file does not hold yet."""
    lines = out.read_text(encoding="utf-8").split("\n") if out.exists() else []
    held = {(row["prompt"], row["pair"]) for row in map(json.loads, filter(None, lines))}
    due = [(name, *pair) for pair in pairs(data, count) for name in PROMPTS if (name, pair[0]) not in held]
    with out.open("a", encoding="utf-8") as sink, ThreadPoolExecutor(at_once) as pool:
        contents = [PROMPTS[name].format(query=query, passage=passage) for name, _, query, passage in due]
        for (name, pair, *_), answer in zip(due, pool.map(lambda each: ask(url, model, each), contents), strict=True):
            row = Labelled(prompt=name, pair=pair, answer=answer, verdict="")
            sink.write(json.dumps(row, ensure_ascii=False) + "\n")
            sink.flush()


def score(path: Path) -> Counter[str]:
    """How many answers of a labelled file are `read`, `missed`, `opposite`, `invented`, `rightly none` or `unsure`.

    Prints those that are missed, opposite or invented.
    """
    counts: Counter[str] = Counter()
    for raw in filter(None, path.read_text(encoding="utf-8").split("\n")):
        row: Labelled = json.loads(raw)
        if row["verdict"] not in TRUTH:
            counts["unsure" if row["verdict"] == "unsure" else "not labelled"] += 1
            continue
        truth, said = TRUTH[row["verdict"]], parse_verdict(row["answer"])
        if said == truth:
            kind = "rightly none" if truth is None else "read"
        else:
            kind = "invented" if truth is None else "missed" if said is None else "opposite"
            print(f"{kind} ({row['verdict']}): {row['answer']!r}")
        counts[kind] += 1
    return counts


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making, scoring = commands.add_parser("make"), commands.add_parser("score")
    making.add_argument("--url", required=True)
    making.add_argument("--model", required=True)
    making.add_argument("--data", type=Path, required=True)
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--pairs", type=int, default=20)
    making.add_argument("--at-once", type=int, default=2)
    scoring.add_argument("file", type=Path)
    args = parser.parse_args()
    if args.command == "make":
        make(args.url, args.model, args.data, args.out, args.pairs, args.at_once)
        return
    counts = score(args.file)
    plain = counts["read"] + counts["missed"] + counts["opposite"]
    print(json.dumps({**counts, "share of plain answers read": round(counts["read"] / max(plain, 1), 4)}))


if __name__ == "__main__":
    main()
