"""What tokens cost: prices by model, and the one function that makes dollars of tokens. For all that count money.

An endpoint's own `price` comes first, then `teacher.prices`, then the lists below, each of one provider's own host with
its source and the date on which it was read. A model that is in none of them has no price: its cost is unknown, not 0.
Not covered: surcharges for long prompts (from 100,000 tokens), for writing a cache, for regions and service tiers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from distill.config import Settings

if TYPE_CHECKING:
    from teacher.endpoint import Endpoint


class Price(Settings):
    """US dollars per million tokens; `cached_input` where the provider bills cached prompt tokens apart."""

    input: float = Field(0.0, ge=0, description="US dollars per million prompt tokens")
    output: float = Field(0.0, ge=0, description="US dollars per million completion tokens, reasoning included")
    cached_input: float | None = Field(
        None, ge=0, description="US dollars per million cached prompt tokens; default: as input"
    )

    def cost(self, prompt_tokens: float, cached_tokens: float, completion_tokens: float, share: float = 1.0) -> float:
        """US dollars. `cached_tokens` are of the prompt's, reasoning is of the completion; `share` is a batch's part of
        the price, which OpenAI and Anthropic take of cached tokens as well."""
        cached_input = self.input if self.cached_input is None else self.cached_input
        prompt = (prompt_tokens - cached_tokens) * self.input + cached_tokens * cached_input
        return share * (prompt + completion_tokens * self.output) / 1e6


class PriceList(NamedTuple):
    """What one provider asks at its own host, {model: (input, cached input, output)}, as `source` said on `read`."""

    host: str
    read: str
    source: str
    models: Mapping[str, tuple[float, float, float]]
    note: str = ""


# fmt: off
LISTS = (
    PriceList("api.deepseek.com", "2026-10-27", "https://api-docs.deepseek.com/quick_start/pricing", {
        "deepseek-flash": (0.30, 0.006, 1.20),
        "deepseek-v4-flash": (0.30, 0.006, 1.20),  # the older name of the same
        "deepseek-v4-pro": (1.32, 0.044, 3.96),
    }, "peak hours; half of it off-peak"),
    PriceList("api.anthropic.com", "2026-10-24", "https://platform.claude.com/docs/en/about-claude/pricing", {
        "claude-opus-5-5": (4.00, 0.20, 20.00),
        "claude-sonnet-5-5": (2.00, 0.10, 10.00),
        "claude-haiku-5-5": (0.10, 0.01, 0.50),
        "claude-opus-5": (5.00, 0.50, 25.00),
        "claude-sonnet-5": (2.00, 0.20, 10.00),
        "claude-opus-4-6": (5.00, 0.50, 25.00),
        "claude-sonnet-4-6": (3.00, 0.30, 15.00),
        "claude-sonnet-4-5": (3.00, 0.30, 15.00),
        "claude-haiku-4-5": (1.00, 0.10, 5.00),
    }),
    PriceList("api.openai.com", "2026-10-26", "https://developers.openai.com/api/docs/pricing", {
        "gpt-6.1-sol": (2.00, 0.10, 10.00),
        "gpt-6.1-terra": (1.00, 0.05, 5.00),
        "gpt-6-luna": (0.10, 0.01, 0.50),
    }, "as reports quote that page"),
)
# fmt: on
_DATED = re.compile(r"-(?:\d{8}|\d{4}-\d\d-\d\d)$")  # claude-haiku-4-5-20251001


def price_of(endpoint: Endpoint, prices: Mapping[str, Price]) -> Price | None:
    """The endpoint's price, by itself, by `teacher.prices` or by the lists; None where none of them has it."""
    if endpoint.price is not None:
        return endpoint.price
    if endpoint.model in prices:
        return prices[endpoint.model]
    if (known := list_of(endpoint)) is None:
        return None
    price, cached_input, output = known.models[_undated(endpoint.model)]
    return Price(input=price, cached_input=cached_input, output=output)


def list_of(endpoint: Endpoint) -> PriceList | None:
    """The list that has the endpoint's model."""
    return next(
        (known for known in LISTS if endpoint.host == known.host and _undated(endpoint.model) in known.models), None
    )


def price_text(endpoint: Endpoint, number: int, prices: Mapping[str, Price]) -> str | None:
    """By what the endpoint's cost is counted, for the terminal; None where the user has given its price."""
    if endpoint.price is not None or endpoint.model in prices:
        return None
    place = f"teacher.endpoints.{number} ({endpoint.host})"
    if (known := list_of(endpoint)) is None:
        return (
            f"{place}: no price is known for {endpoint.model}, so its cost is unknown, unless the host says it; set "
            f"price: {{input: …, cached_input: …, output: …}} in dollars per million tokens, or price: {{}} where it "
            "costs nothing"
        )
    usd = " / ".join(f"{value:g}" for value in known.models[_undated(endpoint.model)])
    note = f" ({known.note})" if known.note else ""
    return (
        f"{place}: {endpoint.model} is counted at {usd} USD per million tokens (input, cached input, output), as "
        f"{known.source} said on {known.read}{note}; price or teacher.prices override it"
    )


def _undated(model: str) -> str:
    return _DATED.sub("", model)
