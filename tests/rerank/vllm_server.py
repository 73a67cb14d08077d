"""vLLM's own server on 127.0.0.1 with a tiny model on its CPU build, for slow tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_S = 600  # on a busy machine it takes minutes to start
CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@contextmanager
def vllm_server(folder: Path, log: Path, *options: str) -> Iterator[str]:
    """The server's URL, up to and with /v1, in float32; `log` takes what it prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--host", "127.0.0.1", "--port", port, "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16"]
    with open(log, "w") as sink:
        process = subprocess.Popen([*command, *options], stdout=sink, stderr=sink, env={**os.environ, **CPU})
        try:
            deadline = time.monotonic() + START_S
            address = f"http://127.0.0.1:{port}/v1"
            while True:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
                try:
                    with urllib.request.urlopen(f"{address}/models", timeout=5) as answer:
                        json.load(answer)
                    break
                except OSError:
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(60)


def post(url: str, body: dict[str, Any]) -> Any:
    """The answer's JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)
