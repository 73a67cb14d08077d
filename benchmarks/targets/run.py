"""The targets' table: think, direct, verdict_first and mixed at three training sizes, several seeds, on the example.

    python benchmarks/targets/run.py --seeds 0 1 2 [--launcher "nice -n 10"]
    python benchmarks/targets/run.py --table

Each piece is a `distill run` with some students more than the last, so that any can be killed and the same command goes
on; what is done is not done again. `--table` prints what is there, as docs/benchmarks/example.md shows it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "targets.yaml"
TARGETS = ("think", "direct", "verdict_first", "mixed.think", "mixed.direct")


def main() -> int:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--out", default="runs/targets", help="folder of the runs; one folder a seed")
    parser.add_argument("--launcher", default="", help="a command put before each piece, such as 'nice -n 10'")
    parser.add_argument("--piece", type=int, default=1, help="students a piece")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parsed = parser.parse_args()
    out = Path(parsed.out).resolve()
    students = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["sft"]["targets"]
    sizes = sorted({student["train_size"] for student in students})
    if not parsed.table:
        for seed in parsed.seeds:
            folder = out / str(seed)
            if "test" in json.loads(_text(folder / "metrics.json")).get("evaluation", {}):
                continue
            command = [*shlex.split(parsed.launcher), sys.executable, "-m", "distill.cli", "run", str(CONFIG)]
            command += ["--out", str(folder), f"seed={seed}"]
            for count in range(parsed.piece, len(students), parsed.piece):
                first = f"sft.targets={json.dumps(students[:count])}"
                subprocess.run([*command, first, "evaluation.sets=[]"], check=True)
            subprocess.run(command, check=True)
    print(table(out, parsed.seeds, sizes))
    return 0


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else "{}"


def table(out: Path, seeds: list[int], sizes: list[int]) -> str:
    """Markdown: mean nDCG@10 and each seed's, verdict accuracy, tokens a pair."""
    found: dict[str, list[dict[str, Any]]] = {}
    done = []
    for seed in seeds:
        measured = json.loads(_text(out / str(seed) / "metrics.json")).get("evaluation", {}).get("test")
        if not measured:
            continue
        done.append(seed)
        for system, values in measured.items():
            found.setdefault(system, []).append(values)
    lines = [f"seeds: {', '.join(map(str, done)) or 'none'}", ""]
    lines += ["| trained, asked | pairs | nDCG@10 | by seed | verdict accuracy | tokens a pair |"]
    lines += ["|---|---|---|---|---|---|"]
    rows = [("first_stage", "", "first_stage"), ("untrained", "", "untrained")]
    for target in TARGETS:
        name, _, mode = target.partition(".")
        label = f"{name}, {mode}" if mode else name
        rows += [(label, f"{n:,}", f"{name}_{n}" + (f".{mode}" if mode else "")) for n in sizes]
    for label, size, system in rows:
        values = found.get(system)
        if not values:
            continue
        by_seed = [v["nDCG@10"] for v in values]
        rest = [_mean([v.get(key) for v in values]) for key in ("verdict_accuracy", "tokens_per_pair")]
        shown = " ".join(f"{v:.2f}".lstrip("0") for v in by_seed)
        cells = [label, size, f"{statistics.mean(by_seed):.3f}", shown, rest[0], rest[1]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values: list[float | None]) -> str:
    numbers = [v for v in values if v is not None]
    return f"{statistics.mean(numbers):.2f}" if numbers else ""


if __name__ == "__main__":
    sys.exit(main())
