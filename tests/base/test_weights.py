"""Checkpoints that cannot judge are refused with one line, by every way in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen2Model,
)

from distill.errors import ConfigError, InputError
from distill.prompts import rank1_prompt
from distill.records import make_pair
from distill.rerank import Reranker
from distill.rerank.jobs import Student, job_of
from distill.rerank.scorer import Scorer
from distill.weights import check_files
from sft.scratch import ScratchSettings, new_model, train_tokenizer
from sft.settings import SftSettings
from sft.student import load_base

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 123456\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    texts = ["the red fox runs. it is quick! yes", "a lazy dog sleeps. is it old? no"]
    tokenizer = train_tokenizer([rank1_prompt(*texts), *texts], 400)
    new_model(
        tokenizer, ScratchSettings(vocab_size=400, layers=1, width=64, heads=2, kv_heads=2, ffn=64)
    ).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def shape(**more: object) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=400, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, **more,
    )  # fmt: skip


def pointer(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(POINTER, encoding="utf-8") and None


def torn(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def torn_header(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:20])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "model.safetensors").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base-7b", "peft_type": "LORA"}')


def adapter_without_base(folder: Path) -> None:
    adapter(folder)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def one_shard_lost(folder: Path) -> None:
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    sorted(folder.glob("model-*.safetensors"))[-1].unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_head(folder: Path) -> None:
    Qwen2Model(shape(tie_word_embeddings=False)).save_pretrained(folder)


def classifier(folder: Path) -> None:  # tied: no weight is missing, only the class says that the head is another
    Qwen2ForSequenceClassification(shape(tie_word_embeddings=True, num_labels=1)).save_pretrained(folder)


def a_weight_lost(folder: Path) -> None:
    model = Qwen2ForCausalLM(shape())
    state = {name: value for name, value in model.state_dict().items() if "mlp.up_proj" not in name}
    model.save_pretrained(folder, state_dict=state)


def encoder(folder: Path) -> None:
    config = BertConfig(
        vocab_size=400, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    BertForMaskedLM(config).save_pretrained(folder)


def nan(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3, 3] = float("nan")
    model.save_pretrained(folder)


def infinite(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.norm.weight[0] = float("inf")
    model.save_pretrained(folder)


def torn_tokenizer(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text[: len(text) // 2], encoding="utf-8")


FAULTS = {
    "weights are a pointer": (pointer("model.safetensors"), r"model.safetensors: is a Git LFS pointer.*git lfs pull"),
    "tokenizer is a pointer": (pointer("tokenizer.json"), r"tokenizer.json: is a Git LFS pointer.*git lfs pull"),
    "configuration is a pointer": (pointer("config.json"), r"config.json: is a Git LFS pointer.*git lfs pull"),
    "torn": (torn, r"model.safetensors: cannot be read as weights.*copy it again"),
    "torn in its header": (torn_header, r"model.safetensors: cannot be read as weights.*copy it again"),
    "empty": (empty, r"model.safetensors: cannot be read as weights.*copy it again"),
    "adapter": (adapter, r"adapter_config.json: this is an adapter of org/base-7b.*merge_and_unload"),
    "adapter without base": (adapter_without_base, r"adapter_config.json: this is an adapter of some base.*merge_and"),
    "a shard lost": (one_shard_lost, r"model-\d+-of-\d+.safetensors: is missing.*copy the model again"),
    "no weights": (no_weights, r"does not load as a causal language model"),
    "no head": (without_head, r"lm_head.weight, and would be random.*name a causal language model"),
    "classifier": (classifier, r"is a Qwen2ForSequenceClassification.*name a causal language model"),
    "a weight lost": (a_weight_lost, r"mlp.up_proj.weight, and would be random"),
    "encoder": (encoder, r"is a BertForMaskedLM|is an encoder"),
    "NaN": (nan, r"up_proj.weight; such a model scores nothing: merge or train it again"),
    "infinity": (infinite, r"model.norm.weight; such a model scores nothing: merge or train it again"),
    "tokenizer torn": (torn_tokenizer, r"not a student that loads|tokenizer of .* could not be loaded"),
}  # fmt: skip


def spoilt(whole: Path, folder: Path, fault: str) -> str:
    shutil.copytree(whole, folder)
    FAULTS[fault][0](folder)
    return str(folder)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_student_that_cannot_judge_is_refused(fault: str, whole: Path, tmp_path: Path) -> None:
    path = spoilt(whole, tmp_path / "student", fault)
    with pytest.raises(InputError, match=FAULTS[fault][1]) as refused:
        Reranker(path, mode="direct")
    assert path in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_base_that_cannot_answer_is_refused(fault: str, whole: Path, tmp_path: Path) -> None:
    path = spoilt(whole, tmp_path / "base", fault)
    with pytest.raises(ConfigError, match=FAULTS[fault][1]) as refused:
        load_base(path, SftSettings(base=path))
    assert str(refused.value).startswith("sft.base: ") and path in str(refused.value)
    assert "\n" not in str(refused.value)


def test_evaluation_looks_at_all_students_before_it_scores(whole: Path, tmp_path: Path) -> None:
    path = spoilt(whole, tmp_path / "student", "torn")
    pairs = [make_pair("q", "d", "fox", "the fox")]
    events: list[object] = []
    jobs = [job_of(name, Student(folder, "direct"), pairs) for name, folder in (("good", str(whole)), ("torn", path))]
    with Scorer(notify=events.append) as scorer, pytest.raises(InputError, match="cannot be read as weights"):
        next(scorer.score(jobs))
    assert events == []


def test_what_a_server_holds_needs_no_weights_here(whole: Path, tmp_path: Path) -> None:
    path = Path(spoilt(whole, tmp_path / "student", "weights are a pointer"))
    check_files(path, weights=False)
    with pytest.raises(InputError, match="Git LFS pointer"):
        check_files(path)


def test_a_pointer_that_nobody_reads_is_no_fault(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "student")
    (tmp_path / "student" / "pytorch_model.bin").write_text(POINTER)
    (tmp_path / "student" / "model.onnx").write_text(POINTER)
    Reranker(str(tmp_path / "student"), mode="direct").close()


def test_a_whole_model_with_an_embedding_for_a_head_loads(whole: Path, tmp_path: Path) -> None:
    """Tied embeddings are the head, whatever class saved them: an embedding model can be a base."""
    shutil.copytree(whole, tmp_path / "base")
    Qwen2Model(shape(tie_word_embeddings=True)).save_pretrained(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert config["architectures"] == ["Qwen2Model"]
    load_base(str(tmp_path / "base"), SftSettings(base=str(tmp_path / "base")))


def test_scores_that_are_no_numbers_are_an_error(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker = Reranker(str(whole), mode="direct")
    monkeypatch.setattr(reranker.backend, "_verdicts", lambda logits, rows: [[float("nan")] * 2 for _ in rows])
    with pytest.raises(InputError, match=r"query 0, passage 0 is no number \(nan\).*float32 or bfloat16"):
        reranker.predict([("fox", "the fox")])
