"""What is found at the start: before a request is paid for, in one line, and by the dry run where it needs no data."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill import config
from distill.cli import main
from distill.errors import ConfigError, DiskFull
from distill.pipeline.dry_run import DryRun
from distill.pipeline.execute import configured
from sft.check import check_disk, check_memory, check_trackers, fitting
from sft.estimate.estimate import assumed_data, describe, estimates
from sft.estimate.shapes import Device, shape_of
from sft.settings import SftSettings

CONFIG: dict[str, Any] = {
    "name": "late",
    "pairs": {"source": "example", "example": {"queries": {"train": 3, "dev": 1, "test": 1}}},
    "teacher": {"source": "example"},
    "filters": ["finished"],
    "sft": {"base": "scratch", "scratch": {"vocab_size": 512, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2}},
}
Start = Callable[..., tuple[int, str]]


@pytest.fixture
def start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Start:
    """Starts the whole run with overrides; (exit status, what was printed to standard error)."""
    path = tmp_path / "late.yaml"
    path.write_text(yaml.safe_dump(CONFIG))

    def run(*words: str) -> tuple[int, str]:
        status = main(["run", str(path), "--out", str(tmp_path / "run"), *words])
        return status, capsys.readouterr().err

    return run


def refused(start: Start, message: str, *words: str) -> None:
    """The run ends before its first stage, with one line that holds the message."""
    status, printed = start(*words)
    said = [line for line in printed.splitlines() if line.startswith("distill: ")]
    assert status == 2 and len(said) == 1 and message in said[0], printed
    assert "pairs ..." not in printed


def beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "d", "title": "", "text": "a dog"}) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "dog"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    return folder


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("ndcg_cut_10", "is not a measure that ir_measures knows"),
        ("nDCG@0", "cutoff 0 cannot be"),
        ("AP(rel=0)", "rel 0 cannot be"),
        ("alpha_nDCG@10", "no package that is installed here computes it"),
        ("IPrec@2", "cannot be computed"),
    ],
)
def test_measures(start: Start, measure: str, message: str) -> None:
    refused(start, message, f"evaluation.measures=['{measure}']")
    status, printed = start(f"evaluation.measures=['{measure}']", "--dry-run")
    assert status == 2 and message in printed


def test_measures_that_can_be_computed_are_not_refused() -> None:
    from distill.statistics.measures import per_query

    names = ["ERR@10", "nDCG(judged_only=True)@10", "RR@10", "AP(rel=2)", "R@100", "Judged@10", "Bpref"]
    values = per_query({"no number": {"d": 1, "e": 0}}, {"no number": {"d": 1.0, "e": 2.0}}, names)
    assert set(values) == set(names) and values["ERR@10"]["no number"] > 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "nowhere"}, "corpus.jsonl: no such file"),
        ({"path": "set", "split": "dev"}, "no split 'dev'"),
        ({"path": "set", "first_stage": "gone.trec"}, "gone.trec: no such file"),
        ({"path": "set", "first_stage": "other.trec"}, "other.trec has none of the queries that are judged"),
        ({"path": "unknown_texts"}, "none of the queries that split 'test' judges has a text"),
    ],
)
def test_evaluation_sets(start: Start, tmp_path: Path, entry: dict[str, str], message: str) -> None:
    beir(tmp_path / "set")
    (beir(tmp_path / "unknown_texts") / "queries.jsonl").write_text(json.dumps({"_id": "x", "text": "dog"}) + "\n")
    (tmp_path / "other.trec").write_text("elsewhere Q0 d 1 1 x\n")
    refused(start, message, f"evaluation.sets=[{json.dumps({'name': 't', **entry})}]")


@pytest.mark.parametrize("base", ["/no/such", "./nowhere", "runs/one/students/think", "models/typo"])
def test_a_base_that_was_to_be_a_folder(
    start: Start, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is missing, and not a hub that cannot be reached; the dry run warns of it."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    refused(start, f"sft.base: {base}: no such folder", f"sft.base={base}")
    status, printed = start(f"sft.base={base}", "--dry-run")
    assert status == 0 and f"sft.base: {base}: no such folder" in printed


def test_imported_traces(start: Start, tmp_path: Path) -> None:
    place = tmp_path / "traces.jsonl"
    words = (f"teacher={{source: import, import: {{path: {place}}}}}",)
    refused(start, "traces.jsonl", *words)
    place.write_text("")
    refused(start, "traces.jsonl", *words)


def test_a_dry_run_of_imported_traces_speaks_of_no_asking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "traces.jsonl").write_text(json.dumps({"query": "q", "passage": "p", "answer": "true"}) + "\n")
    place = tmp_path / "import.yaml"
    place.write_text(yaml.safe_dump({**CONFIG, "teacher": {"source": "import", "import": {"path": "traces.jsonl"}}}))
    assert main(["run", str(place), "--out", str(tmp_path / "run"), "--dry-run", "--json"]) == 0
    teacher = json.loads(capsys.readouterr().out)["teacher"]
    assert len(teacher) == 1 and "traces.jsonl" in teacher[0]
    assert not any(word in teacher[0] for word in ("USD", "minutes", "ask", "sent"))


def test_a_dry_run_of_labels_keeps_all_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "labels.yaml"
    place.write_text(yaml.safe_dump({**CONFIG, "teacher": {"source": "labels"}}))
    main(["run", str(place), "--out", str(tmp_path / "run"), "--dry-run", "sft.targets=[direct]"])
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"rows: all of [\d,]+ pairs, whose labels are the answers", shown) and "75%" not in shown
    assert "nobody is asked: the pairs' labels are the answers" in shown


@pytest.mark.parametrize("target", ["direct", "encoder", "mixed"])
def test_a_dry_run_knows_its_rows_lengths_before_the_dataset_is_written(tmp_path: Path, target: str) -> None:
    rng = random.Random(0)
    rows = [
        {"query": f"q{i}", "passage": " ".join(f"word{rng.random()}" for _ in range(20 + i)), "label": i % 2}
        for i in range(40)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "traces.jsonl").write_text(
        "".join(json.dumps({**row, "reasoning": "why " * i, "answer": "true"}) + "\n" for i, row in enumerate(rows))
    )
    teacher = {"source": "import", "import": {"path": "traces.jsonl"}} if target == "mixed" else {"source": "labels"}
    values = {**CONFIG, "pairs": {"source": "table", "path": "pairs.jsonl"},
              "teacher": teacher, "sft": {"targets": [target]}}  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))
    lengths: list[list[Any]] = []
    prompts = []
    for stages in ((), ("pairs", "trace", "filter"), ("dataset",)):
        for stage in stages:
            assert main([stage, str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run")]) == 0
        run = configured(tmp_path / "own.yaml", (), tmp_path / "run")
        settings, data = DryRun(run).training
        lengths.append(sorted(data.rows[target], key=lambda row: (row.prompt, row.completion)))
        prompts.append([row.prompt for row in lengths[-1]])
        assert data.pairs == (30 if target == "mixed" and not stages else 40) and settings.targets[0].target == target
    assert lengths[1] == lengths[2] and prompts[0] == prompts[2]
    assert all(abs(a.whole - b.whole) <= 4 for a, b in zip(lengths[0], lengths[2], strict=True))


def test_a_dry_run_counts_the_imported_traces_that_are_of_a_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"query": f"q{i}", "passage": f"text {i}", "label": i % 2} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {**CONFIG, "pairs": {"source": "table", "path": "pairs.jsonl"},
              "teacher": {"source": "import", "import": {"path": "traces.jsonl"}}}  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))

    def dry(*traces: dict[str, Any]) -> int:
        (tmp_path / "traces.jsonl").write_text(
            "".join(json.dumps({**t, "reasoning": "so it is", "answer": "true"}) + "\n" for t in traces)
        )
        return main(["run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run"), "--dry-run", "--json"])

    assert dry(*rows[:8], {"query": "other", "passage": "text"}) == 0
    stages = {stage["stage"]: stage for stage in json.loads(capsys.readouterr().out)["stages"]}
    assert (
        stages["trace"]["work"] == stages["filter"]["work"] == "8 traces"
        and "traces.jsonl:9 matches no pair" in stages["trace"]["note"]
    )
    assert stages["sft think"]["work"].startswith("6 rows") and "75% of 8 traces" in stages["sft think"]["note"]
    assert dry({"query": "other", "passage": "text"}) == 2
    assert "none of its 1 row matches a pair" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_dry_run_says_what_the_time_of_asking_rests_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beir(tmp_path / "data")
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "r1", "price": {"input": 0, "output": 0}}
    values = {**CONFIG, "pairs": {"source": "beir", "path": "data", "split": "test"}}
    place = tmp_path / "local.yaml"
    place.write_text(yaml.safe_dump({**values, "teacher": {"source": "endpoints", "endpoints": [endpoint]}}))
    assert main(["run", str(place), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "40 tokens/s a stream; a server without a GPU takes several times as long" in shown


def test_a_dry_run_counts_the_systems_that_are_judged_and_at_most_the_tokens_that_they_may_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beir(tmp_path / "set")
    place = tmp_path / "own.yaml"
    place.write_text(yaml.safe_dump({**CONFIG, "sft": {"base": "scratch", "targets": ["direct", "think"]}}))
    sets = f"evaluation.sets=[{{name: t, path: {tmp_path / 'set'}, first_stage: bm25, depth: 500}}]"

    def planned(*words: str) -> dict[str, Any]:
        main(["run", str(place), "--out", str(tmp_path / "run"), "--dry-run", "--json", sets, *words])
        return next(s for s in json.loads(capsys.readouterr().out)["stages"] if s["stage"] == "evaluate")

    assert planned()["work"] == "500 pairs x 3 systems", "direct, think, and the untrained base"
    (tmp_path / "set" / "top_ranked.jsonl").write_text('{"query-id": "q", "corpus-ids": ["d", "e", "f"]}\n')
    assert planned()["work"] == "3 pairs x 3 systems", "a set's own lists are judged whole, and nothing else"
    (tmp_path / "set" / "top_ranked.jsonl").write_text(
        '{"query-id": "q", "corpus-ids": ["d"]}\n{"query-id": "of another split", "corpus-ids": ["d", "e", "f"]}\n'
    )
    assert planned()["work"] == "1 pair x 3 systems"
    assert planned("evaluation.systems=[think]")["work"].endswith("1 system")
    long, short = (planned(f"evaluation.max_new_tokens={most}")["seconds"] for most in (300, 10))
    assert long > short


def test_a_dry_run_of_the_examples_pairs_and_a_teacher_with_a_price_does_not_say_that_it_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "r1", "price": {"input": 1.0, "output": 2.0}}
    place = tmp_path / "priced.yaml"
    place.write_text(yaml.safe_dump({**CONFIG, "teacher": {"source": "endpoints", "endpoints": [endpoint]}}))
    main(["trace", str(place), "--out", str(tmp_path / "run"), "--dry-run"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "costs nothing" not in shown
    assert "no estimate before the example's pairs are made; `distill pairs` makes them" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sft.training.optim=nonsense", "nonsense is not a valid OptimizerNames"),
        ("sft.training.lr_scheduler_type=cosine_with_min_lr", "min_lr"),
        ("sft.training.report_to=mlflow", "mlflow"),
        ("sft.base=nowhere/model", "the configuration of 'nowhere/model' does not load"),
    ],
)
def test_training_values_and_a_base_that_is_not_there(start: Start, words: str, message: str) -> None:
    refused(start, message, words)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints with one tokenizer: one to train, and those that no student can be made of."""
    from safetensors.torch import load_file, save_file
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen2ForSequenceClassification,
    )

    from sft.scratch import train_tokenizer

    folder = tmp_path_factory.mktemp("bases")
    tokenizer = train_tokenizer(["a dog sleeps"] * 20, 300)
    shape = {"vocab_size": len(tokenizer), "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 64, "max_position_embeddings": 256}
    decoder = Qwen2Config(**shape, num_key_value_heads=2, tie_word_embeddings=False, pad_token_id=0)
    for name, model in {
        "decoder": Qwen2ForCausalLM(decoder),
        "headless": Qwen2ForCausalLM(decoder),
        "classifier": Qwen2ForSequenceClassification(decoder),
        "encoder": BertForSequenceClassification(BertConfig(**shape)),
    }.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    file = folder / "headless" / "model.safetensors"
    weights = load_file(file)
    del weights["lm_head.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encoder", "is a BertForSequenceClassification; it has no trained language head"),
        ("classifier", "is a Qwen2ForSequenceClassification; it has no trained language head"),
        ("headless", "the checkpoint has no lm_head.weight"),
        ("decoder", "sft.max_length: 300 tokens do not fit the context"),
    ],
)
def test_bases_that_no_student_can_be_made_of(start: Start, bases: Path, name: str, message: str) -> None:
    refused(start, message, f"sft.base={bases / name}", "sft.max_length=300")


def settings(**given: Any) -> SftSettings:
    return config.validate(SftSettings, {"base": "Qwen/Qwen2.5-1.5B", "targets": ["think", "direct"], **given}, "sft")


def test_students_that_train_at_a_time_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fits by itself; two at a time do not."""
    wanted = settings(parallel=2, max_length=512, training={"per_device_train_batch_size": 1})
    data = assumed_data(wanted, 100, "a test")
    shape = shape_of(wanted.base)
    assert shape is not None
    peaks = estimates(wanted, data, shape, Device("cpu", 1000, 1, 0, "a test"))
    largest = max(one.peak_gib for one in peaks)
    device = Device("cpu", largest * 1.5, 1, 0, "a test")
    for module in ("sft.check", "sft.estimate.estimate"):
        monkeypatch.setattr(f"{module}.device_of", lambda name: device)
    with pytest.raises(ConfigError, match="2 students train at a time and need .* set sft.parallel: 1"):
        check_memory(wanted, data)
    assert any("2 students train at a time" in line and "DOES NOT FIT" in line for line in describe(wanted, data))
    check_memory(settings(parallel=1, max_length=512, training={"per_device_train_batch_size": 1}), data)
    assert (fitting(peaks, largest * 1.5), fitting(peaks, largest * 2)) == (1, 2)


def test_a_disk_that_holds_no_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    def disk_of(size: int) -> None:
        usage = shutil._ntuple_diskusage(size, size // 2, size // 2)  # type: ignore[attr-defined]
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    disk_of(2**42)
    check_disk(settings(lora={}), tmp_path / "students")
    disk_of(2**30)
    with pytest.raises(DiskFull, match="students: students and checkpoints need about"):
        check_disk(settings(), tmp_path / "students")


def test_a_tracker_without_key_or_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens on the discard port
    wanted = settings(training={"report_to": "wandb"})
    with pytest.raises(ConfigError, match="wandb has no key; set WANDB_API_KEY, or WANDB_MODE=offline"):
        check_trackers(wanted)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    with pytest.raises(ConfigError, match="wandb cannot reach http://127.0.0.1:9"):
        check_trackers(wanted)
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_trackers(wanted)
