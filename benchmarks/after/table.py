"""The table of docs/after-sft.md: SFT, SFT continued for the same time, and what comes after it, over seeds.

    python benchmarks/after/table.py --seeds 3 --out runs/after

Every seed is two runs of the embedded example: one with all methods from the same SFT student, and one whose SFT takes
as many more steps as the slowest method took time. What is done is not made again; `--read` makes no run.
`on_policy` is in the table where `--teacher` names a larger model of the same vocabulary (configs/then-on-policy.yaml).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "then-grpo.yaml"
GRPO = {"method": "grpo", "steps": 40, "prompts": 8, "generations": 4, "learning_rate": 1e-4}
THEN: list[dict[str, Any]] = [
    {"method": "self_distil", "steps": 80, "prompts": 16, "learning_rate": 3e-4, "privileged_share": 0.15},
    {**GRPO, "name": "grpo_verdict", "reward": {"verdict": 1, "form": 0.1}},
    {**GRPO, "name": "grpo_brier", "reward": {"verdict": 1, "brier": 1, "form": 0.1}},
]
MEASURES = {"nDCG@10": "nDCG@10", "ECE": "ECE", "tokens a pair": "tokens_per_pair"}


def run(folder: Path, seed: int, then: list[dict[str, Any]], steps: int | None = None) -> None:
    """Make one run, or bring it up to date."""
    targets = json.dumps([{"target": "think", "then": then}])
    changes = ["name=" + folder.name, f"seed={seed}", f"sft.targets={targets}"]
    changes += [f"sft.training.max_steps={steps}"] if steps else []
    subprocess.run(
        [sys.executable, "-m", "distill.cli", "run", str(CONFIG), *changes, "--out", str(folder)], check=True
    )


def rows(folder: Path, prefix: str = "") -> dict[str, dict[str, float]]:
    """{student: measures on the test set, tokens written in training, minutes} of one run."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    found = {}
    for name, counts in metrics["stages"]["sft"]["students"].items():
        measured = metrics["evaluation"]["test"][name]
        found[prefix + name] = {
            **{title: measured[key] for title, key in MEASURES.items()},
            "tokens written": counts.get("generated_tokens", 0),
            "minutes": counts["seconds"] / 60,
        }
    return found


def longer(folder: Path) -> int:
    """Steps of SFT that take the time of SFT and of the slowest method after it."""
    students = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["stages"]["sft"]["students"]
    sft = students["think"]
    slowest = max(counts["seconds"] for name, counts in students.items() if name != "think")
    return round(sft["steps"] * (1 + slowest / sft["seconds"]))


def table(seeds: list[dict[str, dict[str, float]]]) -> str:
    """Means over the seeds, with the lowest and the highest nDCG@10."""
    titles = [*MEASURES, "tokens written", "minutes"]
    lines = [f"| student | {' | '.join(titles)} | nDCG@10 by seed |", "|---" * (len(titles) + 2) + "|"]
    for name in seeds[0]:
        means = [fmean(seed[name][title] for seed in seeds) for title in titles]
        shown = " | ".join(f"{value:,.0f}" if value >= 100 else f"{value:.3f}" for value in means)
        by_seed = ", ".join(f"{seed[name]['nDCG@10']:.3f}" for seed in seeds)
        lines.append(f"| {name} | {shown} | {by_seed} |")
    return "\n".join(lines)


def main() -> None:
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/after"))
    parser.add_argument("--teacher", type=Path, help="a model for on_policy")
    parser.add_argument("--read", action="store_true", help="make no run, read those that are there")
    given = parser.parse_args()
    then = list(THEN)
    if given.teacher:
        on_policy = {"method": "on_policy", "steps": 80, "prompts": 16, "learning_rate": 3e-4}
        then.append({**on_policy, "teacher": str(given.teacher.resolve())})
    found = []
    for seed in range(given.seeds):
        one, control = given.out / f"seed{seed}", given.out / f"seed{seed}-longer"
        if not given.read:
            run(one, seed, then)
            run(control, seed, [], longer(one))
        found.append(rows(one) | (rows(control, "longer ") if control.exists() else {}))
    print(table(found))


if __name__ == "__main__":
    main()
