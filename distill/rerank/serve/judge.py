"""A checked request judged by the student that it names, or refused with a reason. For the routes and for MCP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

from distill.errors import InputError
from distill.records import Judgement, Pair, make_pair
from distill.rerank.serve.answers import explained, ranked
from distill.rerank.serve.engine_thread import RETRY_AFTER_S, Busy, EngineFailed
from distill.rerank.serve.faults import Refused
from distill.rerank.serve.schemas import Asked, ExplainRequest, QueryAndPassage, RerankBody
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.students import Cut, Served, Students
from distill.rerank.serve.tracing import judging
from distill.rerank.student_format import WRITES_NOTHING

Judged = tuple[Served, list[Judgement]]
Wait = Callable[[Awaitable[list[Judgement]], float], Awaitable[list[Judgement]]]
"""Waits for the judgements at most so many seconds. Raises TimeoutError."""


async def judged(
    students: Students,
    settings: ServeSettings,
    asked: Asked,
    began: float,
    client: str = "",
    explain: bool = False,
    wait: Wait = asyncio.wait_for,
) -> Judged:
    """The student that a request is for, and its judgements in the order given; `began` is `time.monotonic` at its
    arrival. Raises Refused, and what `wait` raises other than TimeoutError."""
    pairs = asked.pairs()
    _check_sizes(asked, pairs, settings)
    try:
        with students.named(asked.model) as student:
            served = student.served
            if explain and not served.writes:
                raise Refused(422, f"there is nothing to explain: {WRITES_NOTHING}")
            if asked.mode not in (None, served.mode):
                raise Refused(
                    422, f"mode {asked.mode!r} is not served here; this server answers in mode {served.mode!r}"
                )
            rows = await rows_of(asked, pairs, served.cut)
            left = settings.timeout_s - (monotonic() - began)
            with judging(served.name, len(rows), asked.budget_ms) as note:
                work = student.judge(asked, rows, client, served.explain_plan if explain else None, began)
                judgements = await wait(work, left)
                note(judgements)
    except TimeoutError:
        raise Refused(504, f"not answered within {settings.timeout_s:g} s; send fewer or shorter documents") from None
    except Busy as error:
        raise Refused(429, str(error), {"Retry-After": str(RETRY_AFTER_S)}) from None
    except EngineFailed as error:
        raise Refused(503, str(error)) from None
    except InputError as error:
        raise Refused(422, str(error)) from None
    return served, judgements


def rerank_answer(asked: RerankBody, found: Judged, version: int, request_id: str = "") -> dict[str, Any]:
    """The answer of the rerank protocols, with warnings of what had no effect."""
    served, judgements = found
    return ranked(
        asked,
        judgements,
        served.name,
        version,
        served.fusion,
        calibrated=served.calibrated,
        request_id=request_id,
        warnings=_without_effect(asked, served),
    )


def explain_answer(asked: ExplainRequest, found: Judged) -> dict[str, Any]:
    """The judgement of one pair, with its reasoning."""
    served, (judgement,) = found
    return explained(asked, judgement, served.name)


def _check_sizes(asked: Asked, pairs: Sequence[QueryAndPassage], settings: ServeSettings) -> None:
    if len(pairs) > settings.max_documents:
        raise Refused(413, f"{len(pairs)} documents; at most {settings.max_documents} are taken here")
    texts = {"document": [pair.passage for pair in pairs], "query": [pair.query for pair in pairs]}
    for what, of_kind in {**texts, "instruction": [asked.instruction or ""]}.items():
        longest = max(map(len, of_kind))
        if longest > settings.max_characters:
            limit = settings.max_characters
            raise Refused(413, f"a {what} of {longest:,} characters; at most {limit:,} are taken here")


async def rows_of(asked: Asked, pairs: Sequence[QueryAndPassage], cut: Cut | None) -> list[Pair]:
    """The pairs as the engine takes them, each query under a number of its own; cut where the request says so."""
    numbers: dict[str, str] = {}
    rows = [
        make_pair(
            numbers.setdefault(pair.query, str(len(numbers))), str(at), pair.query, pair.passage, asked.instruction
        )
        for at, pair in enumerate(pairs)
    ]
    if cut is None or not _cuts(asked):
        return rows
    whole = asked.truncate_prompt_tokens if (asked.truncate_prompt_tokens or 0) > 0 else None
    return await asyncio.to_thread(cut, rows, asked.max_tokens_per_doc, whole)


def _cuts(asked: Asked) -> list[str]:
    """The keys by which a request has its documents cut."""
    values = {"max_tokens_per_doc": asked.max_tokens_per_doc, "truncate_prompt_tokens": asked.truncate_prompt_tokens}
    return [name for name, value in values.items() if value is not None]


def _without_effect(asked: Asked, served: Served) -> list[str]:
    """What a request asks for, and this student's engine cannot do."""
    names = [] if served.cut is not None else _cuts(asked)
    names += ["budget_ms"] if asked.budget_ms is not None and served.timed is None else []
    return [f"{name} has no effect here" for name in names]
