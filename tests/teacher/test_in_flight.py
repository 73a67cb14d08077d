"""What a lost worker can cost: never more than its share of `concurrency`, whenever it is lost."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field

import pytest

from distill.answers import JsonObject
from distill.records import make_request
from teacher.faults import Fault
from teacher.limits import EndpointLimits
from teacher.sources.base import Reply
from teacher.worker import Worker

CONCURRENCY, REQUESTS = 8, 200


@dataclass
class Steered:
    """A connection whose server answers when the test says so; `asked` are the prompts it was sent."""

    model: str = "steered"
    host: str = "here"
    deadline_s: float = 60.0
    asked: set[str] = field(default_factory=set)
    open: dict[str, asyncio.Future[Reply]] = field(default_factory=dict)

    async def ask(self, messages: list[dict[str, str]], sampling: JsonObject) -> Reply:
        prompt = messages[0]["content"]
        self.asked.add(prompt)
        self.open[prompt] = asyncio.get_running_loop().create_future()
        return await self.open[prompt]

    def billed(self, fault: Fault, messages: list[dict[str, str]]) -> tuple[int, int, float]:
        return 0, 0, 0.0

    async def close(self) -> None:
        """Nothing to end."""

    def answer(self, draw: random.Random) -> None:
        """Answer some of what is asked, none or all of it."""
        for prompt in draw.sample(sorted(self.open), draw.randint(0, len(self.open))):
            self.open.pop(prompt).set_result(Reply("because", "true"))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_sent_and_not_journalled_is_never_more_than_what_may_be_in_flight(seed: int) -> None:
    """Server, worker and driver take their turns in an order drawn by the seed; the driver journals a report later."""
    draw = random.Random(seed)
    requests = [make_request("t", [{"role": "user", "content": f"p {n}"}], {}) for n in range(REQUESTS)]
    prompts = {request.request_id: request.messages[0]["content"] for request in requests}

    async def play() -> tuple[int, set[str]]:
        server = Steered()
        worker = Worker([(server, EndpointLimits(CONCURRENCY, 60.0, None, None))], 5, CONCURRENCY)
        journalled: set[str] = set()
        most = 0
        call = asyncio.ensure_future(
            worker.exchange([(r.request_id, r.messages, r.sampling, r.purpose) for r in requests], patience_s=0.001)
        )
        while len(journalled) < REQUESTS:
            turn = draw.choice(("server", "worker", "driver"))
            if turn == "server":
                server.answer(draw)
            elif turn == "driver" and call.done():
                journalled |= {prompts[json.loads(line)["id"]] for line in call.result().lines}
                call = asyncio.ensure_future(worker.exchange([], patience_s=0.001))
            else:
                await asyncio.sleep(draw.choice((0, 0, 0.001)))
            most = max(most, len(server.asked - journalled))
        await call
        return most, journalled

    most, journalled = asyncio.run(play())
    assert most == CONCURRENCY  # reached, and never passed
    assert journalled == set(prompts.values())
