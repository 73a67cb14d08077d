"""Cross-encoders behind the one Reranker: the logit is the log-odds, read as sentence-transformers reads it."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distill.errors import InputError
from distill.prompts import query_text
from distill.records import make_pair
from distill.rerank import Reranker
from distill.rerank.backends import backend_name
from distill.rerank.backends.base import EngineSettings
from distill.rerank.backends.encoder import EncoderBackend
from distill.rerank.exports.base import student_of
from distill.rerank.jobs import Student, job_of
from distill.rerank.scorer import Scorer
from distill.rerank.student_format import is_encoder, usual_mode
from sft.encoder_base import make_scratch_encoder
from sft.scratch import ScratchSettings

SHAPE = ScratchSettings(vocab_size=320, layers=1, width=64, heads=2, kv_heads=2, ffn=64, max_positions=64)
POOLED = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
TEXTS = [
    "when does the ferry leave",
    "the ferry to Visby leaves at nine [SEP] or [CLS] ten",
    "bees find home by the sun",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an untrained encoder, as a student's."""
    folder = tmp_path_factory.mktemp("encoder")
    make_scratch_encoder(TEXTS, SHAPE, str(folder))
    (folder / "distill.json").write_text(json.dumps({"target": "encoder", "mode": "direct", "kind": "encoder"}))
    return str(folder)


def test_the_margin_is_the_logit_that_transformers_gives(encoder: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    pairs = [
        make_pair(str(number), str(place), TEXTS[0], text, instruction)
        for number, instruction in enumerate((None, "only in summer"))
        for place, text in enumerate([*TEXTS, "nine " * number + "ten"])
    ]
    tokenizer: Any = AutoTokenizer.from_pretrained(encoder, split_special_tokens=True)
    model = AutoModelForSequenceClassification.from_pretrained(encoder).eval()
    found = Reranker(encoder).predict(pairs)
    for pair, judgement in zip(pairs, found, strict=True):
        inputs = tokenizer(query_text(pair.query, pair.instruction), pair.passage, return_tensors="pt")
        assert inputs["input_ids"].flatten().tolist().count(tokenizer.sep_token_id) == 2  # a text's own is text
        with torch.inference_mode():
            logit = float(model(**inputs).logits)
        assert judgement.margin == pytest.approx(logit, abs=1e-5)
        assert judgement.score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)
        assert (judgement.verdict, judgement.mode, judgement.reasoning) == (int(logit > 0), "direct", "")


def test_rows_that_are_read_together_are_of_like_length_and_each_comes_once(encoder: str) -> None:
    pairs = [make_pair("q", str(number), TEXTS[0], "nine " * (number % 23)) for number in range(80)]
    backend = EncoderBackend.start(encoder, EngineSettings(batch=8, device="cpu"))
    reranker = Reranker(backend, "direct", calibration=None)
    together: list[list[int]] = []
    read = backend._read
    backend._read = lambda tasks: (together.append([len(task.ids) for task in tasks]), read(tasks))[1]  # type: ignore[method-assign,func-returns-value]
    margins = [row.margin for row in reranker.predict(pairs)]
    assert sum(map(len, together)) == 80 and max(map(len, together)) == 8
    padded = sum(max(lengths) * len(lengths) for lengths in together)
    assert padded < 1.15 * sum(map(sum, together))
    alone = [Reranker(encoder, dtype="float32").predict([pair])[0].margin for pair in pairs[:23]]
    assert margins[:23] == pytest.approx(alone, abs=1e-5)


def test_a_long_passage_is_cut_to_the_positions_and_split_on_demand(encoder: str) -> None:
    long = " ".join(TEXTS) * 4
    cut, split = (Reranker(encoder, long=how).predict([(TEXTS[0], long)])[0] for how in ("cut", "split"))  # type: ignore[arg-type]
    assert (cut.finish_reason, split.finish_reason) == ("cut", "split")
    assert split.margin >= cut.margin
    reranker = Reranker(encoder)
    assert reranker.context == SHAPE.max_positions
    words = [" ".join(["nine"] * count) for count in range(70)]
    rows = reranker.backend.form.encoded([(TEXTS[0], text, None) for text in words])
    whole = next(text for text, row in zip(words, rows, strict=True) if len(row) == SHAPE.max_positions)
    assert reranker.predict([(TEXTS[0], whole)])[0].finish_reason == "stop"  # every position is read
    with pytest.raises(InputError, match="the student reads 64"):
        Reranker(encoder, long="refuse").predict([(TEXTS[0], long)])


@pytest.mark.parametrize("mode", ["think", "budget", "adaptive", "verdict_first"])
def test_an_encoder_is_not_asked_to_reason(encoder: str, mode: Any) -> None:
    with pytest.raises(InputError, match=f"mode {mode}: an encoder reads query and passage and writes nothing"):
        Reranker(encoder, mode)
    with pytest.raises(InputError, match="cannot reason; use mode direct"):
        Reranker(encoder).explain(TEXTS[0], TEXTS[1])


def test_which_engine_reads_an_encoder(encoder: str, tmp_path: Path) -> None:
    assert usual_mode(encoder) == "direct"
    assert {backend_name(name, model=encoder) for name in ("auto", "transformers", "vllm", "encoder")} == {"encoder"}
    assert backend_name("auto", "http://127.0.0.1:1/v1", encoder) == "openai"
    named = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    for labels, known in ((1, True), (2, False)):  # of a cross-encoder from elsewhere, and a classifier
        (tmp_path / "config.json").write_text(json.dumps({**named, "id2label": dict.fromkeys(range(labels), "x")}))
        assert is_encoder(str(tmp_path)) is known
    with pytest.raises(InputError, match="no trained language head"):
        Reranker(str(tmp_path), "direct")


def test_the_scorer_journals_an_encoder_as_any_student(encoder: str) -> None:
    pairs = [make_pair("q", str(place), TEXTS[0], text) for place, text in enumerate(TEXTS)]
    with Scorer() as scorer:
        (judged,) = scorer.score([job_of("encoder", Student(encoder, "direct"), pairs)])
    assert [row.margin for row in judged.found] == [row.margin for row in Reranker(encoder).predict(pairs)]


def test_the_server_answers_by_an_encoder_and_has_no_reasons_to_give(encoder: str) -> None:
    pytest.importorskip("fastapi", reason='the server needs the extra "serve"')
    from distill.rerank.options import EngineOptions
    from distill.rerank.serve.cli import _loaded
    from tests.rerank.serving import Scripted, post, serving

    options = EngineOptions("auto", None, None, "cpu", None, "float32", None, None, 256, "stop", "cut", (), None)
    with serving(Scripted(), others=[_loaded("encoder", encoder, None, options)]) as server:
        asked = {"query": TEXTS[0], "documents": TEXTS[1:], "model": "encoder"}
        status, answer, _ = post(server.url + "/v1/rerank", asked)
        assert status == 200
        scores = {row["index"]: row["relevance_score"] for row in answer["results"]}
        own = Reranker(encoder, device="cpu", dtype="float32").predict([(TEXTS[0], text) for text in TEXTS[1:]])
        assert [scores[at] for at in range(2)] == pytest.approx([row.score for row in own], abs=1e-6)
        body = {"query": TEXTS[0], "document": TEXTS[1], "model": "encoder"}
        status, answer, _ = post(server.url + "/v1/explain", body)
        assert status == 422 and "writes nothing" in answer["message"]


@pytest.mark.slow
def test_exports_of_an_encoder_score_as_it_does(encoder: str, tmp_path: Path) -> None:
    from distill.rerank import exports
    from distill.rerank.exports.base import check_pairs, own_margins, student_of

    student = student_of(Path(encoder))
    pairs = check_pairs(student.form)
    own = own_margins(student, pairs)
    for name in ("cross-encoder", "onnx"):
        made = exports.load(name)
        made.check(student)
        (tmp_path / name).mkdir()
        made.write(student, tmp_path / name)
        assert made.margins(student, tmp_path / name, pairs) == pytest.approx(own, abs=made.tolerance)
    for name in ("seq-cls", "gguf"):
        with pytest.raises(InputError, match="is a cross-encoder, which this format does not hold"):
            exports.load(name).check(student)


@pytest.mark.parametrize(
    "files", [("distill.json", {"kind": "retriever"}), ("modules.json", POOLED)], ids=["student", "bi-encoder"]
)
def test_a_retriever_is_refused_where_pairs_are_scored_and_exported(tmp_path: Path, files: tuple[str, Any]) -> None:
    """Its weights may have a language model's head, which would answer."""
    name, content = files
    (tmp_path / name).write_text(json.dumps(content))
    for asked in (partial(backend_name, "auto", None), partial(backend_name, "transformers", None)):
        with pytest.raises(InputError, match="is a retriever, which finds passages"):
            asked(str(tmp_path))
    with pytest.raises(InputError, match="is a retriever, which finds passages"):
        student_of(tmp_path)
