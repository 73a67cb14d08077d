"""Training: targets, packing, TRL, Ray Train, merge and export."""

from __future__ import annotations

import logging


def _no_missing_kernel(record: logging.LogRecord) -> bool:
    """False for bitsandbytes' message that it has no kernel for 4 bits on a CPU: it is said wherever PEFT is imported,
    whether or not anything is in 4 bits, and training switches that kernel off (`sft.student.load_base`)."""
    return "gemm_4bit_forward" not in str(record.msg)


logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_no_missing_kernel)
