"""A GGUF file as the base of training: converted once, checked, and refused in one line where it cannot be read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf", reason='GGUF files need the extra "gguf"')

import gguf
import numpy as np

from distill.cli import main
from distill.errors import InputError
from distill.gguf_base import AWKWARD, converted, describe, read

ROOT = Path(__file__).resolve().parents[2]
TINY = str(ROOT / "configs" / "tiny.yaml")
WIDTH, HEADS, FFN, CONTEXT = 32, 2, 64, 2048


def vocabulary() -> tuple[list[str], list[str]]:
    """(tokens, merges): every byte, and " true" and " false" merged to one token each."""
    from tokenizers.pre_tokenizers import ByteLevel

    tokens, merges = sorted(ByteLevel.alphabet()), []
    for word in ("Ġtrue", "Ġfalse"):
        left = word[0]
        for letter in word[1:]:
            merge = f"{left} {letter}"
            left += letter
            if merge not in merges:
                merges.append(merge)
                tokens.append(left)
    return [*tokens, "<|endoftext|>"], merges


def write(path: Path, head: str = "none", architecture: str = "qwen2", split: str = "qwen2", seed: int = 0) -> Path:
    """A model of one layer. `head`: none (tied), `again` (the embedding a second time, rounded) or `own`."""
    tokens, merges = vocabulary()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny of the tests")
    writer.add_license("mit")
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType.NORMAL)] * (len(tokens) - 1) + [int(gguf.TokenType.CONTROL)])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(len(tokens) - 1)
    random = np.random.default_rng(seed)

    def weight(*shape: int) -> Any:
        return (random.standard_normal(shape) * 0.1).astype(np.float32)

    embedding = weight(len(tokens), WIDTH)
    writer.add_tensor("token_embd.weight", embedding)
    if head != "none":
        writer.add_tensor("output.weight", (np.round(embedding, 2) if head == "again" else weight(len(tokens), WIDTH)))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for name, shape in {
        "attn_norm.weight": (WIDTH,), "ffn_norm.weight": (WIDTH,),
        "attn_q.weight": (WIDTH, WIDTH), "attn_k.weight": (WIDTH, WIDTH), "attn_v.weight": (WIDTH, WIDTH),
        "attn_q.bias": (WIDTH,), "attn_k.bias": (WIDTH,), "attn_v.bias": (WIDTH,),
        "attn_output.weight": (WIDTH, WIDTH),
        "ffn_gate.weight": (FFN, WIDTH), "ffn_up.weight": (FFN, WIDTH), "ffn_down.weight": (WIDTH, FFN),
    }.items():  # fmt: skip
        writer.add_tensor(f"blk.0.{name}", weight(*shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_is_converted_once_and_says_what_it_is(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    said: list[str] = []
    file = write(tmp_path / "tiny.gguf")
    folder = converted(file, said.append)
    assert folder == tmp_path / "tiny-gguf" and len(said) == 1
    assert "Tiny of the tests, qwen2, 0 million parameters, quantised as ALL_F32, licence mit" in said[0]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    for text in AWKWARD:
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) in (text, "é")
    assert len(tokenizer.encode(" true")) == len(tokenizer.encode(" false")) == 1
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert sum(p.numel() for p in model.parameters()) == describe(read(file)).parameters
    stored = {tensor.name: tensor for tensor in read(file).tensors}["token_embd.weight"].data
    assert np.array_equal(model.get_input_embeddings().weight.detach().numpy(), stored)
    weights = (folder / "model.safetensors").stat().st_mtime_ns
    os.utime(file, (1, 1))
    assert converted(file, said.append) == folder and len(said) == 1, "only touched"
    assert (folder / "model.safetensors").stat().st_mtime_ns == weights
    write(file, seed=1)
    assert converted(file, said.append) == folder and len(said) == 2, "another content"
    (tmp_path / "tiny-gguf.json").unlink()
    converted(file, said.append)
    assert len(said) == 3, "a folder that does not say what it was made from may be half a folder"


@pytest.mark.parametrize(("head", "tied"), [("none", True), ("again", True), ("own", False)])
def test_embeddings_are_tied_where_the_file_holds_one_matrix_once_or_twice(
    tmp_path: Path, head: str, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM

    file = write(tmp_path / "tiny.gguf", head)
    model = AutoModelForCausalLM.from_pretrained(converted(file))
    assert model.config.tie_word_embeddings is tied
    first, last = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (first is last) is tied
    tensors = {tensor.name: tensor.data for tensor in read(file).tensors}
    kept = tensors.get("output.weight", tensors["token_embd.weight"])
    assert np.array_equal(last.detach().numpy(), kept), "of two the head's copy, which has more bits"
    assert sum(p.numel() for p in model.parameters()) == describe(read(file)).parameters


def damaged(kind: str, folder: Path) -> Path:
    file = folder / "bad.gguf"
    if kind == "phi3":
        return write(file, architecture="phi3")
    if kind == "split":
        return write(file, split="of-mars")
    if kind == "missing":
        return file
    whole = write(folder / "whole.gguf").read_bytes()
    file.write_bytes({"cut": whole[: len(whole) // 2], "header": whole[:40], "text": b"version https://git-lfs"}[kind])
    return file


REFUSED = [
    ("cut", "cannot be read as GGUF"), ("header", "cannot be read as GGUF"), ("text", "cannot be read as GGUF"),
    ("phi3", "architecture is phi3, and llama, qwen2, qwen3, gemma3 are read"),
    ("split", "splitting words as of-mars"), ("missing", "no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said"), REFUSED)
def test_what_cannot_be_read_is_one_line(kind: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as refused:
        converted(damaged(kind, tmp_path))
    assert "\n" not in str(refused.value) and "bad.gguf" in str(refused.value)
    assert not (tmp_path / "bad-gguf").exists()


def test_a_damaged_base_stops_the_run_before_anything_is_asked(tmp_path: Path, capsys: Any) -> None:
    file, out = damaged("cut", tmp_path), tmp_path / "run"
    assert main(["run", TINY, f"sft.base={file}", "--out", str(out)]) == 2
    printed = capsys.readouterr().err
    assert "cannot be read as GGUF" in printed and "Traceback" not in printed
    assert not (out / "traces").exists()


def test_a_dry_run_converts_nothing(tmp_path: Path, capsys: Any) -> None:
    file = write(tmp_path / "tiny.gguf")
    assert main(["run", TINY, f"sft.base={file}", "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "systems" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]


def test_a_path_is_relative_to_the_configuration_and_the_fingerprint_is_the_contents(tmp_path: Path) -> None:
    from distill.config import load
    from distill.pipeline import sft
    from distill.pipeline.config import RunConfig
    from distill.pipeline.run import Run
    from distill.pipeline.sources import base_of

    def hash_of(folder: Path) -> str:
        shutil.copy(TINY, folder / "own.yaml")
        config = load(RunConfig, folder / "own.yaml", ["sft.base=tiny.gguf"])
        run = Run(config, folder / "run", folder / "own.yaml")
        assert base_of(run) == str(folder / "tiny-gguf")
        return sft._files_hash(run, base_of(run))

    write(tmp_path / "tiny.gguf")
    first = hash_of(tmp_path)
    shutil.rmtree(tmp_path / "tiny-gguf")
    assert hash_of(tmp_path) == first, "converted again, it is the same base"
    write(tmp_path / "tiny.gguf", seed=1)
    assert hash_of(tmp_path) != first
    assert json.loads((tmp_path / "tiny-gguf.json").read_text())["licence"] == "mit"
