"""Makes the tables of docs/benchmarks/real.md: real bases, real traces, real judgements.

    python benchmarks/real/convert.py                  # the sets, once
    python benchmarks/real/run.py A [--folds 0 1] [--of 5] [key.path=value ...]
    python benchmarks/real/run.py B                    # the base, then every fold of DL19, SciFact and Cranfield
    python benchmarks/real/run.py C                    # with a live teacher (configs/real-c.yaml)
    python benchmarks/real/run.py --render             # the page, from what is there

Each part is one `distill run` with a folder below --runs: stopped at any moment, the same command goes on from there.
After each part the row's figures in `benchmarks/real/TABLE.json` and the page are written anew, of the parts that are
whole; folds of one name are pooled by query. Rows of other parts and of other bases stay. The base, the depth and the
settings that are given are written next to the figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from measured import How, Table, measured, merged
from page import render

from distill.store import read_json, read_manifest, write_json

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
PAGE = ROOT / "docs/benchmarks/real.md"


@dataclass(frozen=True, slots=True)
class Part:
    """One run: its folder's name, configuration and settings; `row` names the figures that it is pooled into with the
    others of `of` runs. With `judges` it is a copy of the run of that name, whose student it judges on other sets."""

    name: str
    config: str
    settings: tuple[str, ...]
    row: str = ""
    of: int = 1
    judges: str = ""


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """A set of table B: its kind, the lowest grade that is relevant, how negatives are had, its first stage."""

    kind: str
    relevant_from: int
    negatives: str
    first_stage: str


BM25_RUN = "runs/BM25.top100.trec"
MINED = "{{miner: bm25, per_query: {}, first: 5, last: 50}}"  # nobody judged a passage of theirs as not relevant
JUDGED = {
    "dl19-passage": JudgedSet("dl19", 2, "none", BM25_RUN),
    "scifact": JudgedSet("beir", 1, MINED.format(2), "bm25"),  # 1.1 relevant ones a query
    "cranfield": JudgedSet("beir", 1, MINED.format(8), "bm25"),  # 8
}
SIZES = (250, 1000, 4000)


def entry(data: Path, name: str, part: str, label: str, depth: int) -> str:
    """An evaluation set, as YAML in one line."""
    judged = JUDGED[name]
    first = judged.first_stage if judged.first_stage == "bm25" else data / name / judged.first_stage
    return json.dumps({
        "name": label, "kind": judged.kind, "path": str(data / name), "split": part, "depth": depth,
        "first_stage": str(first),
    })  # fmt: skip


def table_a(given: argparse.Namespace) -> Iterator[Part]:
    """Four students of GPT-4's traces, one part a fold."""
    data = given.data / "gpt4"
    for fold in given.folds:
        cut = f"{fold}of{given.of}"
        sets = [{"name": "test", "path": str(data), "split": f"test-{cut}"}]
        if given.chatreport:
            sets.append({"name": "chatreport", "path": str(given.data / "diras-chatreport")})
        yield Part(f"real-a-{cut}", "real-a.yaml", (
            f"pairs.path={data}", f"pairs.split=rest-{cut}", f"teacher.import.path={data / 'traces.jsonl'}",
            f"sft.base={given.base}", f"evaluation.sets={json.dumps(sets)}",
        ), "GPT-4's traces", given.of)  # fmt: skip


def table_b(given: argparse.Namespace) -> Iterator[Part]:
    """Bases of so many varied queries, measured on DL19 as they are, and fused on the sets of --zero-shot; the largest,
    or without one --base itself, fine-tuned on each fold."""
    for size in given.sizes:
        yield Part(f"real-base-{size}", "real-base.yaml", (
            f"pairs.path={given.data / 'varied'}", f"pairs.queries={size}", f"sft.base={given.base}",
            f"evaluation.sets=[{entry(given.data, 'dl19-passage', 'test', 'dl19', given.depth)}]",
        ), f"{size:,} varied queries")  # fmt: skip
        for name in given.zero_shot:
            dev, part = ("cranfield", "test") if name == "dl19-passage" else (name, "unseen-0of5")
            sets = [entry(given.data, dev, "dev-0of5", "dev", given.depth),
                    entry(given.data, name, part, name, given.depth)]  # fmt: skip
            yield Part(f"real-base-{size}-{name}", "real-base.yaml", (
                f"evaluation.sets=[{', '.join(sets)}]", "evaluation.fuse=true", "evaluation.calibrate_on=dev",
                "evaluation.systems=[direct]",
            ), f"{size:,} varied queries", judges=f"real-base-{size}")  # fmt: skip
    base = given.base
    if given.sizes:
        base = (given.runs / f"real-base-{max(given.sizes)}" / "students/direct").resolve()
    for name in given.sets:
        judged = JUDGED[name]
        for fold in given.folds:
            cut = f"{fold}of{given.of}"
            parts = (("dev", "dev"), ("test", name))
            sets = [entry(given.data, name, f"{part}-{cut}", label, given.depth) for part, label in parts]
            yield Part(f"real-b-{name}-{cut}", "real-b.yaml", (
                f"pairs.path={given.data / name}", f"pairs.split=train-{cut}",
                f"pairs.relevant_from={judged.relevant_from}", f"pairs.negatives={judged.negatives}",
                f"sft.base={base}", f"evaluation.sets=[{', '.join(sets)}]",
            ), f"fine-tuned, {name}", given.of)  # fmt: skip


UNFILTERED = "[finished, parses]"  # what cannot be trained on without: an answer that ended, and a verdict
ROWS_C = {
    "filters without labels": (),
    "and labels": ("filters=[finished, parses, has_reasoning, degenerate, language, leak, self_contradiction, "
                   "verdict_matches_label, {consensus: {agreement: 0.75}}]",),
    "unfiltered": (f"filters={UNFILTERED}",),
    "labels alone": ("teacher={source: labels}", f"filters={UNFILTERED}"),
}  # fmt: skip


def table_c(given: argparse.Namespace) -> Iterator[Part]:
    """A live teacher's traces filtered in two ways and not at all, and labels alone; nothing is asked twice."""
    data = given.data / "dl19-passage"
    journal = (given.runs / "real-c-journal").resolve()
    for number, (row, settings) in enumerate(ROWS_C.items()):
        shared = () if "labels alone" in row else (f"teacher.journal={journal}",)
        yield Part(f"real-c-{number}", "real-c.yaml", (
            f"pairs.path={data}", f"sft.base={given.base}", *shared, *settings,
            f"evaluation.sets=[{entry(given.data, 'dl19-passage', 'test-0of2', 'test', given.depth)}]",
        ), row)  # fmt: skip


TABLES = {"A": table_a, "B": table_b, "C": table_c}


def run(part: Part, runs: Path, more: Sequence[str]) -> bool:
    """Run or go on with a part; whether it is whole. What it prints is at the end of NAME.log next to its folder."""
    folder = runs / part.name
    runs.mkdir(parents=True, exist_ok=True)
    config = ROOT / "configs" / part.config
    if part.judges:
        if not folder.exists():
            copy = folder.with_name(f"{folder.name}.copying")
            shutil.rmtree(copy, ignore_errors=True)  # of a killed one
            shutil.copytree(runs / part.judges, copy)
            (copy / "evaluation" / "manifest.json").unlink()  # on other sets nothing is judged yet
            copy.rename(folder)
        config = folder / "config.yaml"
    command = [sys.executable, "-m", "distill.cli", "run", str(config), f"name={part.judges or part.name}",
               *part.settings, *more, "--out", str(folder)]  # fmt: skip
    with open(runs / f"{part.name}.log", "a", encoding="utf-8") as log:
        print(f"{part.name}: running, see {log.name}", flush=True)
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT).returncode
    if status:
        print(f"{part.name}: exit status {status}; the same command goes on from there", flush=True)
    return status == 0


def write(parts: Sequence[Part], given: argparse.Namespace) -> None:
    """TABLE.json of the parts that are whole, and, where it is the committed one, the page."""
    tables: list[Table] = []
    for row in dict.fromkeys(part.row for part in parts):
        own = [part for part in parts if part.row == row]
        depth = 0 if given.table == "A" else given.depth
        how = How(base=Path(given.base).name, depth=depth, settings=given.settings, of=own[0].of)
        for pooled in [own] if own[0].of > 1 else [[part] for part in own]:
            folders = [given.runs / part.name for part in pooled]
            whole = [folder for folder in folders if read_manifest(folder / "evaluation") is not None]
            tables += measured(row, whole, how, not pooled[0].judges) if whole else []
    if not tables:
        return
    file = (given.out or FOLDER) / f"{given.table}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    old = read_json(file)
    write_json(file, {"tables": merged(old["tables"] if old else [], tables)})
    if given.out is None:
        render(PAGE, FOLDER)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", choices=TABLES)
    parser.add_argument("settings", nargs="*", metavar="key.path=value", help="of every part's configuration")
    parser.add_argument("--of", type=int, default=5, metavar="N", help="folds that there are: 2 or 5 (default)")
    parser.add_argument("--folds", type=int, nargs="+", metavar="K", help="only these, from 0 on (default: all)")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="*",
        default=SIZES,
        metavar="N",
        help="B: training queries; none: --base is fine-tuned",
    )
    parser.add_argument(
        "--sets", nargs="*", default=list(JUDGED), choices=JUDGED, help="B: fine-tuned on (default: all)"
    )
    parser.add_argument(
        "--zero-shot",
        nargs="*",
        default=[],
        choices=JUDGED,
        help="B: judge each base there as it is, and fused (2 GB each)",
    )
    parser.add_argument("--depth", type=int, default=50, metavar="N", help="B, C: passages a query (default: 50)")
    parser.add_argument("--chatreport", action="store_true", help="A: tested on DIRAS' ChatReport as well")
    parser.add_argument("--base", default=str(ROOT / "models/smollm2-135m"), metavar="FOLDER")
    parser.add_argument("--data", type=Path, default=ROOT / "data/real", metavar="FOLDER")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", metavar="FOLDER")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="TABLE.json goes there, and the page stays as it is")
    parser.add_argument("--render", action="store_true", help="only write the page")
    given = parser.parse_intermixed_args()
    given.data = given.data.resolve()
    given.folds = given.folds if given.folds is not None else range(given.of)
    if given.render:
        return render(PAGE, FOLDER)
    if given.table is None:
        parser.error(f"name a table: {', '.join(TABLES)}")
    parts = list(TABLES[given.table](given))
    for part in parts:
        if not run(part, given.runs, given.settings):
            sys.exit(3)
        write(parts, given)


if __name__ == "__main__":
    main()
