"""`source: endpoints`: servers that speak OpenAI's chat completions. The workers share their limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import SecretStr

from teacher.client import Client
from teacher.connection import allow_connections
from teacher.endpoint import Endpoint
from teacher.limits import EndpointLimits
from teacher.sources.base import Connection, TeacherSource


class Endpoints(TeacherSource):
    """One or more endpoints; a request goes to whichever has most capacity left."""

    priced: ClassVar[bool] = True
    sends: ClassVar[frozenset[str]] = frozenset({"reasoning", "extra_body", "logprobs"})

    def check(self) -> None:
        """Raise ValueError where no endpoint is named."""
        if not self.settings.endpoints:
            raise ValueError(f"source {self.settings.source} needs the key endpoints")

    def connect(
        self, endpoints: Sequence[Endpoint], keys: Sequence[SecretStr]
    ) -> list[tuple[Connection, EndpointLimits]]:
        """A client for each endpoint. Raises ConfigError where this machine allows too few open files."""
        allow_connections(self.share(self.settings.concurrency))
        return [self._connect(endpoint, key) for endpoint, key in zip(endpoints, keys, strict=True)]

    def _connect(self, endpoint: Endpoint, key: SecretStr) -> tuple[Client, EndpointLimits]:
        deadline_s, workers = self.settings.deadline_s, self.settings.workers
        most = self.share(endpoint.in_flight or self.settings.concurrency)
        rates = [rate and rate / workers for rate in (endpoint.requests_per_minute, endpoint.tokens_per_minute)]
        client = Client(endpoint, key.get_secret_value(), deadline_s, most)
        return client, EndpointLimits(most, deadline_s, *rates)
