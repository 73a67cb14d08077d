"""A small real model, end to end: trained, merged, loaded again, scored, served, exported; no hub is asked.

Needs `make real-base` (models/smollm2-135m). The traces are GPT-4's where the shared data lies next to the project, and
those of the example's teacher elsewhere.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import pytest

from distill import store
from distill.cli import main
from distill.example.teacher import Teacher, TeacherSettings
from distill.example.world import WorldSettings, build
from distill.prompts import teacher_prompt
from distill.records import Example, Pair, Trace, make_pair
from distill.written import split_written
from sft import training_job
from sft.estimate.shapes import shape_of
from sft.estimate.training_memory import TrainingPlan, memory_by_part
from sft.settings import SftSettings
from sft.train import train
from sft.training_job import TrainingJob
from tests.sft.kept import examples

ROOT = Path(__file__).resolve().parents[2]
GPT_4 = ROOT.parent / "shared/data/traces/diras_generalqa_gpt4_traces.jsonl"
STEPS, ROWS = 10, 20
TRAINING: dict[str, Any] = {
    "max_steps": STEPS, "per_device_train_batch_size": 2, "learning_rate": 3e-4, "logging_steps": 1, "packing": False,
    "save_strategy": "no", "warmup_steps": 0, "gradient_checkpointing": False,
}  # fmt: skip
LORA = {"r": 16, "alpha": 32}


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """The folder that `make real-base` makes."""
    folder = ROOT / "models" / "smollm2-135m"
    if not folder.is_dir():
        pytest.skip(f"needs the real base at {folder} (make real-base)")
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever asks for another host than this machine is noted, and refused."""
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def local_only(host: Any, *rest: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", "::1", None, b"127.0.0.1"):
            asked.append(str(host))
            raise socket.gaierror(f"{host}: no network in this test")
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return asked


Answered = Iterator[tuple[str, str, int, str, str]]  # query, passage, verdict, reasoning, answer


def gpt_4s(file: Path) -> Answered:
    """GPT-4's published answers of at most 160 words, with their passages."""
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        if len((row["passage"] + row["reasoning"]).split()) <= 160:
            yield row["query"], row["passage"], int(row["verdict"] == "yes"), *split_written(row["raw_output"])


def examples_teachers() -> Answered:
    """What the example's teacher answers about the pairs of its world."""
    split = build(WorldSettings(queries={"train": ROWS}))["train"]
    teacher = Teacher(TeacherSettings())
    for query_id, passages in split.qrels.items():
        for doc_id, label in passages.items():
            query, passage = split.queries[query_id][0], split.documents[doc_id][1]
            reply = teacher.reply(teacher_prompt(query, passage))
            yield query, passage, label, reply.reasoning, reply.verdict


def answered() -> tuple[dict[str, Pair], list[Trace]]:
    """Pairs with a trace each, as many relevant as not."""
    pairs: dict[str, Pair] = {}
    traces: list[Trace] = []
    counts = {0: 0, 1: 0}
    for query, passage, verdict, reasoning, answer in gpt_4s(GPT_4) if GPT_4.is_file() else examples_teachers():
        if counts[verdict] < ROWS // 2:
            counts[verdict] += 1
            number = str(len(pairs))
            pair = make_pair(number, number, query, passage, label=verdict, label_origin="judged")
            pairs[pair.pair_id] = pair
            traces.append(Trace(pair.pair_id, 0, "r", reasoning, answer, verdict, "stop", 1, 1, 0.0, 0.0, "{}"))
    assert counts == {0: ROWS // 2, 1: ROWS // 2}
    return pairs, sorted(traces, key=lambda trace: trace.pair_id)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_ten_steps_on_smollm2(lora: dict[str, int] | None, smollm2: Path, tmp_path: Path, offline: list[str]) -> None:
    pytest.importorskip("fastapi", reason='the server needs the extra "serve"')
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from distill.rerank.reranker import Reranker
    from tests.rerank.serving import post, serving

    pairs, traces = answered()
    rows = examples(pairs, traces, "think")
    run = tmp_path / "run"
    student, events = run / "students" / "think", tmp_path / "events.jsonl"
    student.mkdir(parents=True)
    store.write_rows(tmp_path / "rows", rows, Example)
    values = {"base": str(smollm2), "training": TRAINING, "max_length": 512, **({"lora": lora} if lora else {})}
    settings = SftSettings.model_validate(values)
    result = train(
        {
            "name": "think", "target": "think", "base": str(smollm2), "examples": str(tmp_path / "rows"),
            "dev": str(tmp_path / "dev"), "out": str(student), "seed": 0, "threads": 1, "events": str(events),
            "settings": settings.model_dump(mode="json"),
        }
    )  # fmt: skip
    assert result["steps"] == STEPS and result["rejected"] == 0
    losses = [line["loss"] for line in map(json.loads, events.read_text().splitlines()) if "loss" in line]
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0], losses

    model, tokenizer = AutoModelForCausalLM.from_pretrained(student), AutoTokenizer.from_pretrained(student)
    assert model.config.tie_word_embeddings and not list(student.glob("adapter*")), "merged, and tied as the base is"
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert len(tokenizer.encode("<think>")) == len(tokenizer.encode("</think>")) == 1
    assert len(tokenizer) == len(AutoTokenizer.from_pretrained(smollm2)) + 2
    del model

    asked = [pairs[trace.pair_id] for trace in traces[:3]]
    # float32: in bfloat16 a greedy reasoning may go another way in another batch (docs/reranking.md)
    scored = Reranker(str(student), mode="think", max_new_tokens=24, device="cpu", dtype="float32")
    with closing(scored) as reranker:
        judged = reranker.predict(asked)
        assert [j.doc_id for j in judged] == [pair.doc_id for pair in asked]
        assert all(0 <= j.score <= 1 and math.isfinite(j.margin) and j.tokens > 0 for j in judged), judged
        body = {"query": asked[0].query, "documents": [asked[0].passage], "return_reasoning": True}
        with serving(reranker.stream()) as server:
            status, answer, _ = post(server.url + "/v1/rerank", body)
    assert status == 200
    (served,) = answer["results"]
    assert served["relevance_score"] == pytest.approx(judged[0].score, abs=1e-3)
    assert served["reasoning"] == judged[0].reasoning

    (run / "config.yaml").write_text(json.dumps({"name": "smollm2", "sft": {"base": str(smollm2)}}))
    store.write_manifest(student, "student", {}, {}, result)
    store.write_json(run / "metrics.json", {"stages": {}, "evaluation": {}})
    assert main(["export", str(run), "--model", "--out", str(tmp_path / "exported")]) == 0
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    assert exported.num_parameters() == result["parameters"]
    assert offline == [], "no hub was asked"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lora", "tags"), [(None, "text"), (LORA, "text"), (LORA, "added")], ids=["full", "lora", "lora, tags added"]
)
def test_a_cpu_training_takes_the_memory_of_its_estimate(
    lora: dict[str, int] | None, tags: str, smollm2: Path, tmp_path: Path
) -> None:
    """Of rows of different lengths: the heap keeps gaps between what is saved of them."""
    lengths = [40, 120, 70, 200, 90, 180]
    pairs = [make_pair(str(n), "d", f"question {n}", "word " * lengths[n % 6], label=n % 2) for n in range(48)]
    traces = [Trace(pair.pair_id, 0, "r", "", "true", 1, "stop", 1, 1, 0.0, 0.0, "{}") for pair in pairs]
    rows = examples({pair.pair_id: pair for pair in pairs}, traces, "direct")
    store.write_rows(tmp_path / "rows", rows, Example)
    added = tags == "added"  # checkpointing as well, else what the embedding takes is little next to the activations
    training = {**TRAINING, "per_device_train_batch_size": 8, "max_steps": 6, "bf16": False,
                "gradient_checkpointing": added}  # fmt: skip
    values = {"base": str(smollm2), "training": training, "think_tokens": tags, **({"lora": lora} if lora else {})}
    settings = SftSettings.model_validate(values)
    job: TrainingJob = {
        "name": "direct", "target": "direct", "base": str(smollm2), "examples": str(tmp_path / "rows"),
        "dev": "", "out": str(tmp_path / "out"), "seed": 0, "threads": 1, "settings": settings.model_dump(mode="json"),
    }  # fmt: skip
    (tmp_path / "out").mkdir()
    with get_context("spawn").Pool(1) as process:
        took = process.apply(training_job.train, (job,))["peak_gib"]
    shape = shape_of(str(smollm2))
    assert shape is not None
    whole = 200 + 60  # tokens of the longest row, the prompt's own ones included
    kind: Literal["lora", "full"] = "lora" if lora else "full"
    plan = TrainingPlan(shape, kind, 16, added, False, 8 * whole, whole, 0.01, added, False, gpu=False)
    assert sum(memory_by_part(plan).values()) == pytest.approx(took, rel=0.25)
