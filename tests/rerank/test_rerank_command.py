"""`distill rerank` and `distill calibrate`, as a user calls them."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.cli import main
from distill.errors import InputError
from distill.records import Judgement, as_dict, make_pair
from distill.rerank.calibration import Curve
from distill.rerank.jobs import Student, job_of
from distill.rerank.reranker import Reranker
from distill.rerank.scorer import Scorer
from sft.encoder_base import make_scratch_encoder
from sft.scratch import ScratchSettings
from tests.rerank.test_scorer import COUNTING

ENCODER = ScratchSettings(vocab_size=320, layers=1, width=64, heads=2, kv_heads=2, ffn=64, max_positions=64)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six queries of five passages each, one of them with an instruction of its own."""
    queries = [{"_id": f"q{q}", "text": f"red fox {q}"} for q in range(6)]
    queries[0]["instruction"] = "quick only"
    docs = [{"_id": f"d{d}", "title": "dog", "text": f"a lazy dog {d} sleeps"} for d in range(5)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
    lines = [f"q{q} Q0 d{d} {d + 1} {5 - d} bm25\n" for q in range(6) for d in range(5)]
    (tmp_path / "in.trec").write_text("".join(lines))
    labels = [f"q{q} 0 d{d} {int((q + d) % 3 == 0)}\n" for q in range(6) for d in range(5)]
    (tmp_path / "qrels.txt").write_text("".join(labels))
    return tmp_path


def arguments(command: str, tiny: Path, data: Path, *more: str) -> list[str]:
    files = ("--queries", data / "queries.jsonl", "--corpus", data / "corpus.jsonl", "--run", data / "in.trec")
    return [command, "--model", str(tiny), *map(str, files), *more]


def judgements(folder: Path) -> dict[tuple[str, str], Judgement]:
    return {(j.query_id, j.doc_id): j for j in store.read_rows(folder, Judgement)}


def test_a_run_is_reranked_by_margin_and_every_judgement_is_kept(tiny: Path, data: Path, capsys: Any) -> None:
    out = data / "out.trec"
    assert main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(out))) == 0
    found = judgements(data / "out.trec.judgements")
    assert len(found) == 30 and {j.mode for j in found.values()} == {"direct"}
    lines = [line.split() for line in out.read_text().splitlines()]
    for query in {line[0] for line in lines}:
        mine = [(line[2], float(line[4])) for line in lines if line[0] == query]
        assert [score for _, score in mine] == sorted((score for _, score in mine), reverse=True)
        assert dict(mine) == pytest.approx({d: j.margin for (q, d), j in found.items() if q == query})
    printed = capsys.readouterr()
    assert "30/30 pairs" in printed.err and "unparsable 30" in printed.err and "one answer in twenty" in printed.err
    assert printed.out.strip() == str(out)


def test_the_same_command_again_judges_nothing(tiny: Path, data: Path, capsys: Any) -> None:
    command = arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / "out.trec"))
    assert main(command) == 0
    first = (data / "out.trec").read_text()
    capsys.readouterr()
    assert main(command) == 0
    assert "30 of 30 pairs are judged already" in capsys.readouterr().err
    assert (data / "out.trec").read_text() == first


def test_a_journal_of_other_settings_is_refused(tiny: Path, data: Path, capsys: Any) -> None:
    (data / "out.trec.journal").write_text('{"journal": "of something else"}\n')
    assert main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / "out.trec"))) == 2
    assert "of another model, mode, backend, data or setting" in capsys.readouterr().err


def test_an_instruction_reaches_every_pair_and_only_where_asked(tiny: Path, data: Path) -> None:
    for name, more in {"own": [], "one": ["--instruction", "old only"], "none": ["--instruction", ""]}.items():
        assert main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / name), *more)) == 0
    own, one, none = (judgements(data / f"{name}.judgements") for name in ("own", "one", "none"))
    changed = {q for q, d in own if abs(own[q, d].margin - none[q, d].margin) > 1e-3}
    assert changed == {"q0"}, "only q0 has one of its own"
    assert all(abs(one[key].margin - none[key].margin) > 1e-3 for key in one)


def test_a_threshold_leaves_passages_out_of_the_run_only(tiny: Path, data: Path) -> None:
    out = data / "out.trec"
    assert main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(out))) == 0
    found = judgements(data / "out.trec.judgements")
    middle = sorted(j.score for j in found.values())[15]
    again = data / "above.trec"
    assert (
        main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(again), "--threshold", str(middle))) == 0
    )
    assert len(again.read_text().splitlines()) == sum(j.score >= middle for j in found.values())
    assert len(judgements(data / "above.trec.judgements")) == 30


@pytest.mark.parametrize("blank", [False, True], ids=["no row", "an empty text"])
def test_what_has_no_text_is_left_out_under_the_allowed_share(tiny: Path, data: Path, capsys: Any, blank: bool) -> None:
    for name, gone in (("corpus.jsonl", "d4"), ("queries.jsonl", "q5")):
        rows = (data / name).read_text().splitlines(keepends=True)
        empty = json.dumps({"_id": gone, "text": "\u200b"}) + "\n" if blank else ""
        (data / name).write_text("".join(row for row in rows if f'"{gone}"' not in row) + empty)
    out = data / "out.trec"
    arguments_ = arguments("rerank", tiny, data, "--mode", "direct", "--out", str(out), "--missing", "0.2")
    assert main(arguments_) == 0
    said = capsys.readouterr().err
    assert "left out: 1 query of in.trec without a text (in.trec: query 'q5' has no text in queries.jsonl)" in said
    assert "left out: 5 passages of in.trec without a text" in said
    assert len(judgements(data / "out.trec.judgements")) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"corpus.jsonl": '{"_id": "d0", "text": "dog"}\n'},
            "(24 of 30 passages of in.trec have no text; --missing allows a share of 0.01)",
        ),
        (
            {"queries.jsonl": '{"_id": "q0", "text": "fox"}\n'},
            "(5 of 6 queries of in.trec have no text; --missing allows a share of 0.01)",
        ),
        ({"corpus.jsonl": "not json\n"}, "corpus.jsonl:1: not JSON"),
        ({"queries.jsonl": '{"text": "fox"}\n'}, "queries.jsonl:1: a query has an id and a text; this has text"),
        (
            {"queries.jsonl": '{"_id": "q0", "text": "fox"}\n' * 2 + '{"_id": "q0", "text": "dog"}\n'},
            "queries.jsonl:3: 'q0' is there twice with different texts, first at ",
        ),
        (
            {"corpus.jsonl": '{"_id": "d1", "text": "fox"}\n{"_id": "d1", "text": "dog"}\n'},
            "corpus.jsonl:2: 'd1' is there twice with different texts, first at ",
        ),
        (
            {"queries.jsonl": '{"_id": "q0", "text": "fox", "instruction": ["a"]}\n'},
            "queries.jsonl:1: instruction is not a text but a list; write it as a text",
        ),
    ],
)
def test_texts_that_are_not_there_are_named(
    tiny: Path, data: Path, capsys: Any, change: dict[str, str], message: str
) -> None:
    for name, text in change.items():
        (data / name).write_text(text)
    assert main(arguments("rerank", tiny, data, "--out", str(data / "out.trec"))) == 2
    assert message in capsys.readouterr().err


def test_calibration_is_saved_with_the_student_and_used(tiny: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    import shutil

    student = tmp_path / "student"
    shutil.copytree(tiny, student)
    more = ["--qrels", str(data / "qrels.txt"), "--mode", "direct", "adaptive", "--instruction", "old only"]
    assert main(arguments("calibrate", student, data, *more, "--max-new-tokens", "8")) == 0
    saved = json.loads((student / "calibration.json").read_text())
    assert set(saved["curves"]) == {"direct", "think", "adaptive.direct", "adaptive.think"}
    assert [c["template"] for c in saved["checks"]].count("old only") == 2 and saved["window"] is not None
    assert "ECE" in capsys.readouterr().err
    out = data / "out.trec"
    assert main(arguments("rerank", student, data, "--mode", "direct", "--out", str(out), "--recall", "1")) == 0
    scores = [j.score for j in judgements(data / "out.trec.judgements").values()]
    raw = data / "raw.trec"
    assert main(arguments("rerank", student, data, "--mode", "direct", "--out", str(raw), "--calibration", "none")) == 0
    before = [j.score for j in judgements(data / "raw.trec.judgements").values()]
    share = sum(int((q + d) % 3 == 0) for q in range(6) for d in range(5)) / 30
    assert abs(sum(scores) / 30 - share) < 0.05 < abs(sum(before) / 30 - share)
    relevant = {(f"q{q}", f"d{d}") for q in range(6) for d in range(5) if (q + d) % 3 == 0}
    kept = {tuple(line.split()[0:3:2]) for line in out.read_text().splitlines()}
    assert relevant <= kept, "recall 1 keeps every relevant passage"


def test_adaptive_takes_its_window_from_the_calibration(tiny: Path, data: Path, tmp_path: Path) -> None:
    import shutil

    from distill.rerank.reranker import Reranker

    student = tmp_path / "student"
    shutil.copytree(tiny, student)
    more = ["--qrels", str(data / "qrels.txt"), "--mode", "adaptive", "--max-new-tokens", "8"]
    assert main(arguments("calibrate", student, data, *more)) == 0
    saved = json.loads((student / "calibration.json").read_text())["window"]
    window = Reranker(str(student), "adaptive").plan.window
    assert (window.low if saved["low"] is not None else None) == saved["low"] and window.top == saved["top"]


def test_a_journal_is_shared_by_calibrate_and_rerank(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibration judges in direct and think; adaptive over the same pairs has nothing left to judge."""
    import shutil

    (data / "counting.py").write_text(COUNTING)
    monkeypatch.chdir(data)
    monkeypatch.setenv("COUNTED", str(data / "counted.txt"))
    copy = shutil.copytree(tiny, tmp_path / "copy")
    more = ["--journal", "j", "--max-new-tokens", "8", "--backend", "counting.py:Counting"]
    qrels = ["--qrels", "qrels.txt", "--mode", "adaptive", "--out", "calibration.json"]
    assert main(arguments("calibrate", tiny, data, *more, *qrels)) == 0
    assert len((data / "counted.txt").read_text().split()) == 60
    for mode in ("adaptive", "direct", "think"):
        asked = ["--mode", mode, "--out", mode, "--calibration", "calibration.json"]
        assert main(arguments("rerank", copy, data, *more, *asked)) == 0
        assert len(judgements(data / f"{mode}.judgements")) == 30 and (data / "j").exists()
    assert len((data / "counted.txt").read_text().split()) == 60, "a copy of the folder is the same student"


def test_an_encoder_answers_first_and_the_student_thinks_where_it_is_unsure(
    tiny: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    student, encoder = shutil.copytree(tiny, tmp_path / "student"), tmp_path / "encoder"
    make_scratch_encoder([f"red fox {n} a lazy dog sleeps" for n in range(9)], ENCODER, str(encoder))
    (encoder / "distill.json").write_text(json.dumps({"target": "encoder", "mode": "direct", "kind": "encoder"}))
    bound = ["--mode", "adaptive", "--max-new-tokens", "8", "--first", str(encoder)]
    out = ["--out", str(data / "out.trec")]
    assert main(arguments("rerank", student, data, *bound, *out)) == 2
    assert "has to be calibrated with it (it was not): `distill calibrate --mode adaptive" in capsys.readouterr().err
    assert main(arguments("calibrate", student, data, "--qrels", str(data / "qrels.txt"), *bound)) == 0
    saved = json.loads((student / "calibration.json").read_text())
    assert set(saved["curves"]) == {"think", "adaptive.direct", "adaptive.think"}
    saved["window"] = {"low": None, "high": None, "top": 2}
    (student / "calibration.json").write_text(json.dumps(saved))
    assert main(arguments("rerank", student, data, *bound, *out)) == 0
    assert f"mode adaptive after {encoder}" in (said := capsys.readouterr().err) and "thought 12" in said
    found = judgements(data / "out.trec.judgements")
    alone = data / "alone.trec"
    assert main(arguments("rerank", encoder, data, "--out", str(alone))) == 0
    curve = Curve(**saved["curves"]["adaptive.direct"])
    first = judgements(data / "alone.trec.judgements")
    sure = {key: row for key, row in found.items() if row.mode == "adaptive.direct"}
    assert len(found) == 30 and len(sure) == 18
    assert all(row.margin == pytest.approx(curve.log_odds(first[key].margin), abs=1e-6) for key, row in sure.items())
    for query in {query for query, _ in found}:  # the two that the encoder puts first are thought about
        order = sorted((key for key in first if key[0] == query), key=lambda key: -first[key].margin)
        assert {key for key in order if found[key].mode == "adaptive.think"} == set(order[:2])
    # a calibration of two students is refused for one, and with other weights
    assert main(arguments("rerank", student, data, *bound[:4], *out)) == 2
    assert f"calibrated with --first {encoder}; name it, or calibrate anew" in capsys.readouterr().err
    with pytest.raises(InputError, match="which only `distill rerank --first` does"):
        Reranker(str(student), "adaptive")
    named = {"target": "encoder", "mode": "direct", "kind": "encoder", "again": 1}
    (encoder / "distill.json").write_text(json.dumps(named))
    assert main(arguments("rerank", student, data, *bound, *out)) == 2
    assert "or other weights of it" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["think", "direct"])
def test_a_first_student_goes_with_mode_adaptive_alone(tiny: Path, data: Path, capsys: Any, mode: str) -> None:
    more = ["--mode", mode, "--first", str(tiny), "--out", str(data / "out.trec")]
    assert main(arguments("rerank", tiny, data, *more)) == 2
    assert "--first is for --mode adaptive" in capsys.readouterr().err


def test_adaptive_without_a_window_says_so(tiny: Path, data: Path, capsys: Any) -> None:
    more = ["--mode", "adaptive", "--max-new-tokens", "8", "--out", str(data / "out.trec")]
    assert main(arguments("rerank", tiny, data, *more)) == 0
    assert "where to think was never chosen for this student" in capsys.readouterr().err


def test_a_backend_that_is_not_there_is_named(tiny: Path, data: Path, capsys: Any) -> None:
    out = ["--out", str(data / "out.trec")]
    assert main(arguments("rerank", tiny, data, "--backend", "onnx", *out)) == 2
    assert "backend 'onnx' is none of auto, transformers, vllm, openai" in capsys.readouterr().err
    assert main(arguments("rerank", tiny, data, "--backend", "openai", *out)) == 2
    assert "give base_url (--base-url)" in capsys.readouterr().err


def test_killed_and_called_again_it_judges_only_what_is_left(tiny: Path, data: Path) -> None:
    """Enough pairs for the kill to fall between two judgements, wherever it falls."""
    lines = [{"_id": f"d{d}", "text": f"a lazy dog {d} sleeps"} for d in range(100)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (data / "in.trec").write_text("".join(f"q{q} Q0 d{d} {d + 1} {-d} x\n" for q in range(6) for d in range(100)))
    out, journal = data / "out.trec", data / "out.trec.journal"
    more = ("--mode", "think", "--max-new-tokens", "24", "--batch", "4", "--out", str(out))
    command = [sys.executable, "-m", "distill.cli", *arguments("rerank", tiny, data, *more)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 200
    while not (journal.exists() and journal.stat().st_size > 20_000) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    before = [line for line in journal.read_text().split("\n")[1:-1] if line]
    assert 0 < len(before) < 600
    again = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=250)
    assert again.returncode == 0, again.stderr
    assert f"{len(before):,} of 600 pairs are judged already" in again.stderr
    found = judgements(data / "out.trec.judgements")
    assert len(found) == 600 and not journal.exists()
    kept = json.loads(before[0])
    assert found[kept["query_id"], kept["doc_id"]].margin == kept["margin"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--samples", "0"], "samples 0: at least 1"),
        (["--batch", "0"], "batch 0: at least 1"),
        (["--max-new-tokens", "0"], "max_new_tokens 0: at least 1"),
        (["--mode", "budget", "--budget", "0"], "budget 0: at least 1"),
        (["--depth", "0"], "--depth 0: at least 1"),
        (["--device", "teapot"], "device 'teapot' cannot be used"),
        (["--calibration", "nowhere.json"], "nowhere.json: no such file; distill calibrate writes it"),
        (["--precision", "0.9"], "has no calibration.json"),
        (["--recall", "-1"], "--recall -1: a number from 0 to 1"),
        (["--threshold", "1.5"], "--threshold 1.5: a number from 0 to 1"),
    ],
)
def test_what_cannot_be_asked_is_one_line(tiny: Path, data: Path, capsys: Any, more: list[str], message: str) -> None:
    out = data / "out.trec"
    assert main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(out), *more)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    assert len(said) == 1 and message in said[0]
    assert not out.exists()


def test_a_folder_in_the_place_of_the_run_is_refused_before_anything_is_judged(
    tiny: Path, data: Path, capsys: Any
) -> None:
    assert main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data))) == 2
    said = capsys.readouterr().err
    assert "is a folder; --out names the file" in said and "pairs/s" not in said


def test_queries_and_corpus_may_have_the_same_name(tiny: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    """Each counts for itself where it is told whether the judgements are still of this data."""
    for name in ("queries", "corpus"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.jsonl").write_text((data / f"{name}.jsonl").read_text())
    command = arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / "out.trec"))
    for name in ("queries", "corpus"):
        command[command.index(str(data / f"{name}.jsonl"))] = str(tmp_path / name / "data.jsonl")
    assert main(command) == 0
    before = (data / "out.trec").read_text()
    queries = tmp_path / "queries" / "data.jsonl"
    queries.write_text(queries.read_text().replace("fox", "dog"))
    assert main(command) == 0
    assert "judged already" not in capsys.readouterr().err and (data / "out.trec").read_text() != before


def test_a_budget_has_a_calibration_of_its_own(tiny: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    """Fitted on answers of at most 4 tokens, it says nothing of answers of 9."""
    import shutil

    student = tmp_path / "student"
    shutil.copytree(tiny, student)
    of = ["--mode", "budget", "--budget"]
    assert main(arguments("calibrate", student, data, "--qrels", str(data / "qrels.txt"), *of, "4")) == 0
    assert set(json.loads((student / "calibration.json").read_text())["curves"]) == {"budget:4"}
    scores: dict[str, list[float]] = {}
    for name, budget, more in (("of", "4", []), ("raw", "4", ["--calibration", "none"]), ("other", "9", [])):
        capsys.readouterr()
        out = str(data / name)
        assert main(arguments("rerank", student, data, "--out", out, *of, budget, *more)) == 0
        scores[name] = [j.score for j in judgements(data / f"{name}.judgements").values()]
        assert ("calibrated in mode budget:4, not in budget:9" in capsys.readouterr().err) == (name == "other")
    assert scores["of"] != scores["raw"]
    margins = [j.margin for j in judgements(data / "other.judgements").values()]
    assert scores["other"] == pytest.approx([1 / (1 + math.exp(-m)) for m in margins]), "as they are"
    again = arguments("rerank", student, data, "--out", str(data / "t"), *of, "4", "--recall", "0.5")
    assert main(again) == 0


def test_a_threshold_that_nothing_reaches_is_said(tiny: Path, data: Path, capsys: Any) -> None:
    out = data / "out.trec"
    assert main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(out), "--threshold", "1")) == 0
    assert "no passage reaches the threshold 1, so the run is empty" in capsys.readouterr().err and out.exists()


@pytest.mark.parametrize("command", ["calibrate", "sweep"])
def test_judgements_of_other_queries_are_named(command: str, tiny: Path, data: Path, capsys: Any) -> None:
    (data / "qrels.txt").write_text("elsewhere 0 d0 1\n")
    assert main(arguments(command, tiny, data, "--qrels", str(data / "qrels.txt"))) == 2
    said = capsys.readouterr().err
    assert "qrels.txt: has none of the queries of" in said and said.count("\n") == 1


def test_a_folder_in_the_place_of_the_calibration_is_refused(tiny: Path, data: Path, capsys: Any) -> None:
    more = ["--qrels", str(data / "qrels.txt"), "--out", str(data)]
    assert main(arguments("calibrate", tiny, data, *more)) == 2
    assert "is a folder; --out names the file of the calibration" in capsys.readouterr().err


def with_an_overlong_query(data: Path) -> None:
    queries = [json.loads(line) for line in (data / "queries.jsonl").read_text().splitlines()]
    queries[3]["text"] = "red fox " * 300
    (data / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))


def test_an_overlong_query_fails_alone(tiny: Path, data: Path, capsys: Any) -> None:
    with_an_overlong_query(data)
    command = arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / "out.trec"))
    for _ in range(2):  # the second time nothing is judged again
        assert main(command) == 0
        printed = capsys.readouterr().err
        assert "warning: query q3 is too long (" in printed and "not judged, and counts 0" in printed
        assert "failed queries 1" in printed
    assert {line.split()[0] for line in (data / "out.trec").read_text().splitlines()} == {"q0", "q1", "q2", "q4", "q5"}
    manifest = store.read_manifest(data / "out.trec.judgements")
    assert manifest is not None and list(manifest["result"]["failed"]) == ["q3"]


@pytest.mark.parametrize("command", ["calibrate", "sweep"])
def test_an_overlong_query_ends_neither_calibration_nor_sweep(
    command: str, tiny: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    with_an_overlong_query(data)
    more = ["--mode", "direct", "--qrels", str(data / "qrels.txt")]
    more += ["--out", str(tmp_path / "c.json")] if command == "calibrate" else []
    assert main(arguments(command, tiny, data, *more)) == 0
    assert "warning: query q3 is too long" in capsys.readouterr().err


def test_where_every_query_is_overlong_nothing_is_ranked(tiny: Path, data: Path, capsys: Any) -> None:
    rows = [{"_id": f"q{n}", "text": "red fox " * 300} for n in range(6)]
    (data / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / "out.trec"))) == 2
    assert "6 queries are too long" in capsys.readouterr().err


def test_the_scorer_gives_no_judgement_of_an_overlong_query(tiny: Path) -> None:
    pairs = [make_pair(f"q{n}", "d", "red fox " * (300 if n == 1 else 1), f"dog {n}") for n in range(3)]
    with Scorer() as scorer:
        (judged,) = scorer.score([job_of("one", Student(str(tiny), "direct"), pairs)])
        assert judged.name == "one" and [answer is None for answer in judged.judgements] == [False, True, False]
        with pytest.raises(InputError, match="every query is too long"):
            list(scorer.score([job_of("one", Student(str(tiny), "direct"), pairs[1:2])]))


def test_a_backend_of_ones_own_is_one_file(
    tiny: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(data)
    (data / "mine.py").write_text(
        "from distill.rerank.backends.transformers import TransformersBackend\n\n\n"
        "class Mine(TransformersBackend):\n    name = 'mine'\n"
    )
    command = arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / "out.trec"))
    assert main([*command, "--backend", "mine.py:Mine"]) == 0
    assert "backend mine" in capsys.readouterr().err
    assert main([*command[:-1], "other.trec", "--backend", "mine.py:Other"]) == 2
    assert "mine.py has no class 'Other'; it has Mine" in capsys.readouterr().err
    assert main([*command[:-1], "other.trec", "--backend", "nofile.py:Mine"]) == 2
    assert "no such file nofile.py; the path is relative to the working folder" in capsys.readouterr().err


def test_the_journal_of_another_backend_or_of_its_file_as_it_was_is_refused(
    tiny: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(data)
    own = "from distill.rerank.backends.transformers import TransformersBackend\n\n\nclass Mine(TransformersBackend):\n"
    own += "    name = 'transformers'\n"
    (data / "mine.py").write_text(own)
    command = arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / "out.trec"), "--backend")
    journal, folder = data / "out.trec.journal", data / "out.trec.judgements"

    def journal_of(backend: str) -> None:
        """Leave the journal that a run stopped at its beginning leaves."""
        shutil.rmtree(folder, ignore_errors=True)
        assert main([*command, backend]) == 0
        manifest = store.read_manifest(folder)
        assert manifest is not None
        journal.write_text(json.dumps({"journal": manifest["settings"]["key"]}) + "\n")

    journal_of("mine.py:Mine")
    assert main([*command, "transformers"]) == 2
    assert "of another model, mode, backend" in capsys.readouterr().err
    (data / "mine.py").write_text(own + "    changed = True\n")
    assert main([*command, "mine.py:Mine"]) == 2
    (data / "mine.py").write_text(own)
    assert main([*command, "mine.py:Mine"]) == 0 and not journal.exists()
    assert "30 of 30 pairs are judged already" in capsys.readouterr().err
    journal_of("transformers")
    assert main([*command, "mine.py:Mine"]) == 2
    assert main([*command, "auto"]) == 0 and not journal.exists()


def test_a_journal_from_before_it_named_the_backend_goes_on_for_a_built_in_one(
    tiny: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(data)
    (data / "mine.py").write_text("from distill.rerank.backends.transformers import TransformersBackend as Mine\n")
    command = arguments("rerank", tiny, data, "--mode", "direct", "--out", str(data / "out.trec"))
    assert main(command) == 0
    folder, journal = data / "out.trec.judgements", data / "out.trec.journal"
    manifest = store.read_manifest(folder)
    assert manifest is not None
    before = {name: value for name, value in manifest["inputs"].items() if name != "backend"}
    judged = store.read_rows(folder, Judgement)
    rows = [json.dumps(as_dict(row)) for row, _ in zip(judged, range(7), strict=False)]
    journal.write_text("\n".join([json.dumps({"journal": store.fingerprint(before)}), *rows, ""]))
    shutil.rmtree(folder)
    assert main([*command, "--backend", "mine.py:Mine"]) == 2
    capsys.readouterr()
    assert main(command) == 0
    assert "7 of 30 pairs are judged already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("note", "mode"),
    [
        ('{"target": "direct"}', "direct"),
        ('{"target": "own", "mode": "direct"}', "direct"),
        ('{"target": "think"}', "think"),
    ],
)
def test_a_student_is_asked_as_it_was_trained(tiny: Path, data: Path, note: str, mode: str, tmp_path: Path) -> None:
    student = tmp_path / "student"
    shutil.copytree(tiny, student)
    (student / "distill.json").write_text(note)
    out = tmp_path / "out.trec"
    assert main(arguments("rerank", student, data, "--max-new-tokens", "8", "--out", str(out))) == 0
    assert {judgement.mode for judgement in judgements(tmp_path / "out.trec.judgements").values()} == {mode}
    assert Reranker(str(student)).mode == mode
