"""Quality against `budget_ms`, and whether answers keep to it under load.

    python benchmarks/serving/budget.py --run runs/quickstart --write     # about four minutes

A student that thinks, of a finished quickstart run. First the run's test queries one after another, each with the
first 20 passages of BM25: nDCG@10 and the answers' milliseconds by budget, next to those without one: the same student
in modes direct and think, and the student that was trained to answer directly. Then 50 clients that ask again
immediately, 32 documents a request, 500 ms: how many answers came within 550 ms, and what they hold. --write puts
budget.json next to this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from run import serving

from distill.example.world import WorldSettings, build
from distill.statistics.ndcg import ndcg

BUDGETS = (50, 100, 200, 300, 500, 1000)
CLIENTS, DOCUMENTS, BUDGET_MS, LATE_MS = 50, 32, 500, 550
CUTOFF = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a finished run of configs/quickstart.yaml")
    parser.add_argument("--queries", type=int, default=60, help="test queries of the table (default 60)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the load (default 20)")
    parser.add_argument("--write", action="store_true", help="write budget.json")
    given = parser.parse_args()
    lists = first_stage(given.run)[: given.queries]
    found: dict[str, Any] = {"table": []}
    for name, mode in (("direct", "direct"), ("think", "direct"), ("think", "think")):
        with serving(str(given.run / "students" / name), mode) as url:
            found["table"].append(asyncio.run(quality(url, lists, None, f"none; student `{name}`, mode {mode}")))
            if mode == "think":
                found["table"] += [asyncio.run(quality(url, lists, ms, f"{ms} ms")) for ms in BUDGETS]
                found["load"] = asyncio.run(load(url, lists, given.seconds))
    print(table(found))
    if given.write:
        about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores shared by server and clients"}
        about |= {"queries": len(lists), "python": platform.python_version(), "date": time.strftime("%Y-%m-%d")}
        path = Path(__file__).parent / "budget.json"
        path.write_text(json.dumps({"about": about, **found}, indent=1) + "\n", encoding="utf-8")
    return 0


def first_stage(run: Path) -> list[dict[str, Any]]:
    """The test queries with BM25's passages in their order, and their grades."""
    import yaml

    config = yaml.safe_load((run / "config.yaml").read_text())
    world = build(WorldSettings.model_validate(config["pairs"]["example"] or {}), config["seed"])["test"]
    texts = {doc: f"{title} {body}" for doc, (title, body, _) in world.documents.items()}
    queries = {query: text for query, (text, _) in world.queries.items()}
    lists: dict[str, list[str]] = {}
    for line in (run / "evaluation" / "test.first_stage.trec").read_text().splitlines():
        query, _, doc, *_ = line.split()
        lists.setdefault(query, []).append(doc)
    return [
        {
            "query": queries[query],
            "documents": [texts[doc] for doc in docs],
            "grades": [world.qrels[query].get(doc, 0) for doc in docs],
            "ideal": list(world.qrels[query].values()),
        }
        for query, docs in lists.items()
    ]


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[int, float, Any]:
    """(status, milliseconds to the last byte, answer)."""
    began = time.monotonic()
    async with session.post(f"{url}/v1/rerank", json=body) as answer:
        content = await answer.json()
        return answer.status, 1000 * (time.monotonic() - began), content


async def quality(url: str, lists: list[dict[str, Any]], budget: float | None, name: str) -> dict[str, Any]:
    """nDCG@10 of the lists, one after another, and how their documents were judged."""
    values, times, modes = [], [], Counter[str]()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:
        for asked in [lists[0], *lists]:
            body = {"query": asked["query"], "documents": asked["documents"], "return_documents": False}
            body |= {"budget_ms": budget} if budget else {}
            _, ms, answer = await ask(session, url, body)
            times.append(ms)
            modes.update(row["mode"] for row in answer["results"])
            gains = [asked["grades"][row["index"]] for row in answer["results"][:CUTOFF]]
            values.append(float(ndcg(gains, asked["ideal"])))
    times = sorted(times[1:])  # the first is to warm up
    total = sum(modes.values())
    return {
        "name": name,
        "ndcg": round(sum(values[1:]) / len(lists), 4),
        "p50_ms": round(times[len(times) // 2], 1),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 1),
        "modes": {mode: round(count / total, 3) for mode, count in sorted(modes.items())},
    }


async def load(url: str, lists: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """50 clients that ask again immediately."""
    passages = [text for asked in lists for text in asked["documents"]]
    late, times, modes, statuses = 0, list[float](), Counter[str](), Counter[str]()
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=120)
    end = time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def client(number: int) -> None:
            nonlocal late
            rng = random.Random(number)
            await asyncio.sleep(rng.random() * BUDGET_MS / 1000)
            while time.monotonic() < end:
                documents = rng.sample(passages, DOCUMENTS)
                body = {"query": rng.choice(lists)["query"], "documents": documents, "budget_ms": BUDGET_MS}
                status, ms, answer = await ask(session, url, {**body, "return_documents": False})
                statuses[str(status)] += 1
                times.append(ms)
                late += ms > LATE_MS
                modes.update(row["mode"] for row in answer.get("results", ()))

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    times.sort()
    total = sum(modes.values()) or 1
    return {
        "clients": CLIENTS,
        "documents": DOCUMENTS,
        "budget_ms": BUDGET_MS,
        "answers": len(times),
        "statuses": dict(statuses),
        "within_550_ms": round(1 - late / len(times), 4),
        "p50_ms": round(times[len(times) // 2], 1),
        "p99_ms": round(times[int(len(times) * 0.99)], 1),
        "longest_ms": round(times[-1], 1),
        "modes": {mode: round(count / total, 3) for mode, count in sorted(modes.items())},
    }


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| budget | nDCG@10 | p50 | p99 | think | direct | unjudged |", "|---|---|---|---|---|---|---|"]
    for each in found["table"]:
        shares = " | ".join(f"{each['modes'].get(mode, 0):.0%}" for mode in ("think", "direct", "unjudged"))
        lines.append(
            f"| {each['name']} | {each['ndcg']:.3f} | {each['p50_ms']:,.0f} ms | {each['p99_ms']:,.0f} ms | {shares} |"
        )
    return "\n".join([*lines, "", json.dumps(found["load"])])


if __name__ == "__main__":
    sys.exit(main())
