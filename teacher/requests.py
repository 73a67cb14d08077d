"""Makes every request to the teacher, with what `teacher.redact` masks. For the stage, the asker and the estimate.

`AsSent` masks pairs as the requests do, for filters that compare a trace that holds placeholders with its pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from distill.answers import JsonValue
from distill.prompts import teacher_prompt
from distill.records import Pair, Request, make_request
from teacher.logprobs import ASKED
from teacher.redact import RedactSettings, mask
from teacher.settings import TeacherSettings

TRACE = "trace"  # the purpose of answers that have a verdict to be sure of


class Requests:
    """Requests of one user message each, to the teacher of these settings."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings, self._asked_as = settings, settings.asked_as

    def __call__(
        self, content: str, sample: int = 0, purpose: str = TRACE, sampling: Mapping[str, JsonValue] | None = None
    ) -> Request:
        """The request; `sampling` goes on top of the settings' own, `purpose` is a word for the journal."""
        sampled, redact = self._settings.sampling(sample), self._settings.redact
        if purpose != TRACE:
            sampled = {name: value for name, value in sampled.items() if name not in ASKED}
        if sampling:
            sampled |= sampling
        if redact is None:
            return make_request(self._asked_as, [{"role": "user", "content": content}], sampled, sample, purpose)
        masked = mask(content, redact)
        messages = [{"role": "user", "content": masked.text}]
        request = make_request(self._asked_as, messages, sampled, sample, purpose)
        return replace(request, masked=masked.values, restore=redact.restore)


class AsSent:
    """Pairs with the placeholders that their requests have; the last one is kept, since a pair has several traces."""

    def __init__(self, settings: TeacherSettings) -> None:
        """The settings are of a teacher that masks."""
        self._settings, self._redact = settings, settings.redact or RedactSettings()
        self._last: tuple[Pair, Pair] | None = None

    def __call__(self, pair: Pair) -> Pair:
        """The pair, its texts masked."""
        if self._last is None or self._last[0] is not pair:
            settings = self._settings
            content = teacher_prompt(pair.query, pair.passage, pair.instruction, settings.prompt, settings.elicit)
            values = mask(content, self._redact).values
            query, passage = (mask(text, self._redact, values).text for text in (pair.query, pair.passage))
            instruction = pair.instruction and mask(pair.instruction, self._redact, values).text
            self._last = pair, replace(pair, query=query, passage=passage, instruction=instruction)
        return self._last[1]
