"""The table of docs/after-sft.md: SFT on few traces, SFT continued for as long, and what comes after SFT, by seed.

    taskset -c 0 python benchmarks/after/table.py --seeds 3 --out runs/after

Every seed is a world of its own, 1,800 queries. The student's SFT has 600 of its 15,000 traces, what comes after
SFT has every labelled pair. SFT on 1,200 and on 2,400 traces shows what more traces would buy; the last is also the
teacher of `on_policy`. SFT continued starts from the SFT student, on the same 600 traces, and takes as many steps as
the slowest method took time; `on_policy` then starts from there as well, against SFT that is continued once more for
as long. What is done is not made again; `--read` makes no run, and takes what is there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from distill.evaluation.seeds import details
from distill.example.instructed import write_instructed
from distill.statistics.significance import interval, resampled_means

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "then-grpo.yaml"
QUERIES = "pairs.example.queries={train: 1800, dev: 10, test: 100}"
STEPS = 900  # of SFT
STUDENT, SIZES = "t600", {"t600": 600, "t1200": 1200, "t2400": 2400}
LABELLED = {"pairs": "labelled"}
VERDICT = {"verdict": 1, "form": 0.1}
GRPO = {
    **LABELLED, "method": "grpo", "steps": 40, "prompts": 8, "generations": 8, "learning_rate": 3e-4,
    "select": "disagree", "reward": VERDICT,
}  # fmt: skip
SELF = {
    **LABELLED, "method": "self_distil", "steps": 60, "prompts": 16, "learning_rate": 3e-4, "privileged": "label",
}  # fmt: skip
THEN: list[dict[str, Any]] = [
    {**LABELLED, "method": "on_policy", "steps": 120, "prompts": 64, "learning_rate": 1e-3},
    {**GRPO, "name": "grpo_verdict"},
    {**GRPO, "name": "grpo_random", "select": "random"},
    {**GRPO, "name": "grpo_brier", "reward": {**VERDICT, "brier": 1}},
    {**GRPO, "name": "grpo_length", "reward": {**VERDICT, "length": 0.5}, "length_budget": 30},
    SELF,
]
PRIVILEGED = {**SELF, "privileged_share": 0.15}  # of a student of its own, since it changes SFT too
CONTROL, TWICE = "SFT continued", "SFT continued twice"
MEASURES = {"nDCG@10": "nDCG@10", "ECE": "ECE", "tokens a pair": "tokens_per_pair"}
Row = dict[str, float]


def run(folder: Path, seed: int, targets: list[dict[str, Any]], instructed: Path, *changes: str) -> None:
    """Make one run, or bring it up to date."""
    of_set = {"name": "instructed", "source": "beir", "kind": "followir", "path": str(instructed), "split": "test"}
    of_test = {"name": "test", "source": "example", "split": "test", "first_stage": "bm25", "depth": 20}
    given = [f"seed={seed}", QUERIES, f"sft.targets={json.dumps(targets)}"]
    given += [f"evaluation.sets={json.dumps([of_test, of_set])}", *changes]
    subprocess.run([sys.executable, "-m", "distill.cli", "run", str(CONFIG), *given, "--out", str(folder)], check=True)


def folders(out: Path, seed: int) -> list[Path]:
    """A seed's runs: the students and what comes after them; SFT continued, and on_policy after it; SFT continued
    from there once more."""
    return [out / f"seed{seed}{end}" for end in ("", "-continued", "-twice")]


def make(out: Path, seed: int, instructed: Path) -> None:
    """Make the runs of a seed that are missing."""
    one, control, twice = folders(out, seed)
    sizes = [{"target": "think", "name": name, "train_size": size} for name, size in SIZES.items()]
    steps = f"sft.training.max_steps={STEPS}"
    if not (one / "students" / "t2400" / "model.safetensors").exists():
        run(one, seed, sizes, instructed, steps)
    teacher = {"teacher": str((one / "students" / "t2400").resolve())}
    then = [{**entry, **(teacher if entry["method"] == "on_policy" else {})} for entry in THEN]
    privileged = {**sizes[0], "name": "t600_privileged", "then": [PRIVILEGED]}
    run(one, seed, [{**sizes[0], "then": then}, privileged, *sizes[1:]], instructed, steps)
    for folder, before, more in ((control, one, {"then": then[:1]}), (twice, control, {})):
        if not folder.exists():
            shutil.copytree(one, folder, ignore=shutil.ignore_patterns("students", "evaluation", "report*"))
        base = f"sft.base={(before / 'students' / STUDENT).resolve()}"
        run(folder, seed, [{**sizes[0], **more}], instructed, base, f"sft.training.max_steps={longer(before)}")


def longer(folder: Path) -> int:
    """Steps of SFT in the time of the slowest method after it."""
    students = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["stages"]["sft"]["students"]
    slowest = max(counts["seconds"] for name, counts in students.items() if name.startswith(f"{STUDENT}_"))
    return round(students[STUDENT]["steps"] * slowest / students[STUDENT]["seconds"])


def rows(folder: Path) -> Iterator[tuple[str, Row]]:
    """(student, measures on the test set, tokens written in training, minutes) of one run."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for name, counts in metrics["stages"]["sft"]["students"].items():
        measured, instructed = (metrics["evaluation"].get(key, {}).get(name, {}) for key in ("test", "instructed"))
        yield (
            name,
            {
                **{title: measured[key] for title, key in MEASURES.items()},
                "p-MRR": instructed.get("p-MRR", float("nan")),
                "tokens written": counts.get("generated_tokens", 0),
                "minutes": counts["seconds"] / 60,
            },
        )


def read(out: Path, seed: int) -> tuple[dict[str, Row], dict[str, dict[str, float]]]:
    """({student: measures}, {student: {query: nDCG@10}}) of a seed's runs that are there."""
    found: dict[str, Row] = {}
    queries: dict[str, dict[str, float]] = {}
    for folder, title in zip(folders(out, seed), ("", CONTROL, TWICE), strict=True):
        if (folder / "evaluation" / "manifest.json").exists():
            names = {name: name.replace(STUDENT, title) if title else name for name, _ in rows(folder)}
            found |= {names[name]: row for name, row in rows(folder)}
            of_test = details(folder)["test"]
            queries |= {names[name]: dict(of_test[name]["nDCG@10"]) for name in names}
    return found, queries


def table(seeds: Sequence[dict[str, Row]], queries: Sequence[dict[str, dict[str, float]]]) -> str:
    """Means over the seeds; the difference to SFT that was continued for as long from the same student (to the SFT
    student where that is not made), with its interval, paired over the queries of all seeds."""
    titles = ["nDCG@10", "p-MRR", "ECE", "tokens a pair", "tokens written", "minutes"]
    lines = [f"| student | {' | '.join(titles)} | nDCG@10 less | that of |", "|---" * (len(titles) + 3) + "|"]
    for name in seeds[0]:
        means = [fmean(seed[name][title] for seed in seeds) for title in titles]
        shown = " | ".join(f"{value:,.0f}" if value >= 100 else f"{value:.3f}" for value in means)
        wanted = [TWICE if name.startswith(CONTROL) and name != CONTROL else CONTROL, STUDENT]
        against = next(each for each in wanted if all(each in seed for seed in queries))
        less = ""
        if name not in (against, TWICE):
            apart = [seed[name][unit] - seed[against][unit] for seed in queries for unit in seed[against]]
            low, high = interval(resampled_means(np.array(apart)[:, None], 0)[:, 0])
            less = f"{fmean(apart):+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"| {name} | {shown} | {less} | {against if less else ''} |")
    return "\n".join(lines)


def main() -> None:
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/after"))
    parser.add_argument("--read", action="store_true", help="make no run, read those that are there")
    given = parser.parse_args()
    instructed = (given.out / "instructed").resolve()
    if not instructed.exists():
        write_instructed(instructed)
    if not given.read:
        for seed in range(given.seeds):
            make(given.out, seed, instructed)
    found, queries = zip(*(read(given.out, seed) for seed in range(given.seeds)), strict=True)
    print(table(found, queries))


if __name__ == "__main__":
    main()
