"""What is paid, and what is shown of it while it goes on."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill.errors import ConfigError, Stopped
from distill.records import JournalEntry
from teacher.client import read_body
from teacher.endpoint import Endpoint
from teacher.estimate import describe, estimate
from teacher.index import JournalIndex, unpriced
from teacher.journal import Journal, encode
from teacher.prices import LISTS, Price, price_text
from teacher.progress import TeacherProgress
from teacher.progress import describe as progress_line
from tests.teacher.helpers import Server, make_pairs, settings_for

NOBODY = Server("http://127.0.0.1:9/v1")


def body(message: dict[str, Any], **usage: Any) -> bytes:
    """A chat completion."""
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}).encode()


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_read_from_either_field(field: str) -> None:
    reply = read_body(body({"content": "true", field: "because"}, prompt_tokens=3, completion_tokens=2), [], 0.0)
    assert (reply.reasoning, reply.content, reply.prompt_tokens, reply.completion_tokens) == ("because", "true", 3, 2)


@pytest.mark.parametrize(
    "usage, price, usd",
    [
        ({"prompt_tokens_details": {"cached_tokens": 600}}, {"cached_input": 100.0}, 0.4 * 1 + 0.6 * 0.1 + 0.5 * 2),
        ({"prompt_cache_hit_tokens": 600}, {"cached_input": 100.0}, 0.4 * 1 + 0.6 * 0.1 + 0.5 * 2),  # DeepSeek
        ({"prompt_cache_hit_tokens": 600}, {}, 1 + 0.5 * 2),
        ({}, {"cached_input": 100.0}, 1 + 0.5 * 2),
    ],
)
def test_cached_prompt_tokens_have_their_own_price(usage: dict[str, Any], price: dict[str, Any], usd: float) -> None:
    values = {"base_url": NOBODY.url, "model": "m", "price": {"input": 1000.0, "output": 2000.0, **price}}
    reply = read_body(body({"content": "true"}, prompt_tokens=1000, completion_tokens=500, **usage), [], 0.0)
    reply.bill(Endpoint.model_validate(values).price)
    assert reply.cost_usd == pytest.approx(usd) and not reply.unpriced


@pytest.mark.parametrize(
    "usage, tokens",
    [
        ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 60}}, (100, 60)),  # OpenAI
        ({"prompt_tokens": 100, "prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40}, (100, 60)),  # DeepSeek
        ({"input_tokens": 40, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 0}, (100, 60)),  # Anthropic
        ({"input_tokens": 30, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10}, (100, 60)),
        ({"prompt_tokens": 100, "cache_read_input_tokens": 60, "prompt_tokens_details": None}, (100, 60)),  # LiteLLM
        ({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}}, (100, 60)),  # OpenAI's Responses
        ({"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 160}}, (100, 100)),  # more than there are
        ({"prompt_tokens": 100, "prompt_cache_hit_tokens": None}, (100, 0)),
    ],
)
def test_prompt_and_cached_tokens_are_read_from_every_form(usage: dict[str, Any], tokens: tuple[int, int]) -> None:
    of_completion = {"completion_tokens" if "prompt_tokens" in usage else "output_tokens": 5}
    reply = read_body(body({"content": "true"}, **usage, **of_completion), [], 0.0)
    assert (reply.prompt_tokens, reply.cached_tokens) == tokens and not reply.estimated


DEEPSEEK = {"base_url": "https://api.deepseek.com", "model": "deepseek-flash"}


def test_a_price_is_the_endpoints_own_else_the_users_else_the_lists_and_never_a_guess() -> None:
    def priced(endpoint: dict[str, Any], **prices: Any) -> list[float | None] | None:
        chosen = settings_for(NOBODY, endpoints=[endpoint], prices=prices)
        price = chosen.asked_at(chosen.endpoints)[0].price
        return None if price is None else [price.input, price.cached_input, price.output]

    mine = {"input": 7, "output": 8}
    assert priced({**DEEPSEEK, "price": {"input": 1, "output": 2}}, **{"deepseek-flash": mine}) == [1, None, 2]
    assert priced(DEEPSEEK, **{"deepseek-flash": mine}) == [7, None, 8]
    assert priced(DEEPSEEK) == [0.30, 0.006, 1.20]
    claude = {"base_url": "https://api.anthropic.com/v1", "model": "claude-haiku-4-5-20251001"}
    assert priced(claude) == [1.0, 0.1, 5.0]
    gateway = {**DEEPSEEK, "base_url": "https://gateway.example.org/v1"}
    assert priced(gateway) is None, "what another host asks for the model is not known"
    assert priced({**DEEPSEEK, "model": "deepseek-flash-2"}) is None and priced({**gateway, "price": {}}) == [
        0,
        None,
        0,
    ]
    assert all(known.source.startswith("https://") and known.read >= "2026-10" for known in LISTS)
    assert all(cached < price < output for known in LISTS for price, cached, output in known.models.values())
    said = price_text(Endpoint.model_validate(gateway), 0, {}) or ""
    assert "no price is known for deepseek-flash" in said and "price: {}" in said
    said = price_text(Endpoint.model_validate(DEEPSEEK), 0, {}) or ""
    assert "0.3 / 0.006 / 1.2 USD" in said and "2026-10-27" in said and "https://" in said
    with pytest.raises(ValueError, match="no price is known for deepseek-flash"):
        settings_for(NOBODY, endpoints=[gateway], budget_usd=1)
    assert settings_for(NOBODY, endpoints=[DEEPSEEK], budget_usd=1)


def test_the_estimate_counts_by_the_same_prices_and_a_batch_by_half_of_them(tmp_path: Path) -> None:
    plain = estimate(make_pairs(10), settings_for(NOBODY, endpoints=[DEEPSEEK]), tmp_path)
    batch = estimate(make_pairs(10), settings_for(NOBODY, endpoints=[DEEPSEEK], source="batch"), tmp_path)
    usd = Price(input=0.3, output=1.2).cost(plain["prompt_tokens"], 0, plain["completion_tokens"])
    assert plain["cost_usd"] == pytest.approx(usd, abs=1e-4) and usd > 0.003
    assert batch["cost_usd"] == pytest.approx(usd / 2, abs=1e-4)
    assert "list price of 2026-10-27" in describe(plain)[2] and "0.5 of the price, as a batch" in describe(batch)[2]
    unknown = estimate(
        make_pairs(1), settings_for(NOBODY, endpoints=[{"base_url": NOBODY.url, "model": "m"}]), tmp_path
    )
    assert unknown["cost_usd"] is None and "cost unknown (no price is known for m)" in describe(unknown)[2]


def test_what_has_no_price_is_counted_as_unknown_and_not_as_nothing(tmp_path: Path) -> None:
    reply = read_body(body({"content": "true"}, prompt_tokens=10, completion_tokens=5), [], 0.0)
    reply.bill(None)
    journal = Journal(tmp_path / "journal", tmp_path / "scratch")
    journal.append([encode(JournalEntry(reply.answer("a", "m", "h", {})))])
    index = JournalIndex(journal, tmp_path / "index.sqlite")
    assert unpriced(index.spent("trace")) == {"unpriced_tokens": 15} and unpriced(index.spent("filter")) == {}
    index.close()
    journal.close()


@pytest.mark.parametrize(
    "usage, completion, reasoning",
    [
        ({"completion_tokens_details": {"reasoning_tokens": 300}, "total_tokens": 1500}, 500, 300),  # OpenAI
        ({"completion_tokens_details": {"reasoning_tokens": 300}, "total_tokens": 1800}, 800, 300),  # xAI
        ({"total_tokens": 1700}, 700, 200),  # Gemini
        ({"completion_tokens_details": {"reasoning_tokens": 300}, "total_tokens": 1600}, 500, 300),  # of something else
        ({"completion_tokens_details": None}, 500, 0),
    ],
)
def test_reasoning_is_billed_as_output_whether_the_completion_counts_it_or_not(
    usage: dict[str, Any], completion: int, reasoning: int
) -> None:
    reply = read_body(body({"content": "true"}, prompt_tokens=1000, completion_tokens=500, **usage), [], 0.0)
    assert (reply.completion_tokens, reply.reasoning_tokens) == (completion, reasoning)


@pytest.mark.usefixtures("ray_here")
def test_what_is_said_to_be_paid_is_what_the_journals_lines_add_up_to(tmp_path: Path) -> None:
    """Cached and reasoning tokens, empty answers and the preflight included."""
    from distill.records import Trace
    from distill.store import read_rows
    from teacher.stage import trace
    from tests.teacher.http_servers import answering

    price, asked = {"input": 1234.5, "cached_input": 123.4, "output": 5678.9}, {"count": 0}

    def respond(request: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
        asked["count"] += 1
        prompt, cached = 100 + asked["count"], 7 * (asked["count"] % 5)
        usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": 40}
        if asked["count"] % 3 == 0:  # as xAI counts
            usage |= {"completion_tokens_details": {"reasoning_tokens": 30}, "total_tokens": prompt + 70}
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        elif asked["count"] % 3 == 1:  # DeepSeek
            usage |= {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": prompt - cached}
            usage["completion_tokens_details"] = {"reasoning_tokens": 30}
        else:  # Anthropic
            usage = {"input_tokens": prompt - cached, "cache_read_input_tokens": cached, "output_tokens": 40}
        said = {} if asked["count"] % 4 == 2 else {"content": "true", "reasoning_content": "because"}
        return 200, body({"role": "assistant", **said}, **usage).decode(), {}

    with answering(respond) as (url, _):
        values: dict[str, Any] = {"endpoints": [{"base_url": url, "model": "m"}], "prices": {"m": price}}
        result = trace(make_pairs(12), settings_for(NOBODY, **values, concurrency=2), tmp_path)
        with pytest.raises(Stopped) as reached:
            trace(
                make_pairs(13), settings_for(NOBODY, **values, budget_usd=result["cost_usd"] / 2), tmp_path, quiet=True
            )
    lines = [
        json.loads(line)
        for path in (tmp_path / "journal").glob("*.jsonl")
        for line in path.read_text().split("\n")
        if line
    ]
    assert len(lines) == asked["count"] > 13 and any("bill" in line for line in lines)
    assert any(line.get("cached_tokens") for line in lines) and any(line.get("reasoning_tokens") for line in lines)
    usd = (
        sum(
            (line["prompt_tokens"] - line.get("cached_tokens", 0)) * price["input"]
            + line.get("cached_tokens", 0) * price["cached_input"]
            + line["completion_tokens"] * price["output"]
            for line in lines
        )
        / 1e6
    )
    assert result["cost_usd"] == pytest.approx(usd, abs=1e-6) and usd > 4
    assert f"is reached: {usd:,.2f} USD" in str(reached.value), "the budget counts by the same prices"
    rows = sum(row.cost_usd for row in read_rows(tmp_path, Trace))
    preflight = next(line["cost_usd"] for line in lines if line.get("kind") == "preflight")
    assert rows + preflight == pytest.approx(usd, abs=1e-9), "each row has what its own request cost"


def test_an_unpriced_endpoint_that_says_what_it_cost_is_believed() -> None:
    raw = body({"content": "true"}, prompt_tokens=10, completion_tokens=5, cost=0.125)
    reply = read_body(raw, [], 0.0)
    reply.bill(None)
    assert (reply.cost_usd, reply.unpriced) == (0.125, False)


def test_the_estimate_counts_by_the_teachers_tokenizer_where_it_is_at_hand(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(str(tmp_path / "tokenizer"))
    named = settings_for(NOBODY, tokenizer=str(tmp_path / "tokenizer"))
    exact, guessed = (estimate(make_pairs(10), each, tmp_path) for each in (named, settings_for(NOBODY)))
    task = "Determine if the following passage is relevant to the query. Answer only with 'true' or 'false'."
    words_each = len(f"{task}\nQuery: query 1\nPassage: passage 1 of a text".split())
    assert exact["prompt_tokens"] == 10 * (words_each + 8)  # and the chat's frame
    assert exact["basis"]["prompt_tokens"] == named.tokenizer
    assert guessed["basis"]["prompt_tokens"] == "a quarter of the bytes"
    with pytest.raises(ConfigError, match=r"teacher\.tokenizer: .*nowhere cannot be loaded"):
        estimate(make_pairs(1), settings_for(NOBODY, tokenizer=str(tmp_path / "nowhere")), tmp_path)


def test_on_a_terminal_a_bar_shows_how_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    index = SimpleNamespace(spent_tokens=140_000, spent_usd=1.25, unpriced_tokens=0)
    asking: Any = SimpleNamespace(
        known=100, answered_now=50, failed_now=3, in_flight=32, window=32, tokens_now=7000, index=index, faults={},
        started=None, verdicts=None, actors=SimpleNamespace(ready={0}),
    )  # fmt: skip
    from collections import Counter

    asking.faults = Counter({"rate_limited": 7})
    events: list[dict[str, Any]] = []
    progress = TeacherProgress(events.append, 1000)
    progress.turn(asking)
    progress.end(asking)
    for part in ("answered 150/1,000", "in flight 32", "failed 3", "tokens/s", "1.25 USD", "s left", "rate_limited 7"):
        assert part in screen.getvalue()
    assert events[-1]["answered"] == 150 and events[-1]["cost_usd"] == 1.25
    assert "cost not known" in progress_line({**events[-1], "unpriced_tokens": 7})
