"""Makes every request to the teacher, with what `teacher.redact` masks. For the stage, the asker and the estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from distill.answers import JsonValue
from distill.records import Request, make_request
from teacher.redact import mask
from teacher.settings import TeacherSettings


class Requests:
    """Requests of one user message each, to the teacher of these settings."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings, self._asked_as = settings, settings.asked_as

    def __call__(
        self, content: str, sample: int = 0, purpose: str = "trace", sampling: Mapping[str, JsonValue] | None = None
    ) -> Request:
        """The request; `sampling` goes on top of the settings' own, `purpose` is a word for the journal."""
        sampled, redact = self._settings.sampling(sample), self._settings.redact
        if sampling:
            sampled |= sampling
        if redact is None:
            return make_request(self._asked_as, [{"role": "user", "content": content}], sampled, sample, purpose)
        masked = mask(content, redact)
        messages = [{"role": "user", "content": masked.text}]
        request = make_request(self._asked_as, messages, sampled, sample, purpose)
        return replace(request, masked=masked.values, restore=redact.restore)
