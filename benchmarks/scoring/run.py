"""How fast students judge on a CPU, next to a plain loop, to `generate`, and to this project's earlier evaluation.

    python benchmarks/scoring/run.py MODEL DL19 [--parts direct,think] [--loop LOOP.py] [--old FOLDER] [--write]

The ways take turns over slices of the same pairs, each in a process of its own that has all cores; loading is not
counted. `ours` is the scorer behind `distill evaluate`; `reranker` is `Reranker.predict` in one process. Printed for
each: the rate of every turn, the median, and how many times it `ours` is: the median of the turns' own ratios, with the
lowest and highest. On a machine that does other work only the ratios mean something.

MODEL is a folder, such as `make real-base` makes; DL19 a folder with corpus.jsonl, queries.jsonl and
runs/BM25.top100.trec. LOOP.py is a script `LOOP.py MODEL DL19 PAIRS` that prints `N pairs/s`; FOLDER a checkout of
commit 221dad9. Without them those ways are left out. `vllm` and `llama` are peers in environments of their own
(`peers.py`), which read the same tokens; for them small numbers are enough: `--pairs 100 --turns 1 --parts direct`,
`--pairs 8 --turns 1 --parts think64`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BASELINE = HERE / "baseline.json"


@dataclass(frozen=True, slots=True)
class Part:
    """What is measured: the mode, the pairs of one turn, the turns, and the bound on the reasoning in tokens."""

    mode: str
    pairs: int
    turns: int
    bound: int = 1


PEERS = {"vllm": ("vllm_python",), "llama": ("llama_python", "llama_model")}  # and the options that each needs
PARTS = {
    "direct": Part("direct", 150, 4),  # 600 pairs
    "think": Part("think", 32, 3, 200),
    "think64": Part("think", 32, 3, 64),
}


def slices(data: Path, part: Part, folder: Path) -> list[Path]:
    """Folders like `data`, each with the next pairs of its run."""
    lines = (data / "runs/BM25.top100.trec").read_text(encoding="utf-8").splitlines(keepends=True)
    made = []
    for turn in range(part.turns):
        one = folder / f"{part.mode}{part.bound}-{turn}"
        (one / "runs").mkdir(parents=True)
        for name in ("corpus.jsonl", "queries.jsonl"):
            (one / name).symlink_to((data / name).resolve())
        chosen = lines[turn * part.pairs : (turn + 1) * part.pairs]
        (one / "runs/BM25.top100.trec").write_text("".join(chosen), encoding="utf-8")
        made.append(one)
    return made


def measured(way: str, model: str, data: Path, part: Part, given: argparse.Namespace) -> dict[str, float]:
    """Pairs and written tokens a second of one turn of a way, in a process of its own."""
    sources = str(given.old if way == "old" else ROOT)
    environment = {**os.environ, "PYTHONPATH": sources, "OMP_NUM_THREADS": str(cores())}
    if way == "loop":
        command = [sys.executable, str(given.loop), model, str(data), str(part.pairs)]
    elif way in PEERS:
        prompts = [sys.executable, str(HERE / "method.py"), "prompts", model, str(data), part.mode, str(part.bound)]
        subprocess.run(prompts, env=environment, check=True)
        python = str(given.vllm_python if way == "vllm" else given.llama_python)
        weights = model if way == "vllm" else str(given.llama_model)
        command = [python, str(HERE / "peers.py"), way, weights, str(data / "prompts.json")]
        environment.pop("PYTHONPATH")
    else:
        command = [sys.executable, str(HERE / "method.py"), way, model, str(data), part.mode, str(part.bound)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        sys.exit(f"{way}: {result.stderr.strip().splitlines()[-1]}")
    last = next(line for line in reversed(result.stdout.splitlines()) if line.startswith("{") or way == "loop")
    if way == "loop":
        rate = re.match(r"([\d.]+) pairs/s", last)
        return {"pairs_per_s": float(rate[1]) if rate else sys.exit(f"{given.loop} printed {last!r}, and no pairs/s")}
    found = json.loads(last)
    return {name: found[key] / found["seconds"] for name, key in (("pairs_per_s", "pairs"), ("tokens_per_s", "tokens"))}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def peer_is_given(peer: str, given: argparse.Namespace) -> bool:
    """Whether a peer's environment is named; else the reason why it is left out is printed."""
    missing = [option for option in PEERS[peer] if getattr(given, option) is None]
    if missing:
        print(f"{peer}: left out, since --{missing[0].replace('_', '-')} is not given", flush=True)
    return not missing


def race(name: str, part: Part, given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """All ways over all slices, in turns; printed as they come."""
    ways = ["ours", "reranker"] if part.mode == "direct" else ["ours", "reranker", "generate"]
    ways += ["loop"] if given.loop and part.mode == "direct" else []
    ways += ["old"] if given.old else []
    ways += [peer for peer in PEERS if peer_is_given(peer, given)]
    unit = "pairs_per_s" if part.mode == "direct" else "tokens_per_s"
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn, data in enumerate(slices(given.data, part, folder)):
        for way in ways if turn % 2 == 0 else ways[::-1]:
            rates[way].append(measured(way, given.model, data, part, given)[unit])
            print(f"{name} turn {turn + 1}: {way} {rates[way][-1]:.2f} {unit}", flush=True)
    table: dict[str, object] = {}
    for way in ways:
        ratios = sorted(mine / other for mine, other in zip(rates["ours"], rates[way], strict=True))
        table[way] = {
            unit: round(statistics.median(rates[way]), 2),
            "turns": [round(rate, 2) for rate in rates[way]],
            "ours_over_it": round(statistics.median(ratios), 2),
            "lowest_highest": [round(ratios[0], 2), round(ratios[-1], 2)],
        }
        print(f"{name}: {way} {json.dumps(table[way])}", flush=True)
    return {"pairs_a_turn": part.pairs, "bound": part.bound, "ways": table}


def machine() -> str:
    """The processor and what of it matters here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    fast = [name for name in ("avx512_bf16", "amx_bf16") if torch.cpu.get_capabilities().get(name)]
    return f"{names[0] if names else platform.machine()}, {cores()} cores, {' '.join(fast) or 'no fast bf16'}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--parts", default="direct,think", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--loop", type=Path, metavar="LOOP.py")
    parser.add_argument("--old", type=Path, metavar="FOLDER")
    parser.add_argument("--vllm-python", type=Path, metavar="PYTHON", help="of an environment with vLLM's CPU build")
    parser.add_argument("--llama-python", type=Path, metavar="PYTHON", help="of an environment with xllamacpp")
    parser.add_argument("--llama-model", type=Path, metavar="GGUF", help="the same model for llama.cpp")
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs of one turn")
    parser.add_argument("--turns", type=int, metavar="N")
    parser.add_argument("--write", action="store_true", help=f"add what was found to {BASELINE.name}")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    name = Path(given.model).name
    found = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for each in given.parts.split(","):
            part = PARTS[each]
            part = Part(part.mode, given.pairs or part.pairs, given.turns or part.turns, part.bound)
            result = race(each, part, given, Path(folder))
            found[f"{name} {each}"] = {"machine": machine(), "load_before": round(load, 1), **result}
    if given.write:
        BASELINE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
