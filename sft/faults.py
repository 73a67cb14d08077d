"""What a user reads where a training fails: one line with the reason and the remedy. Used by the training processes."""

from __future__ import annotations

import signal
from pathlib import Path

from distill.disk import disk_fault
from distill.errors import DistillError, InputError, first_line, last_line

NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "DefaultCPUAllocator")
LESS_MEMORY = (
    "lower sft.training.per_device_train_batch_size (and raise gradient_accumulation_steps as much) or sft.max_length, "
    "set sft.lora, or train fewer students at a time (sft.parallel)"
)


def training_fault(name: str, error: Exception, out: Path) -> DistillError:
    """The error to show for whatever ended the training of student `name` in folder `out`.

    What transformers, TRL and PEFT refuse (ValueError, ImportError, OSError) is the user's to mend, and so is memory
    that ran out: InputError. Of anything else the type is named: DistillError.
    """
    if isinstance(error, DistillError):
        return error
    fault = disk_fault(error, out)
    if fault is not None:
        return fault
    reason = first_line(error)
    if isinstance(error, MemoryError) or is_about_memory(reason):
        return InputError(f"{name}: the memory ran out ({reason}); {LESS_MEMORY}")
    if isinstance(error, ValueError | ImportError | OSError):
        return InputError(f"sft: {name} cannot be trained as configured: {reason}")
    return DistillError(f"{name}: the training failed ({type(error).__name__}: {reason}); see {out / 'stderr.txt'}")


def ended_without_result(name: str, status: int, errors: str, out: Path) -> DistillError:
    """The error for a training process that ended without a word: by a signal, or with its reason in `errors`."""
    if status == -signal.SIGKILL:
        return InputError(f"{name}: the training was killed (signal 9), most often since memory ran out; {LESS_MEMORY}")
    reason = last_line(errors)
    if is_about_memory(reason):
        return InputError(f"{name}: the memory ran out ({reason}); {LESS_MEMORY}")
    how = f"signal {-status}, {signal.strsignal(-status)}" if status < 0 else f"status {status}"
    detail = f": {reason}" if reason else ""
    return DistillError(f"{name}: the training process ended ({how}){detail}; see {out / 'stderr.txt'}")


def is_about_memory(text: str) -> bool:
    """Whether a message says that memory, the device's or the machine's, ran out."""
    return any(words.lower() in text.lower() for words in NO_MEMORY)
