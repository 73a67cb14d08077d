"""A model's folder checked and its weights loaded: for the base of training (sft) and for students (rerank).

A checkpoint that cannot judge (Git LFS pointers, cut files, an adapter, a missing language head, weights that are NaN)
would else give scores that look like any others.
"""

from __future__ import annotations

import json
import pickle
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import InputError, first_line

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
ADAPTER = "adapter_config.json"
INDEX = "model.safetensors.index.json"
LAYER_FLOP = 2 * 512 * 384 * 1536  # of the layer that is timed
WIDE = 256  # hidden size from which a CPU gains by bfloat16 and by threads; the embedded example's students have 128
READ = ("*.json", "*.txt", "*.model", "*.jinja")  # what a tokenizer and a configuration are read from
ANOTHER_HEAD = "it has no trained language head, so it cannot answer true or false; name a causal language model"


def check_files(path: str | Path, weights: bool = True) -> None:
    """Look at a model's folder without loading it; a hub name is not looked at.

    Without `weights` only what tokenizer and configuration are read from, as for a model that a server holds.
    Raises InputError, one line that names the file and the remedy.
    """
    folder = Path(path)
    if not folder.is_dir():
        return
    tensors = sorted(folder.glob("model*.safetensors")) if weights else []
    files = [file for pattern in READ for file in sorted(folder.glob(pattern))] + tensors
    if weights and not tensors:
        files += sorted(folder.glob("pytorch_model*.bin"))
    for file in files:
        with open(file, "rb") as opened:
            if opened.read(len(LFS_POINTER)) == LFS_POINTER:
                raise InputError(
                    f"{file}: is a Git LFS pointer, not the file itself; run `git lfs pull` in {folder}, "
                    "or download the model again"
                )
    if (folder / ADAPTER).is_file():
        raise InputError(f"{folder / ADAPTER}: {_adapter_remedy(folder / ADAPTER)}")
    for name in _shards(folder) if weights else ():
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing, though {INDEX} names it; copy the model again, whole")
    for file in tensors:
        _check_safetensors(file)


def _adapter_remedy(file: Path) -> str:
    try:
        base = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        base = None
    return (
        f"this is an adapter of {base or 'some base model'}, not a whole model; load it with peft, call "
        "merge_and_unload(), save_pretrained() into a folder of its own with the tokenizer, and name that folder"
    )


def _shards(folder: Path) -> list[str]:
    """The files that the index of the weights names."""
    if not (folder / INDEX).is_file():
        return []
    try:
        names = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({str(name) for name in names})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{folder / INDEX}: not an index of weights; copy the model again, whole") from None


def _check_safetensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np"):  # reads the header, and compares the size of the file with it
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{file}: cannot be read as weights ({first_line(error)}); the file is cut or damaged: copy it again"
        ) from None


def load_causal_lm(path: str, revision: str | None = None, **arguments: Any) -> PreTrainedModel:
    """The causal language model of a folder or hub name, whole and finite; `arguments` go to `from_pretrained`.

    Raises InputError where it does not load, where weights are missing (transformers would draw them at random),
    where it is an encoder or has another head, and where a weight is NaN or infinite.
    """
    from transformers import AutoModelForCausalLM

    model, missing = _loaded(AutoModelForCausalLM, "a causal language model", path, revision=revision, **arguments)
    check_head(path, model.config)
    _check_whole(path, missing, ANOTHER_HEAD)
    if "peft_config" in vars(model):
        raise InputError(f"{path}: is an adapter, not a whole model; merge it into its base and name the merged folder")
    check_finite(path, model)
    return model


def load_encoder(path: str, **arguments: Any) -> PreTrainedModel:
    """The cross-encoder of a folder or hub name, whole and finite; `arguments` go to `from_pretrained`.

    Raises InputError where it does not load, has not one score, lacks weights, or a weight is NaN or infinite.
    """
    from transformers import AutoModelForSequenceClassification

    model, missing = _loaded(AutoModelForSequenceClassification, "a cross-encoder", path, **arguments)
    _check_whole(path, missing, "name a trained cross-encoder, such as a student of target encoder")
    if model.config.num_labels != 1:
        raise InputError(f"{path}: gives {model.config.num_labels} scores a pair; name a cross-encoder that gives one")
    check_finite(path, model)
    return model


def _loaded(
    auto: Any, kind: str, path: str, revision: str | None = None, **arguments: Any
) -> tuple[PreTrainedModel, list[str]]:
    """(the model, names of the weights that are not in its checkpoint). Raises InputError where it does not load."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    check_files(path)
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # its report on missing weights is many lines; what matters is said by the caller
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            loaded: Any = auto.from_pretrained(path, revision=revision or "main", output_loading_info=True, **arguments)
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        if _out_of_memory(error):
            raise
        raise InputError(f"{path}: does not load as {kind} ({first_line(error)})") from None
    finally:
        logging.set_verbosity(level)
    model: PreTrainedModel = loaded[0]
    return model, sorted(loaded[1]["missing_keys"])


def _check_whole(path: str, missing: list[str], remedy: str) -> None:
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of the model's weights are not in the checkpoint, such as {missing[0]}, and would "
            f"be random; {remedy}"
        )


def bf16_pays(config: PretrainedConfig) -> bool:
    """Whether a model computes faster in bfloat16 than in float32 on this machine's CPU: it is wide enough, the CPU has
    AVX512-BF16 or AMX, or the like on ARM (others emulate it), and a layer is faster in it when both are timed."""
    return is_wide(config) and _fast_bf16()


def is_wide(config: PretrainedConfig) -> bool:
    """Whether a model's layers are wide enough to keep a CPU's units busy."""
    return int(config.get_text_config().hidden_size) >= WIDE


@cache
def _fast_bf16() -> bool:
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.12
        return False
    if not any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
        return False
    # Measured, since AVX512-BF16 without AMX can be slower than float32: .6 of its speed on a virtual Xeon, where one
    # with AMX has five times it.
    return layer_seconds(torch.bfloat16) < layer_seconds(torch.float32)


def layer_seconds(dtype: torch.dtype) -> float:
    """Seconds of a layer of MiniLM's shape over 512 tokens (LAYER_FLOP) on one thread: the least of five, without
    random numbers."""
    import torch

    weight, tokens = torch.ones(1536, 384, dtype=dtype), torch.ones(512, 384, dtype=dtype)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return min(_timed(lambda: torch.nn.functional.linear(tokens, weight)) for _ in range(5))
    finally:
        torch.set_num_threads(threads)


def _timed(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def check_head(path: str, config: PretrainedConfig) -> None:
    """Raises InputError where the configuration says that the checkpoint is an encoder or has another kind of head."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    causal: set[str] = set()
    for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        causal |= {names} if isinstance(names, str) else set(names)
    named = list(config.architectures or ())
    bare = all(name.endswith("Model") for name in named)  # no head of its own: its weights say whether one is there
    own_code = "AutoModelForCausalLM" in (config.to_dict().get("auto_map") or {})
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.to_dict().get("is_decoder")
    if named and not bare and not own_code and not causal.intersection(named):
        raise InputError(f"{path}: is a {named[0]}; {ANOTHER_HEAD}")
    if encoder:
        raise InputError(
            f"{path}: is an encoder ({config.model_type}), which reads to both sides and writes nothing; "
            "name a causal language model, or make it the base of a student of target encoder or retriever"
        )


def check_finite(path: str, model: PreTrainedModel) -> None:
    """Raises InputError where a weight is NaN or infinite, and says which."""
    import torch

    bad = []
    for name, value in model.named_parameters():
        if value.is_floating_point() and value.element_size() > 1 and value.numel():
            low, high = torch.aminmax(value.detach())
            if not (torch.isfinite(low) and torch.isfinite(high)):
                bad.append(name)
    if bad:
        raise InputError(
            f"{path}: {len(bad)} of its weights hold NaN or infinity, the first is {bad[0]}; such a model scores "
            "nothing: merge or train it again in float32 or bfloat16"
        )


def _out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)
