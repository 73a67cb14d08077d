"""What training's libraries say that no user can act on is kept from the terminal; nothing else is."""

from __future__ import annotations

import logging

import pytest

import sft  # noqa: F401 (sets the filter)


def test_only_the_missing_kernel_of_bitsandbytes_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please ...", "No module")
    assert not caplog.records
    logger.warning("the library %s could not be loaded", "libbitsandbytes_cpu.so")
    assert caplog.messages == ["the library libbitsandbytes_cpu.so could not be loaded"]
