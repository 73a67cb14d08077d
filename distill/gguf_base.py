"""A GGUF file as the base of training: read, checked, and converted once to a transformers folder next to it.

`sft.base: path/to/model.gguf` (`distill.pipeline.sources`) and `make real-base` use it. The weights are dequantised to
float32: they are as good as the quantisation has left them, which is why the line that names the file says which it is.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import ConfigError, InputError, first_line
from distill.prompts import FALSE, TRUE, word_ids
from distill.store import file_hash, read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader
    from numpy.typing import NDArray
    from transformers import PreTrainedModel
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

ENDING = ".gguf"
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")
VERSION = 2  # of the conversion: another one converts again
SAME = 0.97  # cosine from which embedding and head are one matrix that was quantised twice
# How words are split before the merges, by `tokenizer.ggml.pre`, as llama.cpp has it; transformers does not read it.
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2, _LLAMA3 = rf"{_LETTERS}\p{{N}}{_REST}", rf"{_LETTERS}\p{{N}}{{1,3}}{_REST}"
SPLITS = {"qwen2": _QWEN2, "llama-bpe": _LLAMA3, "deepseek-r1-qwen": _QWEN2, "llama3": _LLAMA3, "llama-v3": _LLAMA3}
# Rotary positions: the tensor of what each frequency is divided by, and the only such scaling that is read.
FREQUENCIES = "rope_freqs.weight"
LLAMA3 = {
    "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192
}  # fmt: skip
DIGITS = ("smollm",)  # each digit by itself, then as gpt-2
PLAIN = ("gpt-2", "gpt2")
# What tokenizers differ in: white space, digits, contractions, other scripts, emoji, control tokens as texts.
AWKWARD = (
    " true", " false", "true", "False.", "  two spaces", "tab\tand\nline", "\n\n\nlines", "trailing ", " ", "a  1",
    "a 12", "2026-11-29", "3.14159", "1,234,567", "x²+y₂", "don't can't WE'LL", "it’s", "naïve café", "ÅÄÖ åäö",
    "Straße", "МОСКВА", "ελληνικά", "עברית", "العربية ١٢٣", "日本語のテキスト", "中文测试，标点。", "한국어", "ไทย",
    "हिन्दी", "🦊🚀", "👩‍👩‍👧", "e\u0301", "C++ & C# <b>html</b>", "a_b-c.d/e\\f", "https://example.org/?q=1&r=2",
    '{"key": [1, null]}', "<think>\n</think> true", "« guillemets »", "…—–", "\u00a0nbsp\u200bzwsp", "ALLCAPSword",
    "ﬁ ligature",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufModel:
    """What a GGUF file says of itself: `parameters` counts a matrix that is there twice once."""

    name: str
    architecture: str
    parameters: int
    quantisation: str
    licence: str | None

    def text(self) -> str:
        """One line for the terminal."""
        licence = f"licence {self.licence}" if self.licence else "no licence named"
        return (
            f"{self.name}, {self.architecture}, {self.parameters / 1e6:,.0f} million parameters, "
            f"quantised as {self.quantisation}, {licence}"
        )


def is_gguf(base: str | Path) -> bool:
    """Whether a base is named as a GGUF file."""
    return str(base).endswith(ENDING)


def converted(file: Path, say: Callable[[str], None] = lambda text: None) -> Path:
    """The transformers folder of a GGUF file, next to it (`model.gguf` gives `model-gguf/`), made where there is none.

    Raises InputError, one line, for a file that is missing, damaged or of a kind that is not read, and for a
    conversion that does not encode as the file demands; ConfigError without the package gguf.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; sft.base names a GGUF file, a folder or a model of the hub")
    if made := conversion(file):
        return made
    folder, made_from, said, now = _made(file)
    reader = read(file)
    model = describe(reader)
    sha256 = file_hash(file)
    if {"version": VERSION, "sha256": sha256}.items() <= said.items():  # copied or touched
        write_json(made_from, {**said, **now})
        return folder
    if not os.access(file.parent, os.W_OK):
        raise InputError(
            f"{file.parent}: cannot be written, and the converted model goes there; copy {file.name} elsewhere"
        )
    say(f"  {file}: {model.text()}; converting to {folder}")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary) / folder.name
        convert(file, made, reader)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    write_json(made_from, {**now, "sha256": sha256, **asdict(model)})
    return folder


def conversion(file: Path) -> Path | None:
    """The folder of a GGUF file that is there and was converted; None of any other."""
    if not file.is_file():
        return None
    folder, _, said, now = _made(file)
    return folder if now.items() <= said.items() else None


def _made(file: Path) -> tuple[Path, Path, dict[str, Any], dict[str, Any]]:
    """(the folder of a file's conversion, what it was made from as JSON, that JSON, what it says of the file now)."""
    folder = file.with_name(f"{file.name.removesuffix(ENDING)}-gguf")
    stat = file.stat()
    made_from = folder.with_name(f"{folder.name}.json")  # written last
    said = (folder.is_dir() and read_json(made_from)) or {}
    return folder, made_from, said, {"version": VERSION, "bytes": stat.st_size, "modified": stat.st_mtime_ns}


def read(file: Path) -> GGUFReader:
    """The file's header and tensors, mapped. Raises InputError for a damaged file, ConfigError without the package."""
    try:
        import gguf
    except ModuleNotFoundError:
        raise ConfigError(f"{file}: needs the package gguf; pip install 'rerank-distill[gguf]'") from None
    try:
        reader = gguf.GGUFReader(file)
        for tensor in reader.tensors:
            _ = tensor.data.shape
    except Exception as error:  # of a cut or damaged file it raises whatever it stumbles over
        raise InputError(
            f"{file}: cannot be read as GGUF ({first_line(error) or type(error).__name__}); it is cut, damaged or no "
            "GGUF file: copy it again"
        ) from None
    return reader


def describe(reader: GGUFReader) -> GgufModel:
    """What the file is. Raises InputError for an architecture or a tokenizer that is not read here."""
    import gguf

    file = Path(str(reader.data.filename))
    architecture = str(_field(reader, "general.architecture") or "none")
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"{file}: its architecture is {architecture}, and {', '.join(ARCHITECTURES)} are read; take the model's "
            "original from a hub"
        )
    kind, split = _field(reader, "tokenizer.ggml.model"), _field(reader, "tokenizer.ggml.pre")
    if kind not in ("gpt2", "llama") or (kind == "gpt2" and split not in (*SPLITS, *DIGITS, *PLAIN)):
        raise InputError(
            f"{file}: its tokenizer ({kind}, splitting words as {split}) is none that is read here; take the model's "
            "original from a hub"
        )
    sizes = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors if tensor.name != FREQUENCIES}
    file_type = _field(reader, "general.file_type")
    return GgufModel(
        name=str(_field(reader, "general.name") or file.stem),
        architecture=architecture,
        parameters=sum(sizes.values()) - (sizes.get("output.weight", 0) if _is_tied(reader) else 0),
        quantisation=gguf.LlamaFileType(file_type).name.rpartition("MOSTLY_")[2]
        if file_type is not None
        else "unknown",
        licence=_field(reader, "general.license"),
    )


def convert(file: Path, folder: Path, reader: GGUFReader | None = None, words: Sequence[str] = (FALSE, TRUE)) -> None:
    """Write a transformers folder of the file, in float32, its tokenizer and tied embeddings as the file has them.

    Raises InputError where transformers does not load it, or the tokenizer does not encode as the file demands.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    reader = reader or read(file)
    logging.disable_progress_bar()
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        config: Any = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
        _mend_shape(file, config, reader)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, config=config, dtype="float32", output_loading_info=True
        )
    except InputError:
        raise
    except Exception as error:  # transformers' reader has no errors of its own
        raise InputError(f"{file}: transformers cannot convert it ({first_line(error)}); take the original") from None
    model, told = loaded
    _check_tensors(file, model, told["missing_keys"], reader)
    _mend_splitting(tokenizer, _field(reader, "tokenizer.ggml.pre"))
    check_tokenizer(file, tokenizer, reader, words)
    if _is_tied(reader):  # a GGUF may hold the matrix twice, the head's copy with more bits: that one is taken
        model.get_input_embeddings().weight = model.get_output_embeddings().weight
        model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = True
        model.tie_weights()
    _forget_quantisation(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _mend_shape(file: Path, config: Any, reader: GGUFReader) -> None:
    """What transformers leaves at its defaults: the width of a head, gemma3's scale of attention, and rotary positions
    that are scaled.

    Raises InputError for a scaling that is not read here.
    """
    named = f"{_field(reader, 'general.architecture')}."
    if width := _field(reader, f"{named}attention.key_length"):
        config.head_dim = width
    if named == "gemma3.":  # the published 27B alone has this many layers
        heads = config.num_attention_heads
        config.query_pre_attn_scalar = (
            config.hidden_size // heads if config.num_hidden_layers == 62 else config.head_dim
        )
    # As llama.cpp reads them: older files have another name for the factor, and a factor alone is a linear one.
    factor = _field(reader, f"{named}rope.scaling.factor") or _field(reader, f"{named}rope.scale_linear") or 1.0
    kind = str(_field(reader, f"{named}rope.scaling.type") or "linear")
    kind = "none" if kind == "linear" and factor == 1.0 else kind
    factors = next((tensor.data for tensor in reader.tensors if tensor.name == FREQUENCIES), None)
    read_here = kind == "none"
    if factors is not None:
        read_here = read_here and _is_llama3(config, factors)
    elif kind == "linear":
        read_here = True
        rope = config.rope_parameters
        rope.get("full_attention", rope).update({"rope_type": "linear", "factor": float(factor)})  # no window's layers
    if not read_here:
        raise InputError(
            f"{file}: its rotary positions are scaled ({kind if factors is None else FREQUENCIES}) in a way that is "
            "not read here; take the model's original from a hub"
        )


def _is_llama3(config: Any, factors: NDArray[np.float32]) -> bool:
    """Give the configuration Llama 3's scaling, of which a file has only what each frequency is divided by; whether
    these numbers are its own."""
    import numpy as np

    config.rope_parameters = {**config.rope_parameters, **LLAMA3, "factor": float(factors.max())}
    own = llama3_factors(config)
    return own.shape == factors.shape and bool(np.allclose(own, factors, rtol=1e-3))


def llama3_factors(config: Any) -> NDArray[np.float32]:
    """What Llama 3's scaling divides each frequency by, of shape (half a head's width,), by transformers."""
    import numpy as np
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    width = head_width(config)
    frequencies = config.rope_parameters["rope_theta"] ** -(np.arange(0, width, 2) / width)
    scaled = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy()
    return (frequencies / scaled).astype(np.float32)


def head_width(config: Any) -> int:
    """Of an attention head, as the configuration names it or as the width divides."""
    return int(vars(config).get("head_dim") or config.hidden_size // config.num_attention_heads)


def _check_tensors(file: Path, model: PreTrainedModel, missing: Iterable[str], reader: GGUFReader) -> None:
    """Raises InputError unless each of the model's weights came from the file, and each of the file's is in the model:
    transformers draws the first at random and leaves the second out."""
    tied = model.config.get_text_config().tie_word_embeddings
    drawn = sorted(key for key in missing if not (tied and key == "lm_head.weight"))
    held = sum(int(tensor.n_elements) for tensor in reader.tensors if tensor.name != FREQUENCIES)
    taken = sum(parameter.numel() for parameter in model.parameters())
    if drawn or held != taken:
        what = f"{drawn[0]} is not in it" if drawn else f"it holds {held:,} weights and the model takes {taken:,}"
        raise InputError(f"{file}: transformers cannot convert it ({what}); take the model's original from a hub")


def check_tokenizer(
    file: Path, tokenizer: TokenizersBackend, reader: GGUFReader, words: Sequence[str] = (FALSE, TRUE)
) -> None:
    """Raises InputError unless the tokenizer has the file's vocabulary and merges, gives back about 40 awkward texts
    unchanged, and has each of the verdicts' `words` as one token."""
    tokens = list(_field(reader, "tokenizer.ggml.tokens") or [])
    other = [number for number, token in enumerate(tokens) if tokenizer.convert_ids_to_tokens(number) != token]
    if other:
        raise InputError(f"{file}: token {other[0]} is {tokens[other[0]]!r} in the file and another one converted")
    merges = list(_field(reader, "tokenizer.ggml.merges") or [])
    kept = json.loads(tokenizer.backend_tokenizer.to_str())["model"].get("merges") or []
    if merges and [" ".join(merge) if isinstance(merge, list) else merge for merge in kept] != merges:
        raise InputError(f"{file}: its merges are not those of the converted tokenizer; take the model's original")
    for text in AWKWARD:
        ids = tokenizer.encode(text, add_special_tokens=False)
        if tokenizer.decode(ids, clean_up_tokenization_spaces=False) not in (text, _composed(text)):
            raise InputError(f"{file}: its tokenizer does not give {text!r} back; take the model's original from a hub")
    try:
        word_ids(tokenizer, words)
    except ValueError as error:
        raise InputError(f"{file}: {error}; choose another base") from None


def _composed(text: str) -> str:
    """The text as tokenizers have it that compose accents first (Qwen's)."""
    import unicodedata

    return unicodedata.normalize("NFC", text)


def _mend_splitting(tokenizer: TokenizersBackend, split: str | None) -> None:
    """Split words before the merges as the file names it, which transformers leaves as its default."""
    from tokenizers import Regex, pre_tokenizers

    own = tokenizer.backend_tokenizer
    if split in DIGITS:
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif split in SPLITS:
        words = pre_tokenizers.Split(Regex(SPLITS[split]), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        own.pre_tokenizer = pre_tokenizers.Sequence([words, byte_level])


def _is_tied(reader: GGUFReader) -> bool:
    """Whether embedding and head are one matrix: only one is there, or both are alike but for their quantisation."""
    import numpy as np
    from gguf import dequantize

    tensors = {tensor.name: tensor for tensor in reader.tensors}
    head, embedding = tensors.get("output.weight"), tensors.get("token_embd.weight")
    if head is None or embedding is None:
        return True
    if tuple(head.shape) != tuple(embedding.shape):
        return False
    a, b = (dequantize(t.data[:: max(1, len(t.data) // 512)], t.tensor_type).ravel() for t in (head, embedding))
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)) >= SAME


def _forget_quantisation(model: PreTrainedModel) -> None:
    """save_pretrained refuses a model that it takes for a quantised one; these weights are whole again."""
    vars(model.config).pop("quantization_config", None)
    for attribute in ("hf_quantizer", "quantization_method", "is_quantized"):
        vars(model).pop(attribute, None)


def _field(reader: GGUFReader, name: str) -> Any:
    """A field's value, None where the file does not have it."""
    field = reader.fields.get(name)
    return None if field is None else field.contents()
