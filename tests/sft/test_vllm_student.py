"""A student that was merged here says in vLLM what it says in transformers. Skipped where vLLM is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.prompts import END_THINK, prompt_ids, rank1_prompt, verdict_ids
from tests.sft.tiny import base_folder, train_tiny, world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here"),
]
# A process of its own: the engine changes torch's settings, and keeps its memory.
PROGRAM = """
import json, sys
from vllm import LLM, SamplingParams
folder, path, dtype = sys.argv[1:4]
given = json.load(open(path))
engine = LLM(folder, dtype=dtype, enforce_eager=True, max_model_len=512, seed=0)
asked = SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=given["verdicts"], detokenize=False)
outputs = engine.generate([{"prompt_token_ids": row} for row in given["rows"]], asked, use_tqdm=False)
said = [[each.outputs[0].logprobs[0][token].logprob for token in given["verdicts"]] for each in outputs]
json.dump(said, open(path + ".out", "w"))
"""
CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_the_verdicts_have_the_same_log_probabilities(tied: bool, dtype: str, tolerance: float, tmp_path: Path) -> None:
    """To 1e-4 in fp32; to 0.05 in bf16, whose sums depend on the kernel."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = base_folder(tmp_path / "base", tied=tied)
    train_tiny(tmp_path, base, count=60, lora={"r": 4, "alpha": 8})
    folder = tmp_path / "students" / "think"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    texts = [rank1_prompt(pair.query, pair.passage) for pair in world(8)[0].values()]
    close = tokenizer.encode(f"\n{END_THINK}", add_special_tokens=False)
    rows = [row + close for row in prompt_ids(tokenizer, texts)]
    verdicts = verdict_ids(tokenizer)
    with torch.inference_mode():
        ours = [torch.log_softmax(model(torch.tensor([row])).logits[0, -1].float(), -1)[verdicts] for row in rows]
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"rows": rows, "verdicts": verdicts}))
    command = [sys.executable, "-c", PROGRAM, str(folder), str(given), dtype]
    done = subprocess.run(command, env={**os.environ, **CPU}, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = torch.tensor(json.loads(Path(f"{given}.out").read_text()))
    assert float((torch.stack(ours) - theirs).abs().max()) < tolerance
