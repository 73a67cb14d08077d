"""Many questions to the teacher in one call, answered by the caller's own keys in whatever order answers arrive."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

from distill.pairs.generation.settings import GenerationSettings
from distill.records import Ask, Request, restored

Key = TypeVar("Key", bound=Hashable)


def contents(
    ask: Ask, settings: GenerationSettings, purpose: str, items: Iterable[tuple[Key, str]], counts: Counter[str]
) -> dict[Key, list[str]]:
    """{key: what the teacher answered, one text a sample}, in the order of `items` and of the samples.

    Answers that failed or were cut off are left out and counted as `failed`. Held: the answers' texts, without their
    reasoning. Raises whatever `ask` raises (Stopped: the next call goes on from there).
    """
    waiting: dict[str, list[tuple[Key, Request]]] = {}
    answers: dict[Key, dict[int, str]] = {}

    def requests() -> Iterator[Request]:
        for key, content in items:
            answers.setdefault(key, {})
            for sample in range(settings.samples):
                request = ask.request(
                    content,
                    purpose=purpose,
                    sample=sample,
                    temperature=settings.temperature,
                    max_tokens=settings.max_tokens,
                )
                waiting.setdefault(request.request_id, []).append((key, request))
                yield request

    for answer in ask(requests()):
        for key, request in waiting.pop(answer.request_id, ()):
            counts["asked"] += 1
            if answer.error is not None or answer.finish_reason == "length" or not answer.content.strip():
                counts["failed"] += 1
            else:
                values = {name: json.dumps(value)[1:-1] for name, value in request.restores.items()}
                answers[key][request.sample] = restored(
                    answer.content, values
                )  # which is JSON, where texts are written
    return {key: [texts[sample] for sample in sorted(texts)] for key, texts in answers.items()}
