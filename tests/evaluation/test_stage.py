"""The stage `evaluate` on sets of every kind, and holes judged by the run's own teacher, through the real command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill.cli import main

ROOT = Path(__file__).resolve().parents[2]


def lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def sets(folder: Path) -> list[dict[str, Any]]:
    """Small sets of four layouts beside the configuration."""
    texts = {"q1": "flat {} with a dog", "q2": "flat {} without", "doc1": "Flat {}. Dogs welcome.", "doc2": "Flat {}."}
    pairs = [{"id": str(n), **{key: text.format(n) for key, text in texts.items()}} for n in range(6)]
    lines(folder / "negation" / "test.jsonl", pairs)
    for name in ("changed", "excluded"):
        base = folder / name
        # Each query finds three of the passages: dN, dN+3 (relevant), dN+6.
        lines(base / "corpus.jsonl", [{"_id": f"d{n}", "text": f"flat {n % 3}{n % 3} in Lund"} for n in range(9)])
        lines(base / "queries.jsonl", [
            {"_id": f"q{n}{end}", "text": f"flat {n}{n}", "instruction": f"in Lund {end}"}
            for n in range(3) for end in ("-og", "-changed")
        ])  # fmt: skip
        (base / "qrels").mkdir()
        asked = [(n, f"q{n}{end}") for n in range(3) for end in ("-og", "-changed")]
        rows = [f"{query}\td{m}\t{int(m == n + 3)}" for n, query in asked for m in (n + 3, 8)]
        (base / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    lines(
        folder / "changed" / "qrel_diff.jsonl", [{"query-id": f"q{n}", "corpus-ids": [f"d{n + 3}"]} for n in range(3)]
    )
    ranked = [{"query-id": f"q{n}{end}", "corpus-ids": [f"d{m}" for m in range(9)]}
              for n in range(3) for end in ("-og", "-changed")]  # fmt: skip
    lines(folder / "changed" / "top_ranked.jsonl", ranked)
    excluded = [{"query-id": f"q{n}-og", "corpus-ids": [f"d{n}"]} for n in range(3)]
    lines(folder / "excluded" / "excluded_ids.jsonl", excluded)
    return [
        {"name": "test", "source": "example", "split": "test", "first_stage": "bm25", "depth": 12},
        {"name": "negation", "kind": "nevir", "path": "negation"},
        {"name": "changed", "kind": "followir", "path": "changed"},
        {"name": "excluded", "kind": "bright", "path": "excluded", "depth": 3},
    ]


@pytest.mark.slow
def test_every_kind_of_set_and_the_holes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load((ROOT / "configs" / "tiny.yaml").read_text())
    settings["sft"] |= {"targets": ["direct"], "assume": {"usd_per_hour": 3.6}}
    settings["evaluation"]["sets"] = sets(tmp_path)
    path, out = tmp_path / "own.yaml", tmp_path / "run"
    path.write_text(json.dumps(settings))
    assert main(["run", str(path), "--out", str(out)]) == 0
    found = json.loads((out / "metrics.json").read_text())
    assert found["stages"]["evaluate"]["devices"] >= 1
    by_set = found["evaluation"]
    assert set(by_set["negation"]["direct"]) >= {"pairwise_accuracy", "tokens_per_pair"}
    assert "nDCG@10" not in by_set["negation"]["direct"]
    assert set(by_set["changed"]["direct"]) >= {"p-MRR", "robustness@10", "nDCG@10.og", "nDCG@10.changed", "nDCG@10"}
    assert found["intervals"]["changed"]["direct"]["p-MRR"][0] <= by_set["changed"]["direct"]["p-MRR"]
    runs = (out / "evaluation" / "excluded.direct.trec").read_text()
    assert not re.search(r"^q0-og Q0 d0 ", runs, re.M) and re.search(r"^q0-changed Q0 d0 ", runs, re.M)
    assert (out / "evaluation" / "changed.tex").exists() and (out / "figures" / "negation.svg").exists()
    report = (out / "report.html").read_text()
    assert "pairwise accuracy" in report and "USD per 1,000 queries at 3.6 USD an hour" in report

    capsys.readouterr()
    holes = ["evaluate", str(path), "--out", str(out), "--judge-holes", "--holes-depth", "12"]
    assert main(holes) == 0
    said = capsys.readouterr().out
    judged = json.loads((out / "metrics.json").read_text())["holes"]
    assert set(judged) == {"test", "changed", "excluded"}
    assert (
        judged["test"]["holes"] > 0
        and f"{judged['test']['graded']} of {judged['test']['holes']} unjudged passages" in said
    )
    assert judged["test"]["agreement"]["relevant"] > 0.8
    qrels = (out / "evaluation" / "test.holes.qrels").read_text().splitlines()
    assert len(qrels) > judged["test"]["graded"] and all(len(line.split()) == 4 for line in qrels)
    before = json.loads((out / "evaluation" / "test.holes.json").read_text())["asked"]["asked_now"]
    assert main(holes) == 0 and before > 0
    assert json.loads((out / "evaluation" / "test.holes.json").read_text())["asked"]["asked_now"] == 0
    assert main(["report", str(path), "--out", str(out)]) == 0
    assert "What the unjudged passages hide" in (out / "report.html").read_text()
