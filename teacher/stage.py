"""Asks for every pair and sample once and writes a Trace row for each. Called by the pipeline's stage `trace`."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice, zip_longest
from pathlib import Path

from distill.answers import JsonObject
from distill.errors import RunFolderError
from distill.prompts import elicit_hash, is_relevant, teacher_prompt
from distill.records import Answer, Pair, Request, Trace, restored
from distill.store import write_rows
from distill.tables import counted
from distill.verdict_probability import p_relevant
from distill.verdicts import parse_verdict
from distill.written import as_traced
from teacher.agreement import LabelAgreement
from teacher.endpoint import Endpoint
from teacher.index import TRACE, Due, unpriced
from teacher.prices import Price
from teacher.progress import Notify, TeacherProgress
from teacher.redact import MaskCounts
from teacher.requests import Requests
from teacher.session import Session
from teacher.settings import TeacherSettings
from teacher.tokens import Counting
from teacher.verdict_watch import VerdictWatch

NOT_ASKED = "not_asked"
KNOWN, NO_LOGPROBS, NO_PLACE = "known", "without log-probabilities", "whose word is not among them"
_UPLOAD = "/runtime_resources/working_dir_files/"


def trace(
    pairs: Iterable[Pair],
    settings: TeacherSettings,
    folder: Path,
    *,
    endpoints: list[Endpoint] | None = None,
    base_url: str | None = None,
    notify: Notify | None = None,
    total: int | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
) -> JsonObject:
    """Ask for `pairs` and write the Trace rows of `folder` (the manifest is the caller's); returns the counts.

    Answers of earlier sessions, journalled in `folder/journal`, are not asked again. `base_url` or `endpoints`
    replace the settings' endpoints without changing what was asked. `total` is the number of pairs, where it is known.
    Raises EndpointError (preflight refused, or no reasoning in any answer), ConfigError (a key's variable is not
    set), RunFolderError (a Ray job's upload), Stopped (budget reached, teacher away: the same call goes on from there).
    """
    refuse_upload(folder)
    if base_url is not None:
        endpoints = [Endpoint(base_url=base_url, model=settings.teacher_name, price=Price())]
    began = time.monotonic()
    if not settings.asks:
        return _import(pairs, settings, folder, began, TeacherProgress(notify, None, quiet).say)
    due = settings.sampled.first * total if total else None
    progress = TeacherProgress(notify, due, quiet)
    with Session(settings, folder, endpoints=endpoints, retry_failed=retry_failed, progress=progress) as session:
        session.verdicts = VerdictWatch(settings)
        plan = SamplePlan(settings, session)
        requests = plan.requests(pairs)
        for request_id in session.finished(requests, reasoning=settings.elicit == "native"):
            plan.finished(request_id)
        if text := plan.agreement.at_the_end():
            session.say(text)
        rows = TraceCounts(settings)
        written = write_rows(folder, rows.traces(session.index.expected()), Trace, presorted=True)
        if text := rows.unsaid():
            session.say(text)
        spent = session.index.spent(TRACE)
        asked = {
            "asked_now": session.asked_now,
            "reused": session.index.reused(),
            "cost_usd": round(spent.usd, 6),
            **unpriced(spent),
            "unusable_cost_usd": round(spent.unusable_usd, 6),
            "unusable_tokens": spent.unusable_tokens,
            "preflight_tokens": session.index.preflight_tokens,
            "faults": dict(session.faults.most_common()),
            "unreadable_now": session.verdicts.unreadable,
            "unknown_finishes": dict(session.unknown_finishes.most_common()),
            "hosts": sorted({endpoint.host for endpoint in session.endpoints}),
            **({"masked": masked} if (masked := plan.masked.counts()) else {}),
            "seconds": round(time.monotonic() - began, 2),
        }
    return {"pairs": plan.pairs, **rows.counts(), **asked, **written}


def _import(
    pairs: Iterable[Pair], settings: TeacherSettings, folder: Path, began: float, say: Callable[[str], None]
) -> JsonObject:
    rows, seen = TraceCounts(settings), Counter[str]()
    place = settings.import_.path if settings.import_ else settings.source
    unknown = f"{NOT_ASKED}: {place} holds no trace of this pair"
    folder.mkdir(parents=True, exist_ok=True)
    source = settings.made_source()

    def traces() -> Iterator[Trace]:
        for pair, sample, answer in source.imported(pairs, folder / ".import.sqlite"):
            seen["pairs"] += sample == 0
            yield rows.trace(pair.pair_id, sample, answer or Answer("", finish_reason="error", error=unknown))

    written = write_rows(folder, traces(), Trace, presorted=True)
    for note in source.notes:
        say(f"  {note}")
    asked = {"asked_now": 0, "cost_usd": 0.0, "unusable_cost_usd": 0.0, "faults": {}, "hosts": []}
    return {
        **seen,
        **source.row_counts,
        **rows.counts(),
        **asked,
        "seconds": round(time.monotonic() - began, 2),
        **written,
    }


def refuse_upload(folder: str | Path) -> None:
    """Raise RunFolderError for a folder within Ray's temporary copy of a job's working directory."""
    if "://" not in str(folder) and _UPLOAD in str(Path(folder).resolve()):
        raise RunFolderError(
            f"{folder}: lies in Ray's temporary copy of the working directory, which goes with the job; "
            "name a folder on storage that all nodes share, as --out /shared/runs/NAME"
        )


class SamplePlan:
    """Which samples of which pairs are asked: the first ones, then more of those in doubt."""

    def __init__(self, settings: TeacherSettings, session: Session) -> None:
        self._settings, self._session = settings, session
        self._request, self._samples = Requests(settings), settings.sampled
        self._count = Counting(settings)
        self._open: dict[str, tuple[Pair, set[str]]] = {}
        self._pairs_of: dict[str, list[str]] = {}
        self._more: deque[Request] = deque()
        self.agreement = LabelAgreement(settings)
        self.masked = MaskCounts(settings.redact)
        self.pairs = 0

    def requests(self, pairs: Iterable[Pair]) -> Iterator[Request | None]:
        """The requests of all pairs, follow-ups between them; None while a follow-up may still come.

        As many pairs as are in flight are asked for their first sample, then for their second: a server that keeps the
        prompts it has read (llama.cpp's slots, a provider's cache) has read each when it comes again.
        """
        rest, together = iter(pairs), self._settings.concurrency if self._samples.first > 1 else 1
        while block := list(islice(rest, together)):
            self.pairs += len(block)
            asked = [self._ask(pair, range(self._samples.first)) for pair in block]
            for request in chain.from_iterable(zip_longest(*asked)):
                if request is not None:  # of a pair that is not asked
                    yield request
                while self._more:
                    yield self._more.popleft()
        while self._open or self._more:
            yield self._more.popleft() if self._more else None

    def finished(self, request_id: str) -> None:
        """Take note of an answer; the last of a pair's first samples decides whether more are asked."""
        if self.agreement.awaits(request_id):
            text = self.agreement.see(request_id, self._session.index.answer(request_id))
            if text:
                self._session.say(text)
        for pair_id in self._pairs_of.pop(request_id, ()):
            pair, left = self._open[pair_id]
            left.discard(request_id)
            if left:
                continue
            del self._open[pair_id]
            if self._in_doubt(pair):
                more = range(self._samples.first, self._samples.first + self._samples.then)
                self._more.extend(self._ask(pair, more, follow=False))

    def _ask(self, pair: Pair, samples: range, follow: bool = True) -> list[Request]:
        requests = self._requests(pair, samples)
        if follow:
            self.masked.add(requests[0].masked)
            self._session.index.note_masked(pair.pair_id, requests[0].restores)
        room = self._count.has_room(requests[0].messages[0]["content"])
        note = None if room else f"{NOT_ASKED}: the prompt leaves no room for reasoning"
        self._session.index.expect((pair.pair_id, r.sample, r.request_id, note) for r in requests)
        if note:
            return []
        if follow:
            self.agreement.expect(requests[0].request_id, pair)
        if follow and self._samples.then:
            self._open[pair.pair_id] = pair, {r.request_id for r in requests}
            for request in requests:
                self._pairs_of.setdefault(request.request_id, []).append(pair.pair_id)
        return requests

    def _requests(self, pair: Pair, samples: range) -> list[Request]:
        settings = self._settings
        content = teacher_prompt(pair.query, pair.passage, pair.instruction, settings.prompt, settings.elicit)
        return [self._request(content, sample) for sample in samples]

    def _in_doubt(self, pair: Pair) -> bool:
        prompt = self._settings.prompt
        ids = (request.request_id for request in self._requests(pair, range(self._samples.first)))
        answers = [self._session.index.answer(request_id) or Answer(request_id) for request_id in ids]
        verdicts = {
            parse_verdict(as_traced(answer, self._settings.elicit, prompt).content, prompt) for answer in answers
        }
        if len(verdicts) > 1 or None in verdicts:
            return True
        calls = {is_relevant(verdict, prompt) for verdict in verdicts if verdict is not None}
        return pair.label is not None and calls != {pair.relevant}


class TraceCounts:
    """Answers as rows, counted."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._name, self._prompt, self._elicit = settings.teacher_name, settings.prompt, settings.elicit
        self._body, self._logprobs = settings.body_identity(), settings.logprobs
        self._kinds: Counter[str] = Counter()
        self._known: Counter[str] = Counter()  # of the readable answers, those whose verdict's probability is known
        self._sums: Counter[str] = Counter()

    def traces(self, expected: Iterable[Due]) -> Iterator[Trace]:
        """One Trace for every expected (pair, sample)."""
        for pair_id, sample, request_id, note, answer, restores in expected:
            missing = Answer(request_id, finish_reason="error", error=note or f"{NOT_ASKED}: no answer was found")
            yield self.trace(pair_id, sample, missing if answer is None else answer, restores)

    def trace(self, pair_id: str, sample: int, answer: Answer, restores: Mapping[str, str] | None = None) -> Trace:
        """An answer as the row of a pair's sample, its verdict read, with the values of `restores` put back."""
        kind = "answered"
        if answer.error is not None:
            self._kinds[answer.error.split(":")[0]] += 1
            kind = NOT_ASKED if answer.error.startswith(NOT_ASKED) else "failed"
        self._sums.update(
            {"samples_due": 1, kind: 1, "prompt_tokens": answer.prompt_tokens}
            | {"completion_tokens": answer.completion_tokens, "estimated": int(answer.estimated)}
        )
        verdict = probability = None
        if answer.error is None:
            answer = as_traced(answer, self._elicit, self._prompt)
            verdict = parse_verdict(answer.content, self._prompt)
        if verdict is not None:
            probability = answer.p_relevant
            if probability is None:
                probability = p_relevant(answer.content, answer.words or (), self._prompt)
            unknown = NO_LOGPROBS if answer.words is None else NO_PLACE
            self._known[unknown if probability is None else KNOWN] += 1
        return Trace(
            pair_id,
            sample,
            answer.request_id,
            restored(answer.reasoning, restores or {}),
            restored(answer.content, restores or {}),
            verdict,
            answer.finish_reason,
            answer.prompt_tokens,
            answer.completion_tokens,
            answer.cost_usd,
            answer.latency_s,
            self._teacher(answer),
            answer.error,
            answer.estimated,
            probability,
        )

    def unsaid(self) -> str | None:
        """What to say of readable verdicts whose probability was asked for and is not known; None where all are."""
        unknown = self._known.total() - self._known[KNOWN]
        if not self._logprobs or not unknown:
            return None
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self._known.most_common() if reason != KNOWN)
        of = counted(self._known.total(), "readable verdict")
        return f"  teacher.logprobs: {unknown:,} of {of} have no probability ({reasons}); their p_relevant is null"

    def _teacher(self, answer: Answer) -> str:
        """Who was asked and how, as JSON; {} but for the prompt where nobody was."""
        asked: JsonObject = {}
        if answer.request_id and (answer.error is None or not answer.error.startswith(NOT_ASKED)):
            asked = {"name": self._name, "model": answer.model, "endpoint": answer.host}
            asked |= {"sampling": answer.sampling or None, **self._body}
            if self._elicit != "native":
                asked["elicit"] = {self._elicit: elicit_hash(self._prompt, self._elicit)}
        return json.dumps({**asked, "prompt": self._prompt}, sort_keys=True)

    def counts(self) -> JsonObject:
        """What metrics.json says of the stage."""
        names = ("samples_due", "answered", "failed", NOT_ASKED, "prompt_tokens", "completion_tokens", "estimated")
        counts: JsonObject = {name: self._sums[name] for name in names}
        counts["failures"] = dict(self._kinds.most_common())
        if self._logprobs or self._known[KNOWN]:
            counts["verdict_probabilities"] = dict(self._known.most_common())
        return counts
