"""What would end a training, looked for before the teacher is asked. `distill.pipeline.check` calls it.

Nothing here loads weights. Raises ConfigError (a value, a package, a key), InputError (the base), DiskFull.
"""

from __future__ import annotations

import importlib.util
import netrc
import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distill.disk import existing
from distill.errors import ConfigError, DiskFull, InputError, first_line
from sft.estimate.estimate import TrainingData, TrainingEstimate, estimates, side_by_side, together
from sft.estimate.shapes import Shape, device_of, shape_of
from sft.estimate.training_memory import GIB
from sft.settings import SftSettings
from sft.targets import pair_target

WANDB = "https://api.wandb.ai"
REACHED_S = 5.0  # how long a tracker's server may take to accept a connection
CHECKPOINTS = 3  # kept at a time while one is written: sft.train keeps two


def check_training(settings: SftSettings, seed: int, out: Path) -> None:
    """Make TRL's configuration, optimizer and schedule as the trainer will, of a model of one weight."""
    import torch
    from transformers import Trainer, get_scheduler
    from transformers.integrations import get_reporting_integration_callbacks

    from sft.train import training_arguments

    try:
        arguments = training_arguments(settings, out / "check", settings.targets[0].name, seed)
        module: Any = torch.nn.Linear(1, 1)
        if settings.optimizer == "trl":
            kind, values = Trainer.get_optimizer_cls_and_kwargs(arguments, module)
            optimizer = kind(module.parameters(), **{k: v for k, v in values.items() if k != "optimizer_dict"})
        else:
            optimizer = torch.optim.SGD(module.parameters(), 0.1)
        schedule: Any = arguments.lr_scheduler_kwargs or {}
        get_scheduler(arguments.lr_scheduler_type, optimizer, 1, 10, scheduler_specific_kwargs=dict(schedule))
        get_reporting_integration_callbacks(arguments.report_to)  # raises ValueError for a name that is none
        if arguments.use_liger_kernel and importlib.util.find_spec("liger_kernel") is None:
            raise ImportError(
                "use_liger_kernel needs the package liger-kernel; pip install liger-kernel, or leave it out"
            )
    except (ValueError, TypeError, ImportError, RuntimeError, KeyError, AssertionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"sft.training: TRL refuses these values: {first_line(error)}") from None


def check_encoders(settings: SftSettings, folder: Path, download: bool = True) -> None:
    """Raises ConfigError or InputError where a student that writes nothing cannot be trained: a package that is not
    installed, a value that its trainer refuses, a base that is no encoder. `folder` is what a base's path is relative
    to; without `download` a hub name that is not in the cache is passed over.
    """
    students = [student for student in settings.targets if pair_target(student.target) is not None]
    if not students:
        return
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ConfigError(
            f"sft.targets: {students[0].name} is trained by sentence-transformers; pip install 'rerank-distill[dense]'"
        )
    from transformers import TrainingArguments

    names = {field.name for field in fields(TrainingArguments)}
    for student in students:
        if unknown := sorted((student.training or {}).keys() - names):
            raise ConfigError(
                f"sft.targets: {student.name}: training.{unknown[0]} is a name of TRL's alone; leave it out"
            )
        if student.base not in (None, "scratch"):
            _check_encoder_base(str(student.base), student.name, folder, download, student.target == "encoder")


def _check_encoder_base(base: str, name: str, folder: Path, download: bool, encoder: bool) -> None:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    from distill.weights import check_files

    local = (folder / base).is_dir()
    path = str(folder / base) if local else base
    key = f"sft.targets: base of {name}"
    if not local:
        _refuse_folder(key, base)
    check_files(path)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=not (download or local))
    except (OSError, ValueError, KeyError) as error:
        if not local:
            _refuse_folder(key, base, has_parent=True)
        if not (download or local):
            return
        raise InputError(f"{key}: the configuration of {base!r} does not load ({first_line(error)})") from None
    if encoder and config.model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise InputError(f"{key}: {base} is a {config.model_type}, of which transformers makes no cross-encoder")


def _refuse_folder(key: str, base: str, has_parent: bool = False) -> None:
    """Raises InputError where `base`, which is no folder here, cannot be a hub's name; with `has_parent` also where
    what it would lie in is a folder here, as of `models/typo`."""
    if base.startswith(("/", "./", "../", "~")) or base.count("/") > 1:
        raise InputError(f"{key}: {base}: no such folder; name one, or a model of the hub")
    parent = Path(base).parent
    if has_parent and parent != Path() and parent.is_dir():
        raise InputError(
            f"{key}: {base}: no such folder, though {parent}/ is here, and no model of the hub that can be had; "
            "correct the name"
        )


def check_trackers(settings: SftSettings) -> None:
    """Raises ConfigError where wandb or trackio would find no key, or no network, once training begins."""
    given = settings.training.get("report_to") or ()
    names = [given] if isinstance(given, str) else list(given)
    if "wandb" in names and os.environ.get("WANDB_MODE", "online") == "online":
        server = os.environ.get("WANDB_BASE_URL", WANDB)
        host = urlsplit(server).hostname or server
        if not os.environ.get("WANDB_API_KEY") and not _in_netrc(host):
            raise ConfigError(
                "sft.training.report_to: wandb has no key; set WANDB_API_KEY, or WANDB_MODE=offline to upload later"
            )
        _check_reached(server, "wandb", "set WANDB_MODE=offline to upload later")
    if "trackio" in names and (settings.training.get("trackio_space_id") or os.environ.get("TRACKIO_SPACE_ID")):
        from huggingface_hub import get_token

        if get_token() is None:
            raise ConfigError(
                "sft.training.report_to: trackio writes to a Space, and there is no token; set HF_TOKEN, or leave "
                "trackio_space_id out to keep its files here"
            )
        _check_reached(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), "trackio", "leave trackio_space_id out")


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _check_reached(url: str, tracker: str, remedy: str) -> None:
    """Raises ConfigError where no connection is made; behind a proxy nothing is tried."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return
    place = urlsplit(url)
    try:
        port = place.port or (80 if place.scheme == "http" else 443)
        socket.create_connection((place.hostname or url, port), REACHED_S).close()
    except OSError as error:
        raise ConfigError(
            f"sft.training.report_to: {tracker} cannot reach {url} ({first_line(error)}); {remedy}, "
            "or leave report_to out"
        ) from None


def check_base(settings: SftSettings, download: bool = True) -> None:
    """Raises InputError where the base's configuration, tokenizer or head cannot be trained as a student.

    Without `download` a hub name that is not in the cache is passed over.
    """
    if settings.base == "scratch":
        return
    from transformers import AutoConfig

    from distill.weights import check_files, check_head
    from sft.student import load_tokenizer

    local = Path(settings.base).is_dir()
    if not local:
        _refuse_folder("sft.base", settings.base)
    check_files(settings.base)
    try:
        config = AutoConfig.from_pretrained(
            settings.base, revision=settings.revision or "main", local_files_only=not (download or local)
        )
    except (OSError, ValueError, KeyError) as error:
        if not local:
            _refuse_folder("sft.base", settings.base, has_parent=True)
        if not (download or local):
            return
        raise InputError(
            f"sft.base: the configuration of {settings.base!r} does not load ({first_line(error)}); name a folder or a "
            "model of the hub, and see that the hub can be reached"
        ) from None
    check_head(settings.base, config)
    if download or local:
        load_tokenizer(settings.base, settings)
    if local:
        _check_output_head(Path(settings.base), config)
    _check_context(settings, config.get_text_config().to_dict())


def _check_context(settings: SftSettings, config: dict[str, Any]) -> None:
    """Raises ConfigError for a `max_length` beyond the context, where it was set or positions are a table of weights.

    With rotary positions a default that is longer than the context does no harm: rows that long are rare.
    """
    context = config.get("max_position_embeddings")
    rotary = any(name.startswith("rope_") for name in config)
    chosen = "max_length" in settings.model_fields_set or not rotary
    if chosen and isinstance(context, int) and settings.max_length > context:
        raise ConfigError(
            f"sft.max_length: {settings.max_length} tokens do not fit the context of {settings.base!r}, {context} "
            f"tokens; set at most {context}"
        )


def _check_output_head(folder: Path, config: Any) -> None:
    """Raises InputError where the folder's safetensors lack the head that writes the answer."""
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    from distill.weights import ANOTHER_HEAD

    files = sorted(folder.glob("model*.safetensors"))
    if not files or config.get_text_config().tie_word_embeddings:
        return
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    name = next((name for name, module in model.named_modules() if module is head), None)
    stored: set[str] = set()
    for file in files:
        with safe_open(file, "np") as opened:
            stored |= set(opened.keys())
    if name is not None and f"{name}.weight" not in stored:
        raise InputError(f"{folder}: the checkpoint has no {name}.weight; {ANOTHER_HEAD}")


def check_memory(settings: SftSettings, data: TrainingData) -> None:
    """Raises ConfigError where the students that train at the same time need more memory than there is (estimated)."""
    shape = shape_of(settings.base, settings.scratch)
    if shape is None or settings.assume.device is not None:
        return
    device = device_of(None)
    peaks = estimates(settings, data, shape, device)
    for student in peaks:
        if student.peak_gib > device.memory_gib:
            raise ConfigError(
                f"sft: {student.student} needs {student.peak_gib:.1f} GiB (estimated) and the {device.name} has "
                f"{device.memory_gib:.0f}; see `distill sft CONFIG --dry-run` for its parts and a remedy"
            )
    count = side_by_side(settings, device)
    if (total := together(peaks, count)) > device.memory_gib:
        raise ConfigError(
            f"sft.parallel: {count} students train at a time and need {total:.1f} GiB together (estimated); there are "
            f"{device.memory_gib:.0f}; set sft.parallel: {fitting(peaks, device.memory_gib)}"
        )


def fitting(peaks: Sequence[TrainingEstimate], memory_gib: float) -> int:
    """How many of the students may train at a time; 1 where none fits."""
    return next((count for count in range(len(peaks), 1, -1) if together(peaks, count) <= memory_gib), 1)


def check_disk(settings: SftSettings, folder: Path, done: int = 0) -> None:
    """Raises DiskFull where students and checkpoints need more space than the folder's disk has (estimated)."""
    shape = shape_of(settings.base, settings.scratch)
    if shape is None:
        return
    device = device_of(settings.assume.device)
    count = side_by_side(settings, device)
    students = len(settings.students) - done
    at_a_time = 0 if settings.training.get("save_strategy") == "no" else min(count, students) * CHECKPOINTS
    needed = students * _student_bytes(settings, shape) + at_a_time * _state_bytes(settings, shape)
    free = shutil.disk_usage(existing(folder)).free
    if needed > free:
        raise DiskFull(
            f"{folder}: students and checkpoints need about {needed / GIB:.1f} GiB (estimated), and the disk "
            f"has {free / GIB:.1f}; free some, or name another place with --out"
        )


def _student_bytes(settings: SftSettings, shape: Shape) -> float:
    """A student's weights: merged adapters in the base's 16 bits on a GPU, else 32 bits."""
    return (2.0 if settings.lora else 4.0) * shape.parameters


def _state_bytes(settings: SftSettings, shape: Shape) -> float:
    """A checkpoint: what is trained and its optimizer's two moments, in 32 bits."""
    trained = shape.lora(settings.lora.r) + shape.embedding * 2 if settings.lora else shape.parameters
    return 12.0 * trained
