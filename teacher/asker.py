"""Asking for anything but traces: grades, instructions, synthetic queries, a judge's opinion. Used by the pipeline.

The journal, the budget and the workers are those of the stage `trace`; so an answer that any stage has paid for is
never bought again by another. Packages that ask know `distill.records.Ask` only; the pipeline hands them an `Asker`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.answers import JsonValue
from distill.errors import ConfigError
from distill.records import Answer, Request
from distill.results import Json
from teacher.endpoint import Endpoint
from teacher.index import unpriced
from teacher.prices import Price
from teacher.progress import Notify, TeacherProgress
from teacher.requests import Requests
from teacher.session import Session
from teacher.settings import AskingStage, TeacherSettings
from teacher.stage import refuse_upload


class Asker:
    """The teacher as a callable: `distill.records.Ask`. Made by `asker`."""

    def __init__(self, settings: TeacherSettings, session: Session) -> None:
        self._request, self._session = Requests(settings), session

    def request(self, content: str, *, purpose: str, sample: int = 0, **sampling: JsonValue) -> Request:
        """A Request of one user message. `sampling` goes on top of the configuration's (temperature, max_tokens, ...).

        `purpose` is a word for the journal (`grade`, `instruction`, `query`, `judge`, ...); it is not part of the id.
        Texts of queries and passages belong through `distill.prompts.as_data` first.
        """
        return self._request(content, sample, purpose, sampling)

    def __call__(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """One answer a request, in order of arrival, journalled before it is yielded; known ones are not asked again.

        `requests` is read as there is room, so it may be endless. A request that failed for good is an answer with
        its `error` set. Raises EndpointError (nobody to ask), ConfigError (a key's variable is not set), Stopped
        (budget reached, teacher away): the same requests later go on from there.
        """
        return self._session.ask(requests)

    def counts(self) -> dict[str, Json]:
        """What a stage reports: requests asked now and answered before, and what this stage has been billed in all."""
        session = self._session
        return {
            "asked_now": session.asked_now,
            "known": session.known,
            "failed_now": session.failed_now,
            "tokens": session.index.spent(session.stage).tokens,
            **self.cost(),
            "faults": dict(session.faults.most_common()),
            "hosts": sorted({endpoint.host for endpoint in session.endpoints}),
        }

    def cost(self) -> dict[str, Json]:
        """What this stage has been billed in all, as a stage's counts have it."""
        spent = self._session.index.spent(self._session.stage)
        return {"cost_usd": round(spent.usd, 6), **unpriced(spent)}


@contextmanager
def asker(
    settings: TeacherSettings,
    folder: Path,
    *,
    stage: AskingStage,
    base_url: str | None = None,
    notify: Notify | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
) -> Iterator[Asker]:
    """A session with the teacher for as long as the context lasts; nothing is sent, and no Ray started, before it is
    asked for something that the journal does not hold.

    `folder` holds the journal: the run's `traces`, so that every stage shares journal and budget. `stage` is on whose
    account it goes (`teacher.budgets`). `base_url` replaces the settings' endpoints (the embedded teacher), as
    in `teacher.stage.trace`. One session at a time has a journal: RunFolderError while another has it. ConfigError
    where the settings' teacher cannot be asked (`source: import`).
    """
    refuse_upload(folder)
    if not settings.asks:
        raise ConfigError(
            f"teacher.source: {settings.source} holds traces and can answer nothing else, and {stage} has "
            "something to ask; name endpoints, or switch off what asks"
        )
    progress = TeacherProgress(notify, None, quiet, stage)
    endpoints = None if base_url is None else [Endpoint(base_url=base_url, model=settings.teacher_name, price=Price())]
    with Session(
        settings, folder, endpoints=endpoints, retry_failed=retry_failed, progress=progress, stage=stage
    ) as session:
        yield Asker(settings, session)
