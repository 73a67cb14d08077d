"""A GGUF file behind llama.cpp's OpenAI-compatible server, for docs/local-teacher.md and the slow tests.

    python benchmarks/real/serve.py models/qwen-0.5b.gguf [--port 8080] [--slots 8] [--threads 2]

Needs `pip install xllamacpp` (llama.cpp in a wheel, 34 MB), best in an environment of its own; nothing of this project
is imported. Prints `http://127.0.0.1:PORT/v1` once it answers, and serves until it is ended.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path


def main() -> None:
    """The command line."""
    import xllamacpp

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the GGUF file")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--slots", type=int, default=8, help="requests answered at the same time (default: 8)")
    parser.add_argument("--context", type=int, default=2048, help="tokens of prompt and answer, a slot (default: 2048)")
    parser.add_argument("--threads", type=int, help="default: all cores")
    given = parser.parse_args()
    if not given.model.is_file():
        parser.error(f"{given.model}: no such file")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(given.model)
    parameters.model_alias = {given.model.stem}
    parameters.hostnames, parameters.port = ["127.0.0.1"], given.port
    parameters.n_parallel, parameters.n_ctx = given.slots, given.slots * given.context
    parameters.use_jinja = True
    if given.threads:
        parameters.cpuparams.n_threads = given.threads
    server = xllamacpp.Server(parameters)  # returns once the model is loaded
    print(f"{server.listening_address}/v1", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
