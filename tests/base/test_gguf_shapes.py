"""Every architecture of GGUF that is read: the converted model gives the logits that the file's model gives.

The files are written here, as llama.cpp has their tensors, from small models of transformers with random weights; the
slow test asks llama.cpp itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf", reason='GGUF files need the extra "gguf"')

import gguf
import numpy as np
import torch

from distill.errors import InputError
from distill.gguf_base import converted
from tests.base.test_gguf import vocabulary
from tests.llama_server import llama_server
from tests.rerank.vllm_server import post

ROW = 24  # ids that are asked about; longer than gemma3's window
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 512, "initializer_range": 0.2,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
THETA = {"rope_theta": 5e5}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": {"rope_type": "default", **THETA}},
    "llama, scaled as Llama 3": {"rope_parameters": {**LLAMA3, **THETA}},
    "llama, scaled linearly": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, **THETA}},
    "qwen2": {"rope_parameters": {"rope_type": "default", **THETA}},
    "qwen3": {"head_dim": 64, "rope_parameters": {"rope_type": "default", **THETA}},
    "gemma3": {"head_dim": 64, "query_pre_attn_scalar": 64, "num_hidden_layers": 7, "sliding_window": 8},
    "gemma3, scaled linearly": {
        "head_dim": 64, "query_pre_attn_scalar": 64, "num_hidden_layers": 7, "sliding_window": 8,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
}  # fmt: skip


def sentencepiece() -> tuple[list[str], list[int]]:
    """(tokens, their types) as gemma's files have them: control tokens, bytes, then pieces."""
    kinds = gguf.TokenType
    tokens = [("<pad>", kinds.CONTROL), ("<eos>", kinds.CONTROL), ("<bos>", kinds.CONTROL), ("<unk>", kinds.UNKNOWN)]
    tokens += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    pieces = ["▁", *"truefals"]
    pieces = [*dict.fromkeys(pieces), *(word[:end] for word in ("▁true", "▁false") for end in range(2, len(word) + 1))]
    tokens += [(piece, kinds.NORMAL) for piece in pieces]
    return [token for token, _ in tokens], [int(kind) for _, kind in tokens]


def model_of(kind: str) -> Any:
    """A model of transformers with random weights, norms too."""
    from transformers import AutoConfig, AutoModelForCausalLM

    name = kind.partition(",")[0]
    words = len(sentencepiece()[0] if name == "gemma3" else vocabulary()[0])
    config = AutoConfig.for_model(
        "gemma3_text" if name == "gemma3" else name, vocab_size=words, tie_word_embeddings=True, **SHAPE | KINDS[kind]
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for values in model.parameters():
            if values.ndim == 1:
                values.add_(torch.randn_like(values) * 0.2)
    return model


def write(path: Path, model: Any) -> Path:
    """The model as a GGUF file of 32 bits, with llama.cpp's names, order of rows and shifted norms."""
    config = model.config
    name = config.model_type.removesuffix("_text")
    writer = gguf.GGUFWriter(path, name)
    writer.add_name("Tiny of the tests")
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    if name == "llama":
        writer.add_rope_dimension_count(width)
    if name == "gemma3":
        writer.add_sliding_window(config.sliding_window)
        tokens, kinds = sentencepiece()
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(number) for number in range(len(tokens))])
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(1)
    else:
        tokens, merges = vocabulary()
        kinds = [int(gguf.TokenType.NORMAL)] * (len(tokens) - 1) + [int(gguf.TokenType.CONTROL)]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("llama-bpe" if name == "llama" else "qwen2")
        writer.add_token_merges(merges)
        writer.add_eos_token_id(len(tokens) - 1)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope, width))
    arch = next(arch for arch, known in gguf.MODEL_ARCH_NAMES.items() if known == name)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for own, tensor in model.state_dict().items():
        if own == "lm_head.weight":
            continue
        values = tensor.float()
        if name == "llama" and own.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in own else config.num_key_value_heads
            values = values.reshape(heads, 2, -1, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        if name == "gemma3" and "norm" in own:
            values = values + 1
        writer.add_tensor(names.get_name(own, try_suffixes=(".weight", ".bias")), values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama3_factors(rope: dict[str, Any], width: int) -> np.ndarray:
    """What each frequency is divided by, as llama.cpp's converter computes it."""
    wavelengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, width, 2) / width)
    smooth = (rope["original_max_position_embeddings"] / wavelengths - 1) / 3
    between = 1 / ((1 - smooth) / rope["factor"] + smooth)
    long, short = wavelengths > 8192, wavelengths < 8192 / 4
    return np.where(short, 1, np.where(long, rope["factor"], between)).astype(np.float32)


def log_probabilities(model: Any, row: list[int]) -> np.ndarray:
    """Of the token after the row."""
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([row])).logits[0, -1].float(), -1).numpy()


def row_of(model: Any) -> list[int]:
    return np.random.default_rng(1).integers(4, model.config.vocab_size - 1, ROW).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_the_converted_model_is_the_files(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = model_of(kind)
    folder = converted(write(tmp_path / "tiny.gguf", model))
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert again.num_parameters() == model.num_parameters()
    row = row_of(model)
    assert log_probabilities(again, row) == pytest.approx(log_probabilities(model, row), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_gives_the_same_probabilities(kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    row, words = row_of(model), model.config.vocab_size
    letter = (sentencepiece if kind.startswith("gemma3") else vocabulary)()[0].index("t")
    with llama_server(write(tmp_path / "tiny.gguf", model)) as url:
        body = {"prompt": row, "n_predict": 1, "temperature": 0, "n_probs": words, "cache_prompt": False}
        body["logit_bias"] = [[letter, 1000.0]]  # so that there is a text; the probabilities are those before
        listed = post(f"{url.removesuffix('/v1')}/completion", body)["completion_probabilities"][0]["top_logprobs"]
    theirs = {token["id"]: token["logprob"] for token in listed}
    own = log_probabilities(model, row)
    assert len(theirs) > words / 2
    assert [theirs[key] for key in theirs] == pytest.approx([own[key] for key in theirs], abs=0.05)


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear"])
def test_a_factor_alone_is_linear_as_in_llama_cpp(key: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(gguf.GGUFWriter, "add_rope_scaling_type", lambda *_: None)
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_rope_scaling_factor", lambda self, factor: self.add_float32(f"{self.arch}.{key}", factor)
    )
    file = write(tmp_path / "tiny.gguf", model_of("llama, scaled linearly"))
    rope = json.loads((converted(file) / "config.json").read_text())["rope_parameters"]
    assert (rope["rope_type"], rope["factor"]) == ("linear", 4.0)


@pytest.mark.parametrize(("dropped", "said"), [("attn_q_norm", "q_norm"), ("ffn_up", "up_proj")])
def test_a_file_without_a_tensor_is_refused(dropped: str, said: str, tmp_path: Path, monkeypatch: Any) -> None:
    model = model_of("qwen3")
    add = gguf.GGUFWriter.add_tensor
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_tensor",
        lambda self, name, *rest, **more: None if f"1.{dropped}" in name else add(self, name, *rest, **more),
    )  # fmt: skip
    with pytest.raises(InputError, match=rf"tiny.gguf: transformers cannot convert it .*{said}.* is not in it"):
        converted(write(tmp_path / "tiny.gguf", model))
    assert not (tmp_path / "tiny-gguf").exists()


def test_weights_that_the_architecture_has_no_place_for_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    end = gguf.GGUFWriter.write_header_to_file

    def with_bias(self: Any, *rest: Any) -> None:
        self.add_tensor("blk.0.attn_q.bias", np.ones(SHAPE["hidden_size"], np.float32))
        end(self, *rest)

    monkeypatch.setattr(gguf.GGUFWriter, "write_header_to_file", with_bias)
    with pytest.raises(InputError, match=r"it holds [\d,]+ weights and the model takes"):
        converted(write(tmp_path / "tiny.gguf", model_of("llama")))


def test_positions_that_are_scaled_in_another_way_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(gguf.GGUFWriter, "add_rope_freq_base", lambda self, base: scaled(self, base))

    def scaled(writer: Any, base: float) -> None:
        writer.add_float32(f"{writer.arch}.rope.freq_base", base)
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)

    with pytest.raises(InputError, match=r"rotary positions are scaled \(yarn\)"):
        converted(write(tmp_path / "tiny.gguf", model_of("qwen2")))
