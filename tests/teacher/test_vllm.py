"""A real vLLM with a tiny random model: as a server behind HTTP, and as an engine within the workers.

Skipped where vLLM is not installed; CI makes an environment where it is (vllm-cpu) and runs these.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distill.errors import ConfigError
from distill.records import Trace
from distill.store import read_rows
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import make_pairs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here"),
]
CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
ARGS: dict[str, Any] = {"enforce_eager": True, "max_model_len": 512, "dtype": "float32", "max_num_seqs": 64}
TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<think>{% endif %}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 of some hundred thousand random weights, with a chat template that opens the thinking."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from sft.scratch import train_tokenizer

    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer([p.query + " " + p.passage for p in make_pairs(200)], 512)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=512, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=128, max_position_embeddings=512, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def check(settings: TeacherSettings, folder: Path) -> None:
    """Thirty pairs answered, each with tokens counted, and none asked twice."""
    counts = trace(make_pairs(30), settings, folder, quiet=True)
    rows = list(read_rows(folder, Trace))
    assert (len(rows), counts["answered"], counts["failed"]) == (30, 30, 0), counts
    assert all(row.prompt_tokens > 10 and 0 < row.completion_tokens <= 24 for row in rows)
    assert all(row.finish_reason in ("length", "stop") and not row.estimated for row in rows)
    assert any(row.reasoning or row.content for row in rows)
    assert trace(make_pairs(30), settings, folder, quiet=True)["asked_now"] == 0


def test_an_engine_in_the_worker_answers(model: Path, tmp_path: Path) -> None:
    values = {
        "source": "vllm", "engine": {"model": str(model), "args": ARGS, "env": CPU}, "actor": {"num_gpus": 0},
        "max_tokens": 24, "concurrency": 16, "require_reasoning": False, "deadline_s": 120,
    }  # fmt: skip
    check(TeacherSettings.model_validate(values), tmp_path / "traces")


def test_an_engine_that_cannot_load_is_one_line(tmp_path: Path) -> None:
    engine = {"model": str(tmp_path / "nothing"), "args": ARGS, "env": CPU}
    values = {"source": "vllm", "engine": engine, "actor": {"num_gpus": 0}}
    with pytest.raises(ConfigError, match=r"teacher\.engine"):
        trace(make_pairs(2), TeacherSettings.model_validate(values), tmp_path / "traces", quiet=True)


@pytest.fixture
def server(model: Path) -> Iterator[str]:
    """vLLM's own OpenAI server."""
    port = 18765
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(port)]
    flags = ["--enforce-eager", "--max-model-len", "512", "--dtype", "float32", "--served-model-name", "tiny"]
    process = subprocess.Popen(
        [*command, *flags, "--host", "127.0.0.1"], env={**os.environ, **CPU}, start_new_session=True
    )
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            break
        except OSError:
            time.sleep(1)
    yield f"http://127.0.0.1:{port}/v1"
    process.terminate()
    process.wait(timeout=30)


def test_a_vllm_server_answers(server: str, tmp_path: Path) -> None:
    values = {
        "endpoints": [{"base_url": server, "model": "tiny"}], "max_tokens": 24, "concurrency": 16,
        "require_reasoning": False, "deadline_s": 120,
    }  # fmt: skip
    check(TeacherSettings.model_validate(values), tmp_path / "traces")
