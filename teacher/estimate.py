"""Estimates what asking the teacher would take: samples, tokens, dollars and time. For the dry run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from distill.prompts import teacher_prompt
from distill.records import Pair, make_request
from distill.urls import is_url
from teacher.index import JournalIndex
from teacher.journal import Journal
from teacher.settings import TeacherSettings
from teacher.tokens import Counting

TRACE_TOKENS = 350  # Rank1's traces are 270 tokens in the mean; answer and markup around them
TOKENS_PER_S = 40.0  # one stream of a hosted R1-class model


class Estimate(TypedDict):
    """What asking would take. `basis` says what each figure rests on; `cost_usd` is None without prices."""

    pairs: int
    samples_due: int
    in_journal: int
    to_ask: int
    samples_then: int
    no_room: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    spent_usd: float
    seconds: float
    hosts: list[str]
    basis: dict[str, str]


def estimate(pairs: Iterable[Pair], settings: TeacherSettings, folder: Path) -> Estimate:
    """Counts of what `teacher.stage.trace` would ask; nothing is sent and nothing is written.

    Output tokens and seconds a request are the means of the journal where it has answers, else assumed; `basis` says
    which. `samples_then` is what `samples.then` could add at most.
    """
    count, name = Counting(settings), settings.asked_as
    due = known = prompt_tokens = no_room = seen = 0
    with journal_of(settings, folder) as index:
        for pair in pairs:
            seen += 1
            content = teacher_prompt(pair.query, pair.passage, pair.instruction, settings.prompt, settings.elicit)
            if not count.has_room(content):
                no_room += 1
                continue
            tokens = 0
            for sample in range(settings.sampled.first):
                messages = [{"role": "user", "content": content}]
                request = make_request(name, messages, settings.sampling(sample), sample)
                due += 1
                if index.has(request.request_id):
                    known += 1
                else:
                    tokens = tokens or count.tokens(content)
                    prompt_tokens += tokens
        mean = index.means()
        spent = index.spent_usd
    basis = settings.tokenizer if settings.tokenizer else "a quarter of the bytes"
    return _estimate(settings, seen, due, known, no_room, prompt_tokens, basis, mean, spent)


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
) -> Estimate:
    output, seconds = (mean["completion_tokens"], mean["latency_s"]) if mean else (TRACE_TOKENS, None)
    output = min(output, settings.max_tokens)
    seconds = seconds or output / TOKENS_PER_S
    ask = due - known
    prices = [endpoint.price for endpoint in settings.endpoints if endpoint.price is not None]
    share = settings.made_source().price_share
    costs = [share * (prompt_tokens * p.input + ask * output * p.output) / 1e6 for p in prices]
    return {
        "pairs": pairs,
        "samples_due": due,
        "in_journal": known,
        "to_ask": ask,
        "samples_then": pairs * settings.sampled.then,
        "no_room": no_room,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": round(ask * output),
        "cost_usd": round(max(costs), 4) if costs else None,
        "spent_usd": round(spent, 4),
        "seconds": round(ask * seconds / settings.concurrency, 1),
        "hosts": sorted({endpoint.host for endpoint in settings.endpoints}),
        "basis": {
            "prompt_tokens": basis,
            "completion_tokens": "mean of the journal" if mean else f"assumed {TRACE_TOKENS} a trace",
            "seconds": "mean of the journal" if mean else f"assumed {TOKENS_PER_S:g} tokens/s a stream",
        },
    }


@contextmanager
def journal_of(settings: TeacherSettings, folder: Path) -> Iterator[JournalIndex]:
    """The journal's index to look things up in, made aside: a run that is under way is not disturbed."""
    with tempfile.TemporaryDirectory() as scratch:
        place = settings.journal or str(folder / "journal")
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
    cost = "unknown: the endpoints have no price" if plan["cost_usd"] is None else f"about {plan['cost_usd']:,.2f} USD"
    lines = [
        f"pairs {plan['pairs']:,}; samples {plan['samples_due']:,}, {plan['in_journal']:,} of them in the journal, "
        f"{plan['to_ask']:,} to ask" + (f", {plan['no_room']:,} pairs leave no room" if plan["no_room"] else ""),
        f"prompt tokens {plan['prompt_tokens']:,} ({basis['prompt_tokens']}), "
        f"completion tokens {plan['completion_tokens']:,} ({basis['completion_tokens']})",
        f"cost {cost}, {plan['spent_usd']:,.2f} USD already spent",
        f"time about {max(plan['seconds'] / 60, 1):,.0f} min ({basis['seconds']}, all streams busy)",
    ]
    if plan["samples_then"]:
        lines.append(f"pairs in doubt are asked again: at most {plan['samples_then']:,} samples more")
    if plan["hosts"]:
        lines.append(f"passages would be sent to {', '.join(plan['hosts'])}")
    return lines
