"""A GGUF file for llama.cpp, in 16 or 8 bits, written by the package gguf and read back by transformers.

Not covered: llama.cpp's own `/v1/rerank`, which is for models with a pooling head; such a student gives 1e-20 there for
every passage. It is asked for the words' probabilities instead, by the openai backend. Nor how llama.cpp encodes text
by itself, without composing accents as Qwen's tokenizer does: `distill` sends token ids.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distill.errors import ConfigError, InputError
from distill.gguf_base import DIGITS, FREQUENCIES, SPLITS, convert, head_width, llama3_factors
from distill.prompts import PROMPTS
from distill.records import Pair
from distill.rerank.exports.base import ExportedStudent, Format, own_margins
from distill.rerank.student_format import form_of
from distill.weights import load_causal_lm

if TYPE_CHECKING:
    import numpy as np
    import torch
    from gguf import GGUFWriter

ARCHITECTURES = ("llama", "qwen2", "qwen3")
BLOCK = 32  # values that share a scale in 8 bits


class Gguf(Format):
    """One file, `model-f16.gguf` or `model-q8_0.gguf`; vectors stay in 32 bits."""

    read_by = "transformers"
    library = "gguf"
    thinking = graded = True

    def __init__(self, bits: Literal["F16", "Q8_0"]) -> None:
        self.bits = bits
        self.tolerance = {"F16": 1e-2, "Q8_0": 0.5}[bits]  # measured: docs/benchmarks/exports.md

    def write(self, student: ExportedStudent, out: Path) -> None:
        """Weights, vocabulary and settings.

        Raises ConfigError without the package gguf, InputError for an architecture, rotary scaling or tokenizer that is
        not written.
        """
        try:
            from gguf import GGUFWriter, LlamaFileType
        except ModuleNotFoundError:
            raise ConfigError("--to gguf needs the package gguf; pip install 'rerank-distill[gguf]'") from None
        model: Any = load_causal_lm(str(student.folder), dtype="float32")
        kind = model.config.model_type
        if kind not in ARCHITECTURES:
            raise InputError(
                f"{student.folder}: its architecture is {kind}, and {', '.join(ARCHITECTURES)} are written; use "
                "llama.cpp's convert_hf_to_gguf.py on the student's folder"
            )
        writer = GGUFWriter(out / self.file, kind)
        writer.add_name(student.folder.resolve().name)
        writer.add_file_type(int(LlamaFileType[f"MOSTLY_{self.bits}"]))
        _add_settings(writer, student, model.config)
        tokens = _add_vocabulary(writer, student, model.config.vocab_size)
        for name, values in _tensors(model, tokens):
            data, stored = self._packed(values)
            writer.add_tensor(name, data, raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    @property
    def file(self) -> str:
        """The file's name."""
        return f"model-{self.bits.lower()}.gguf"

    def _packed(self, values: np.ndarray) -> tuple[np.ndarray, Any]:
        from gguf import GGMLQuantizationType, quants

        kind = GGMLQuantizationType[self.bits if values.ndim > 1 else "F32"]
        if kind is GGMLQuantizationType.Q8_0 and values.shape[-1] % BLOCK:
            kind = GGMLQuantizationType.F16
        return quants.quantize(values, kind), kind

    def margins(self, student: ExportedStudent, out: Path, pairs: Sequence[Pair]) -> list[float]:
        """By transformers' reader of GGUF, its weights in 32 bits again; the token ids are those of the student's own
        tokenizer, as `distill` sends them."""
        with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
            folder = Path(temporary)
            convert(out / self.file, folder, words=PROMPTS[student.form.prompt].verdicts)
            student.form.tokenizer.save_pretrained(folder)
            copy = replace(student, folder=folder, form=form_of(str(folder), prompt=student.form.prompt))
            return own_margins(copy, pairs)

    def serve(self, student: ExportedStudent, folder: Path | str) -> str:
        """The command."""
        return f"llama-server -m {folder}/{self.file} -c {student.form.context} --port 8080"

    def use(self, student: ExportedStudent) -> str:
        """How to serve it."""
        mode = "think" if student.target == "think" else "direct"
        return f"""\
With [llama.cpp](https://github.com/ggml-org/llama.cpp):

```bash
{self.serve(student, "THIS_FOLDER")}
distill rerank --model STUDENT_FOLDER --mode {mode} --backend openai --base-url http://127.0.0.1:8080/v1 ...
```

`distill` sends the prompt as token ids to `/v1/completions` and reads the words' log-probabilities; the student's
folder gives it the tokenizer. Do not use llama.cpp's own `/v1/rerank`: it is for models with a pooling head, and gives
such a student a score near 1e-20 for every passage."""


def _add_settings(writer: GGUFWriter, student: ExportedStudent, config: Any) -> None:
    """The shape of the model. Raises InputError for rotary scaling that is neither linear nor Llama 3's."""
    from gguf import RopeScalingType

    rope = config.rope_parameters or {}
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif kind == "llama3":
        writer.add_tensor(FREQUENCIES, llama3_factors(config))
    elif kind != "default":
        raise InputError(
            f"{student.folder}: its rotary embedding is scaled ({kind}), which is not written; use "
            "llama.cpp's convert_hf_to_gguf.py on the student's folder"
        )
    width = head_width(config)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_vocabulary(writer: GGUFWriter, student: ExportedStudent, rows: int) -> int:
    """Tokens, merges, which end a text; returns how many tokens there are, at most the embedding's rows.

    Raises InputError for a tokenizer that is no byte-level BPE, or splits words as llama.cpp has no name for.
    """
    from gguf import TokenType

    tokenizer = student.form.tokenizer
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    count = min(len(tokenizer), rows)
    added = {token["id"]: token for token in content["added_tokens"]}
    tokens = [tokenizer.convert_ids_to_tokens(number) for number in range(count)]
    kinds = [
        TokenType.NORMAL
        if number not in added
        else TokenType.CONTROL
        if added[number]["special"]
        else TokenType.USER_DEFINED
        for number in range(count)
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting(student, content))
    writer.add_vocab_size(count)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = content["model"]["merges"]
    writer.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge for merge in merges])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None:
            add(number)
    return count


def _splitting(student: ExportedStudent, content: dict[str, Any]) -> str:
    """llama.cpp's name for how the tokenizer splits words before its merges."""
    steps = content["pre_tokenizer"] or {}
    parts = steps.get("pretokenizers", [steps])
    kinds = [part.get("type") for part in parts]
    if content["model"]["type"] == "BPE" and kinds and kinds[-1] == "ByteLevel":
        patterns = [part["pattern"].get("Regex") for part in parts if part["type"] == "Split"]
        for name, pattern in SPLITS.items():
            if patterns == [pattern] and len(parts) == 2:
                return name
        if kinds == ["Digits", "ByteLevel"]:
            return DIGITS[0]
        if kinds == ["ByteLevel"]:
            return "gpt-2"
    raise InputError(
        f"{student.folder}: llama.cpp has no name for how its tokenizer splits words; use llama.cpp's "
        "convert_hf_to_gguf.py on the student's folder"
    )


def _tensors(model: Any, tokens: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, values) as llama.cpp has them; rows of no token are left out, a tied head is there once."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    config = model.config
    arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == config.model_type)
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    values: torch.Tensor
    for own, values in model.state_dict().items():
        if own == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = names.get_name(own, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise InputError(f"{config.model_type}: llama.cpp has no tensor for {own}")
        if own in ("lm_head.weight", "model.embed_tokens.weight"):
            values = values[:tokens]
        if config.model_type == "llama" and own.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in own else config.num_key_value_heads
            values = values.reshape(heads, 2, -1, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        yield name, values.float().contiguous().numpy()
