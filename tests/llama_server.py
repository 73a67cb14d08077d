"""A GGUF file behind llama.cpp's server, for slow tests: `benchmarks/real/serve.py` as its own process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "real" / "serve.py"


@contextmanager
def llama_server(file: Path, slots: int = 4) -> Iterator[str]:
    """The server's URL, up to and with /v1. LLAMA_PYTHON names the Python that has xllamacpp, if this one has not."""
    python = os.environ.get("LLAMA_PYTHON") or sys.executable
    if python == sys.executable and importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("llama.cpp (xllamacpp) is not installed here; LLAMA_PYTHON names a Python that has it")
    command = [python, str(SCRIPT), str(file), "--port", "0", "--slots", str(slots), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), f"the server did not start: {url!r}"
        yield url
    finally:
        process.kill()
        process.wait()
