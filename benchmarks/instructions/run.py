"""The example's ambiguous queries, with and without their instructions, side by side; and what wording does.

    distill run configs/instructions.yaml --out runs/instructed       # and runs/plain, as its header says
    python benchmarks/instructions/run.py --student instructed=runs/instructed/students/think \
        --student plain=runs/plain/students/think --write

One query, two instructions, five passages, 40 times: does a student put the passages first that the instruction asks
for? Then the generic instructions of `distill sweep` and the paraphrases of one, over the same queries' passages.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.example.ambiguous import reordered, write_ambiguous
from distill.files.qrels import read_qrels
from distill.files.runs import read_run
from distill.records import Pair, make_pair
from distill.rerank.files import read_passages, read_queries
from distill.rerank.instructions import GENERIC, PARAPHRASES
from distill.rerank.instructions.sweep import as_json, sweep, table
from distill.rerank.reranker import Reranker
from distill.statistics.measures import per_query

Run = dict[str, dict[str, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--mode", default="think")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="write baseline.json beside this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ambiguous(folder, 0, given.queries)
        found = {}
        for each in given.student:
            label, _, path = each.partition("=")
            found[label] = measured(Reranker(path, given.mode, max_new_tokens=120), folder)
    print("| student | best fits, without | with | both instructions, with | pairs in order, without | with |")
    print("|---|---|---|---|---|---|")
    for label, each in found.items():
        off, on = each["without"], each["with"]
        cells = (off["first"], on["first"], on["both"], off["apart"], on["apart"])
        print(f"| {label} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    if given.write:
        about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "python": platform.python_version()}
        about |= {"command": "python benchmarks/instructions/run.py --student ... --write", "queries": given.queries}
        text = json.dumps({"about": about, "students": found}, indent=1)
        (Path(__file__).parent / "baseline.json").write_text(text + "\n", encoding="utf-8")
    return 0


def measured(reranker: Reranker, folder: Path) -> dict[str, Any]:
    """All figures of one student."""
    queries, run = read_queries(folder / "queries.jsonl"), read_run(folder / "first.trec")
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    passages = read_passages(folder / "corpus.jsonl", {doc for docs in run.values() for doc in docs})
    pairs = [make_pair(q, d, queries[q][0], passages[d], queries[q][1]) for q in sorted(run) for d in sorted(run[q])]
    ranking = ranked(reranker, pairs)
    asked = {query: ranking[query] for query in qrels}
    plain = {query: ranking[query.rpartition("-")[0]] for query in qrels}
    found: dict[str, Any] = {"without": reordered(plain, qrels), "with": reordered(asked, qrels)}
    found["side_by_side"] = side_by_side(asked, plain, qrels, queries, passages)
    judged = [pair for pair in pairs if pair.query_id in qrels]

    def ndcg(run: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
        return next(iter(per_query(qrels, run, ["nDCG@5"]).values()))

    for name, instructions in (("generic", GENERIC), ("paraphrases", PARAPHRASES)):
        swept = sweep(reranker.predict, judged, instructions, ndcg, group=lambda query: query.rpartition("-")[0])
        print(f"\n{name}\n\n{table(swept, 'nDCG@5')}\n", flush=True)
        found[name] = as_json(swept)
    return found


def ranked(reranker: Reranker, pairs: list[Pair]) -> Run:
    """{query: {passage: margin}}."""
    found: Run = {}
    for judgement in reranker.predict(pairs):
        found.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.margin
    return found


def side_by_side(asked: Run, plain: Run, qrels: Any, queries: Any, passages: dict[str, str]) -> list[dict[str, Any]]:
    """The first query as a reader sees it: the order without an instruction and under each, with what fits."""
    name = sorted(qrels)[0].rpartition("-")[0]
    rows = []
    for key, scores in ((None, plain[f"{name}-a"]), *((f"{name}-{s}", asked[f"{name}-{s}"]) for s in "ab")):
        order = sorted(scores, key=lambda doc: -scores[doc])
        rows.append(
            {
                "query": queries[name][0],
                "instruction": queries[key][1] if key else None,
                "order": [{"passage": passages[doc], "fits": bool(qrels[key][doc]) if key else None} for doc in order],
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
