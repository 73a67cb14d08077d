"""A fast teacher that misbehaves on demand: chat completions over real HTTP, as a process of its own.

    python benchmarks/teacher/server.py --port 0 --mean 0.2 --sigma 0.5 --tokens 350 --faults 429=0.05,hang=0.05

Prints its port. Plain asyncio, about 60 microseconds a request, so that the client is what is measured. Latencies are
log-normal and drawn by the request's content, so the ideal schedule can be computed afterwards.

GET /log gives what it did, [[arrival, seconds, key, kind], ...]: `key` is the SHA-1 of messages and seed, `kind` is
`answer` when a whole answer was handed to the network and `cut` when the client was gone by then. POST /set changes
the settings while it runs.

Faults, as shares of the requests: transient, drawn by attempt: 429 (Retry-After: 1), 429bare, 500, 502, 503, reset,
broken (the body breaks off), hang, malformed, empty; for good, drawn by the prompt: context, filter, bad; answers:
length. `down=1` refuses every request with 503, `auth=1` with 401, `model=1` with 404, `plain=1` answers without
reasoning, `inline=1` with <think> in the content, `nousage=1` without token counts; `bear=N` answers 429 beyond N.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

TRANSIENT = ("429", "429bare", "500", "502", "503", "reset", "broken", "hang", "malformed", "empty", "length")
LASTING = ("context", "filter", "bad")
REFUSALS = {
    "429": (429, "rate limit reached"),
    "429bare": (429, "rate limit reached"),
    "500": (500, "internal error"),
    "502": (502, "bad gateway"),
    "503": (503, "overloaded"),
    "context": (400, "This model's maximum context length is 4096 tokens"),
    "filter": (400, "content_filter: the prompt was flagged"),
    "bad": (400, "messages.0 is malformed"),
    "auth": (401, "Incorrect API key provided: {key}"),
    "model": (404, "The model `{model}` does not exist"),
    "down": (503, "down"),
}
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Teacher:
    """The settings, the log, and what is said."""

    def __init__(self, mean: float, sigma: float, tokens: int, faults: dict[str, float]) -> None:
        self.mean, self.sigma, self.tokens, self.faults = mean, sigma, tokens, faults
        self.log: list[tuple[float, float, str, str]] = []
        self.tries: Counter[str] = Counter()
        self.running = self.peak = 0
        self.keys: Counter[str] = Counter()
        words = ["the", "passage", "states", "that", "this", "holds", "so", "it", "is", "what", "was", "asked", "and"]
        self.text = " ".join(words[i % len(words)] for i in range(int(tokens * 0.75)))

    def choose(self, key: str) -> str:
        """What becomes of this try."""
        for kind in ("down", "auth", "model"):
            if self.faults.get(kind):
                return kind
        if self.faults.get("bear") and self.running > self.faults["bear"]:
            return "429bare"
        lasting = random.Random(f"{key}:lasting").random()
        for kind in LASTING:
            lasting -= self.faults.get(kind, 0.0)
            if lasting < 0:
                return kind
        draw = random.Random(f"{key}:{self.tries[key]}").random()
        for kind in TRANSIENT:
            draw -= self.faults.get(kind, 0.0)
            if draw < 0:
                return kind
        return "answer"

    def latency(self, key: str) -> float:
        """Seconds, log-normal with the given mean."""
        if self.sigma == 0:
            return self.mean
        return random.Random(key).lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)

    def body(self, key: str, kind: str) -> dict[str, Any]:
        """A chat completion."""
        verdict = "true" if int(key[:2], 16) % 2 else "false"
        reasoning, content, finish = f"{self.text} {key}", verdict, "stop"
        if kind == "empty":
            reasoning = content = ""
        elif kind == "length":
            content, finish = "", "length"
        message: dict[str, Any] = {"role": "assistant", "content": content, "reasoning_content": reasoning}
        if self.faults.get("plain"):
            message = {"role": "assistant", "content": content}
        elif self.faults.get("inline"):
            message = {"role": "assistant", "content": f"<think>\n{reasoning}\n</think>\n{content}"}
        usage = {"prompt_tokens": 100, "completion_tokens": self.tokens, "total_tokens": 100 + self.tokens}
        body = {"id": key, "object": "chat.completion", "created": 0, "model": "bench", "usage": usage}
        if self.faults.get("nousage"):
            del body["usage"]
        return {**body, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as much of it as clients use."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher, self.buffer = teacher, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Collect a request until it is whole."""
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
        length = int(fields.get(b"content-length", b"0"))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        method, path, _ = head.split(b" ", 2)
        self.request(method.decode(), path.decode(), rest[:length], fields)

    def request(self, method: str, path: str, raw: bytes, fields: dict[bytes, bytes]) -> None:
        """Answer, later."""
        teacher = self.teacher
        if path == "/log":
            return self.send(200, teacher.log)
        if path == "/stats":
            return self.send(200, {"peak": teacher.peak, "keys": teacher.keys, "requests": len(teacher.log)})
        if path == "/set":
            for name, value in json.loads(raw).items():
                setattr(teacher, name, value)
            return self.send(200, {})
        body = json.loads(raw)
        texts = json.dumps([body["messages"], body.get("seed")]).encode()
        key = hashlib.sha1(texts).hexdigest()[:16]
        teacher.keys[fields.get(b"authorization", b"").decode()] += 1
        teacher.running += 1
        teacher.peak = max(teacher.peak, teacher.running)
        kind = teacher.choose(key)
        teacher.tries[key] += 1
        quick = kind in REFUSALS or kind == "reset"
        seconds = 0.002 if quick else 3600.0 if kind == "hang" else teacher.latency(key)
        at = time.time()
        act: Callable[[], None] = lambda: self.act(kind, key, at, seconds, body, fields)  # noqa: E731
        asyncio.get_running_loop().call_later(seconds, act)
        if kind == "hang":
            teacher.log.append((at, seconds, key, kind))

    def act(
        self, kind: str, key: str, at: float, seconds: float, body: dict[str, Any], fields: dict[bytes, bytes]
    ) -> None:
        """Do what was chosen."""
        teacher = self.teacher
        teacher.running -= 1
        gone = self.transport.is_closing()
        teacher.log.append((at, seconds, key, "cut" if gone else kind if kind != "length" else "answer"))
        if gone:
            return
        if kind == "reset":
            self.transport.abort()
        elif kind in REFUSALS:
            status, text = REFUSALS[kind]
            key_said = fields.get(b"authorization", b"").decode().removeprefix("Bearer ")
            text = text.format(key=key_said, model=body.get("model"))
            extra = "Retry-After: 1\r\n" if kind == "429" else ""
            self.send(status, {"error": {"message": text, "type": "error"}}, extra)
        elif kind == "malformed":
            self.send(200, None, text='{"choices": [{"message": {"content": "tr')
        elif kind == "broken":
            whole = json.dumps(teacher.body(key, "answer")).encode()
            self.transport.write(_head(200, len(whole), "") + whole[: len(whole) // 2])
            self.transport.close()
        else:
            self.send(200, teacher.body(key, kind))

    def send(self, status: int, value: Any, extra: str = "", text: str | None = None) -> None:
        """Write a JSON response."""
        raw = (text if text is not None else json.dumps(value)).encode()
        self.transport.write(_head(status, len(raw), extra) + raw)


def _head(status: int, length: int, extra: str) -> bytes:
    reason = REASONS.get(status, "Error")
    return (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{extra}\r\n"
    ).encode()


def parse_faults(text: str) -> dict[str, float]:
    """`kind=share,kind=share` as a dictionary."""
    pairs = (item.split("=") for item in text.split(",") if item)
    found = {kind: float(share) for kind, share in pairs}
    unknown = set(found) - {*TRANSIENT, *LASTING, *REFUSALS, "plain", "inline", "nousage", "bear"}
    if unknown:
        raise SystemExit(f"unknown faults: {', '.join(sorted(unknown))}")
    return found


async def serve(port: int, teacher: Teacher, ports: int = 1) -> None:
    """Serve until killed, on so many ports with one log; they are printed first."""
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: Connection(teacher), "127.0.0.1", port, backlog=4096) for _ in range(ports)
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ports", type=int, default=1, help="endpoints of one process, each on a port of its own")
    parser.add_argument("--mean", type=float, default=0.2, help="mean latency in seconds")
    parser.add_argument("--sigma", type=float, default=0.5, help="of the log-normal latencies")
    parser.add_argument("--tokens", type=int, default=350)
    parser.add_argument("--faults", type=parse_faults, default={})
    given = parser.parse_args()
    asyncio.run(serve(given.port, Teacher(given.mean, given.sigma, given.tokens, given.faults), given.ports))


if __name__ == "__main__":
    main()
