"""Everything that waits for a GPU, in nine minutes, the most important first; each result is written when it is there.

    python benchmarks/gpu.py --out OUT --data data/real --parts PARTS     # PARTS: qwen-0.5b.gguf in pieces, see below
    python benchmarks/gpu.py --out OUT --data data/real --base models/smollm2-135m --quick     # on a CPU: does it work

1. training: tokens a second of the shapes of Qwen2.5 7B and 1.5B, LoRA and full (`sft/gpu.py`)
2. scoring: pairs a second of the same shapes (`rerank/gpu.py`)
3. table A of docs/benchmarks/real.md with a real 0.5B, one fold (`real/run.py`)

Nothing is fetched, and neither Ray nor vLLM is needed. What has to be carried: the sets that `real/convert.py` made,
and the model, whole or in pieces (`split --bytes 60M models/qwen-0.5b.gguf PARTS/qwen-0.5b.gguf.`). What a step did not
reach is in OUT/gpu.json with the reason. What comes after SFT has a call of its own, `after/gpu.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LORA = "{r: 32, alpha: 64}"


@dataclass(frozen=True, slots=True)
class Step:
    """One script, its arguments, and the most seconds that it may take."""

    name: str
    command: list[str]
    seconds: float


def steps(given: argparse.Namespace, base: str) -> list[Step]:
    """The three steps; with --quick on tiny shapes, and a handful of rows of table A."""
    out, quick = given.out, given.quick
    shape = ["--shape", "tiny" if quick else "7b,1.5b", "--seconds", "60" if quick else "200", "--each", "8"]
    table = [str(HERE / "real/run.py"), "A", "--folds", "0", "--base", base, "--data", str(given.data),
             "--runs", str(out / "runs"), "--out", str(out / "tables")]  # fmt: skip
    table += ["pairs.queries=12", "sft.training.max_steps=2", "evaluation.sets.0.queries=3"] if quick else [
        f"sft.lora={LORA}", "sft.think_tokens=text", "sft.training.learning_rate=2.0e-4"]  # fmt: skip
    return [
        # From the third line on: this project's own settings come first, then its levers.
        Step("training", [str(HERE / "sft/gpu.py"), "--first", "2", *shape, "--json", str(out / "sft.json")], 210),
        Step("scoring", [str(HERE / "rerank/gpu.py"), *(["--quick"] if quick else ["--seconds", "90"])], 120),
        Step("table A", table, 540),
    ]


def joined(parts: Path, out: Path) -> str:
    """The GGUF file that the pieces of a folder make, in the order of their names."""
    pieces = sorted(parts.glob("*.gguf.*"))
    if not pieces:
        sys.exit(f"{parts}: holds no piece NAME.gguf.*; split --bytes 60M makes them")
    whole = out / (pieces[0].name.rpartition(".gguf.")[0] + ".gguf")
    with open(whole, "wb") as sink:
        for piece in pieces:
            with open(piece, "rb") as source:
                shutil.copyfileobj(source, sink)
    return str(whole)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="what real/convert.py made")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--parts", type=Path, metavar="FOLDER", help="pieces of a GGUF file")
    model.add_argument("--base", metavar="FOLDER", help="a model's folder, or a whole GGUF file")
    parser.add_argument("--seconds", type=float, default=540, help="for everything (default: 540)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes and a handful of rows")
    given = parser.parse_args()
    given.out = given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    ends, results = time.monotonic() + given.seconds, []
    base = joined(given.parts, given.out) if given.parts else str(Path(given.base).resolve())
    for step in steps(given, base):
        left, began = ends - time.monotonic(), time.monotonic()
        log = given.out / f"{step.name.replace(' ', '-')}.log"
        status: int | str = "left out: no time left"
        if left > 10:
            with open(log, "w", encoding="utf-8") as sink:
                # A group of its own, so that what a step has started ends with it.
                process = subprocess.Popen(
                    [sys.executable, *step.command], stdout=sink, stderr=sink, start_new_session=True
                )
                try:
                    status = process.wait(min(left, step.seconds))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGTERM)
                    status = "ended by the time; what it had written is there"
        results.append({"step": step.name, "status": status, "seconds": round(time.monotonic() - began, 1)})
        print(json.dumps(results[-1]), flush=True)
        (given.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
