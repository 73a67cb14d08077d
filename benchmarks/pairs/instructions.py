"""The table of docs/benchmarks/example.md: a student trained with instructions and one without, from the same pairs.

    python benchmarks/pairs/instructions.py --out /tmp/instructions [key.path=value ...]

Ten to fifteen minutes on two free cores. Killed and called again it goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from distill.cli import main as distill
from distill.example.instructed import write_instructed

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "instructions.yaml"
RUNS = {"plain": ["pairs.instructions=null", "pairs.poison=null"], "instructed": []}
ROWS = (
    ("instructed", "p-MRR", "p-MRR of the instructed set"),
    ("instructed", "nDCG@10.og", "its nDCG@10 under the broad instruction"),
    ("instructed", "nDCG@10.changed", "its nDCG@10 under the narrower one"),
    ("test", "nDCG@10", "nDCG@10 of plain queries"),
    ("test", "verdict_accuracy", "verdicts right, plain queries"),
)


def main() -> int:
    """Run both and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    exam = args.out.resolve() / "instruct"
    print(write_instructed(exam), file=sys.stderr)
    found = {}
    for name, changes in RUNS.items():
        run = args.out / name
        command = ["run", str(CONFIG), "--out", str(run), f"evaluation.sets.1.path={exam}", *changes, *args.overrides]
        if status := distill(command):
            return status
        found[name] = json.loads((run / "metrics.json").read_text())
    print("| | BM25 | trained plainly | trained with instructions |\n|---|---|---|---|")
    for each, measure, words in ROWS:
        cells = []
        for name, system in (("plain", "first_stage"), ("plain", "think"), ("instructed", "think")):
            value = found[name]["evaluation"][each][system].get(measure)
            low, high = found[name]["intervals"][each][system].get(measure, (None, None))
            cells.append(
                "" if value is None else f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")
            )
        print(f"| {words} | {' | '.join(cells)} |")
    kept = {name: metrics["stages"]["dataset"]["kept"] for name, metrics in found.items()}
    asked = {name: metrics["stages"]["pairs"].get("asked_now", 0) for name, metrics in found.items()}
    print(f"\nTraces kept: {kept}; asked for the pairs: {asked}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
