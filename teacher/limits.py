"""How much one endpoint bears: requests in flight, rate limits, pauses after failures. For the workers.

The window follows AIMD on the *share* of refusals (429) within a round of as many outcomes as the window is wide, so
that a server that refuses now and then at random is not starved, and one that refuses because of us is relieved. Other
faults count in a round too: quick ones come back before the answers that were asked with them.
Latency counts when the median comes near the deadline: queueing that costs nothing but time is the server's business.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

REFUSED_MUCH, REFUSED_LITTLE = 0.20, 0.10  # with 0.10 and 0.05, two kinds of 429 at 5 % each starved a run (diary)
NEAR_DEADLINE = 1 / 3
REST_S, LONGEST_REST_S = 1.0, 30.0


@dataclass(slots=True)
class Bucket:
    """A rate limit: `per_minute` units flow in evenly; a debt is waited out. Times are seconds of one clock."""

    per_minute: float
    level: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.burst

    @property
    def burst(self) -> float:
        """What may be spent in one moment: one second's worth, at least one unit."""
        return max(1.0, self.per_minute / 60)

    def wait(self, now: float) -> float:
        """Seconds until something may be spent."""
        self.level = min(self.burst, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now
        return 0.0 if self.level > 0 else -self.level * 60 / self.per_minute + 1e-3

    def spend(self, amount: float) -> None:
        """Take units out, into debt where needed; negative amounts give back."""
        self.level -= amount


class EndpointLimits:
    """One endpoint's capacity. `most` requests in flight, limits a minute, and the deadline in seconds."""

    def __init__(self, most: int, deadline_s: float, requests: float | None, tokens: float | None) -> None:
        self.most, self.deadline_s = most, deadline_s
        self.window = float(most)
        self.in_flight = 0
        self.requests = Bucket(requests) if requests else None
        self.tokens = Bucket(tokens) if tokens else None
        self.rests_until = 0.0
        self.failures = 0  # in a row, without an answer between
        self.rests = 0
        self.must_probe = False
        self.failing_since: float | None = None
        self.dead: str | None = None
        self.without_key = False  # until the session has sent one
        self._round: list[float] = []
        self._refused = self._faults = 0

    def wait(self, now: float) -> float | None:
        """Seconds until another request may start: 0 now, None when only an answer can make room."""
        if self.dead is not None or self.without_key or self.in_flight >= int(self.window):
            return None
        waits = [self.rests_until - now]
        waits += [bucket.wait(now) for bucket in (self.requests, self.tokens) if bucket is not None]
        return max(0.0, *waits)

    @property
    def load(self) -> float:
        """In flight, as a share of the window."""
        return self.in_flight / max(self.window, 1.0)

    def started(self, tokens: int) -> None:
        """A request of an estimated number of tokens begins."""
        self.in_flight += 1
        if self.requests:
            self.requests.spend(1)
        if self.tokens:
            self.tokens.spend(tokens)

    def answered(self, latency_s: float, estimated: int, tokens: int) -> None:
        """An answer came, after so many seconds; its real token count replaces the estimate."""
        self.alive()
        if self.tokens:
            self.tokens.spend(tokens - estimated)
        self._round.append(latency_s)
        self._turn()

    def unanswerable(self) -> None:
        """A request was refused for what it asks: the endpoint works, and the request's place counts in the round."""
        self.alive()
        self._faults += 1
        self._turn()

    def alive(self) -> None:
        """The endpoint has shown that it works: a rest for its failures is over."""
        if self.rests:
            self.rests_until = 0.0
        self.failures = self.rests = 0
        self.must_probe = False
        self.failing_since = None

    def refused(self, wait_s: float | None, now: float) -> None:
        """A 429: when most of a round is refused, the endpoint rests as long as it asks."""
        self._refused += 1
        self.failing_since = self.failing_since or now
        if wait_s and self._refused > len(self._round) and self._refused >= max(3, self.window / 8):
            self.rests_until = max(self.rests_until, now + min(wait_s, 3600.0))
        self._turn()

    def failed(self, now: float) -> bool:
        """A fault that may be the endpoint's. Returns whether the endpoint, not the request, is to blame."""
        self.failures += 1
        self.failing_since = self.failing_since or now
        self._faults += 1
        self._turn()
        # Of a burst of requests the quick ones fail first: with many still in flight that says little.
        if self.failures <= max(8, self.most // 8, self.in_flight // 2):
            return False
        if now >= self.rests_until:
            rest = min(LONGEST_REST_S, REST_S * 2**self.rests) * random.uniform(0.75, 1.25)
            self.rests_until, self.rests = now + rest, self.rests + 1
        self.must_probe = True
        return True

    def _turn(self) -> None:
        total = len(self._round) + self._refused + self._faults
        if total < max(8, int(self.window)):
            return
        share = self._refused / total
        median = sorted(self._round)[len(self._round) // 2] if self._round else 0.0
        if share > REFUSED_MUCH:
            self.window *= max(0.5, 1 - share)
        elif median > self.deadline_s * NEAR_DEADLINE:
            self.window *= 0.8
        elif share <= REFUSED_LITTLE:
            self.window += max(1.0, self.most / 32)
        self.window = min(float(self.most), max(1.0, self.window))
        self._round, self._refused, self._faults = [], 0, 0
