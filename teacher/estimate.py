"""Estimates what asking the teacher would take: samples, tokens, dollars and time. For the dry run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypedDict

from distill.config import is_local
from distill.prompts import teacher_prompt
from distill.records import Pair
from distill.tables import counted
from distill.urls import is_url
from teacher.index import JournalIndex
from teacher.journal import Journal
from teacher.prices import list_of
from teacher.redact import MaskCounts, masked_text
from teacher.requests import Requests
from teacher.settings import TeacherSettings
from teacher.tokens import Counting

TRACE_TOKENS = 350  # Rank1's traces are 270 tokens in the mean; answer and markup around them
TOKENS_PER_S = 40.0  # one stream of a hosted R1-class model


class Estimate(TypedDict):
    """What asking would take. `basis` says what each figure rests on; `cost_usd` is None without prices.

    `masked` is what would be masked before it is sent, as `MaskCounts` counts it.
    """

    pairs: int
    samples_due: int
    in_journal: int
    reused: int
    to_ask: int
    samples_then: int
    no_room: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    spent_usd: float
    seconds: float
    hosts: list[str]
    masked: dict[str, int]
    basis: dict[str, str]


def estimate(pairs: Iterable[Pair], settings: TeacherSettings, folder: Path, earlier: str | None = None) -> Estimate:
    """Counts of what `teacher.stage.trace` would ask; nothing is sent and nothing is written.

    `earlier` is the journal of a run whose answers would be taken over (`teacher.earlier`).

    Output tokens and seconds a request are the means of the journal where it has answers, else assumed; `basis` says
    which. `samples_then` is what `samples.then` could add at most.
    """
    count, masked, make = Counting(settings), MaskCounts(settings.redact), Requests(settings)
    due = known = reused = prompt_tokens = no_room = seen = 0
    with ExitStack() as opened:
        index = opened.enter_context(journal_of(settings, folder))
        before = opened.enter_context(journal_at(earlier)) if earlier else None
        for pair in pairs:
            seen += 1
            prompt = teacher_prompt(pair.query, pair.passage, pair.instruction, settings.prompt, settings.elicit)
            first = make(prompt)
            content = first.messages[0]["content"]
            masked.add(first.masked)
            if not count.has_room(content):
                no_room += 1
                continue
            tokens = 0
            for sample in range(settings.sampled.first):
                request = make(prompt, sample) if sample else first
                due += 1
                key = request.request_id
                if index.has(key):
                    known += 1
                elif before is not None and before.has(key, retry_failed=True):
                    reused += 1
                else:
                    tokens = tokens or count.tokens(content)
                    prompt_tokens += tokens
        mean = index.means() or (before.means() if before else None)
        spent = index.spent_usd
    basis = settings.tokenizer if settings.tokenizer else "a quarter of the bytes"
    return _estimate(settings, seen, due, known, no_room, prompt_tokens, basis, mean, spent, masked, reused)


def assumed_estimate(settings: TeacherSettings, pairs: int, prompt_tokens: float) -> Estimate:
    """What asking about so many pairs would take, where no pair is there yet; prompts of so many tokens in the mean."""
    due = pairs * settings.sampled.first
    basis = f"assumed {prompt_tokens:.0f} a prompt"
    return _estimate(settings, pairs, due, 0, 0, round(due * prompt_tokens), basis, None, 0.0)


def _estimate(
    settings: TeacherSettings,
    pairs: int,
    due: int,
    known: int,
    no_room: int,
    prompt_tokens: int,
    basis: str,
    mean: dict[str, float] | None,
    spent: float,
    masked: MaskCounts | None = None,
    reused: int = 0,
) -> Estimate:
    output, seconds = (mean["completion_tokens"], mean["latency_s"]) if mean else (TRACE_TOKENS, None)
    output = min(output, settings.max_tokens)
    time = "mean of the journal" if mean else f"assumed {TOKENS_PER_S:g} tokens/s a stream"
    if not mean and any(is_local(endpoint.base_url) for endpoint in settings.endpoints):
        time += "; a server without a GPU takes several times as long"
    seconds = seconds or output / TOKENS_PER_S
    ask = due - known - reused
    source, asked_at = settings.made_source(), settings.asked_at(settings.endpoints)
    costs = [
        endpoint.price.cost(prompt_tokens, 0, ask * output, source.price_share)
        for endpoint in asked_at
        if endpoint.price is not None
    ]
    unpriced = sorted({endpoint.model for endpoint in asked_at if endpoint.price is None}) if source.priced else []
    return {
        "pairs": pairs,
        "samples_due": due,
        "in_journal": known,
        "reused": reused,
        "to_ask": ask,
        "samples_then": pairs * settings.sampled.then,
        "no_room": no_room,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": round(ask * output),
        "cost_usd": round(max(costs), 4) if costs and not unpriced else None,
        "spent_usd": round(spent, 4),
        "seconds": round(ask * seconds / settings.concurrency, 1),
        "hosts": sorted({endpoint.host for endpoint in settings.endpoints}),
        "masked": masked.counts() if masked else {},
        "basis": {
            "prompt_tokens": basis,
            "completion_tokens": "mean of the journal" if mean else f"assumed {output:.0f} a trace",
            "cost_usd": _cost_basis(settings, unpriced),
            "seconds": time,
        },
    }


def _cost_basis(settings: TeacherSettings, unpriced: list[str]) -> str:
    """What the dollars rest on: models without a price, else the list prices and the batch's share."""
    if unpriced:
        return f"no price is known for {', '.join(unpriced)}"
    lists = {
        f"list price of {known.read}"
        for endpoint in settings.endpoints
        if endpoint.price is None and endpoint.model not in settings.prices and (known := list_of(endpoint))
    }
    share = settings.made_source().price_share
    return ", ".join([*sorted(lists), *([f"{share:g} of the price, as a batch"] if share < 1 else [])])


@contextmanager
def journal_of(settings: TeacherSettings, folder: Path) -> Iterator[JournalIndex]:
    """The journal's index to look things up in, made aside: a run that is under way is not disturbed."""
    with journal_at(settings.journal or str(folder / "journal")) as index:
        yield index


@contextmanager
def journal_at(place: str) -> Iterator[JournalIndex]:
    """The same of the journal at a path or URL; an empty one where nothing is there."""
    with tempfile.TemporaryDirectory() as scratch:
        if not is_url(place) and not Path(place).exists():
            place = f"{scratch}/journal"
        journal = Journal(place, Path(scratch) / "mirror", writes=False)
        index = JournalIndex(journal, Path(scratch) / "index.sqlite")
        try:
            yield index
        finally:
            index.close()
            journal.close()


def describe(plan: Estimate) -> list[str]:
    """The estimate as lines for a person."""
    basis = plan["basis"]
    cost = "unknown" if plan["cost_usd"] is None else f"about {plan['cost_usd']:,.2f} USD"
    cost += f" ({basis['cost_usd']})" if basis["cost_usd"] else ""
    lines = [
        f"pairs {plan['pairs']:,}; samples {plan['samples_due']:,}, {plan['in_journal']:,} of them in the journal, "
        + (f"{plan['reused']:,} in the earlier run's, " if plan["reused"] else "")
        + f"{plan['to_ask']:,} to ask"
        + (f", {plan['no_room']:,} pairs leave no room" if plan["no_room"] else ""),
        f"prompt tokens {plan['prompt_tokens']:,} ({basis['prompt_tokens']}), "
        f"completion tokens {plan['completion_tokens']:,} ({basis['completion_tokens']})",
        f"cost {cost}, {plan['spent_usd']:,.2f} USD already spent",
        f"time about {max(plan['seconds'] / 60, 1):,.0f} min ({basis['seconds']}, all streams busy)",
    ]
    if plan["samples_then"]:
        lines.append(f"pairs in doubt are asked again: at most {counted(plan['samples_then'], 'sample')} more")
    if plan["hosts"]:
        lines.append(f"passages would be sent to {', '.join(plan['hosts'])}")
    if plan["masked"]:
        lines.append(masked_text(plan["masked"]))
    return lines
