"""`teacher.logprobs` as fields of a request: how many alternatives of each token are asked for, and who has none.

Used by `teacher.settings`, and by all that send requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill.answers import JsonObject
from teacher.reasoning import ANTHROPIC, form_of

if TYPE_CHECKING:
    from teacher.endpoint import Endpoint

TOP = 5  # alternatives of each token: the most that all hosts take (Fireworks 5, xAI 8, OpenAI and vLLM 20)
ASKED: JsonObject = {"logprobs": True, "top_logprobs": TOP}


def check_logprobs(endpoints: Sequence[Endpoint], anthropic: bool = False) -> None:
    """Raise ValueError where an endpoint, or the batch API, speaks Anthropic's protocol, which has none."""
    for number, endpoint in enumerate(endpoints):
        if anthropic or form_of(endpoint.host) is ANTHROPIC:
            raise ValueError(
                f"logprobs: endpoints.{number} ({endpoint.host}) gives none: Anthropic's messages have no "
                "log-probabilities; leave it out, or set samples and learn from the share of answers (labels: share)"
            )
