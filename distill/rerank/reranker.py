"""`Reranker`: a student that takes queries and passages and gives scores with their reasons."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import InputError
from distill.prompts import is_relevant
from distill.records import Judgement, Pair, make_pair
from distill.rerank.backends import backend_of
from distill.rerank.backends.base import Backend, EngineSettings
from distill.rerank.modes import MODES, JudgementPlan, Mode, RawJudgement, TimedPlans, Window, score_of
from distill.rerank.repetition import LOOPS, Loops
from distill.rerank.stream import RerankRequest, Stream, groups
from distill.rerank.student_format import LONG, WRITES_NOTHING, Long, usual_mode
from distill.texts import passage_text

if TYPE_CHECKING:
    from distill.rerank.calibration import Calibration

ALIKE_FROM = 8  # so many judgements of one call, all of one score, are no ranking
Document = str | Mapping[str, Any]


class AlikeScores(UserWarning):
    """All scores of a call are the same: a student that collapsed, or a prompt that it was not trained with."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document in its new place: its index in the list given, its score in [0, 1], and the judgement behind."""

    index: int
    score: float
    document: Document
    judgement: Judgement


class Reranker:
    """A student that judges pairs: score = P(true) / (P(true) + P(false)) at the position after `</think>` (Rank1).

    Modes, by default the one that the student was trained for: `think` reasons first, as Rank1 does; `direct` prefills
    an empty block, one token a pair; `verdict_first` reads the verdict likewise, and with `explanations` lets the
    student write its reasons after it; `budget` reasons for at most `budget` tokens; `adaptive` answers directly and
    thinks only where that is unsure (`window`).
    Reasoning that does not end is cut at its last sentence, closed and forced, as Rank1 does it, and counted.

    `max_new_tokens` bounds the reasoning, and half of the context does where that is less. By default it is twice the
    student's longest training trace, 8,192 (Rank1's) where that is not known. A text that begins to repeat itself is
    ended and its verdict forced, unless `loops` is "run"; a server other than vLLM lets it run. With `samples` > 1, so
    many traces are drawn at `temperature` and their scores averaged; else decoding is greedy. A passage too long for
    the context is treated as `long` says: `cut` (its first part stays), `split` (the best part counts) or `refuse`.
    Graded students score by their expected grade over the highest; their verdict says whether it counts as relevant.
    Scores are calibrated where the student's folder holds a calibration.json for the mode; margins never are.
    Raises InputError for what cannot be loaded or scored.
    """

    def __init__(
        self,
        model: str | Path | Backend,
        mode: Mode | None = None,
        backend: str = "auto",
        *,
        batch: int | None = None,
        max_new_tokens: int | None = None,
        budget: int = 256,
        samples: int = 1,
        temperature: float = 0.6,
        seed: int = 0,
        explanations: bool = False,
        loops: Loops = "stop",
        long: Long = "cut",
        prompt: str | None = None,
        calibration: str | Calibration | None = "auto",
        window: Window | None = None,
        device: str | None = None,
        dtype: str | None = None,
        base_url: str | None = None,
        api_key_env: str | None = None,
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        model = str(model) if isinstance(model, Path) else model
        mode = mode or (usual_mode(model) if isinstance(model, str) else "think")
        check_arguments(mode, long, samples, temperature, max_new_tokens, budget, batch)
        if loops not in LOOPS:
            raise InputError(f"loops {loops!r} is none of {', '.join(LOOPS)}")
        if isinstance(model, str):
            settings = EngineSettings(batch, prompt, device, base_url, api_key_env, dict(engine or {}), dtype)
            self.backend: Backend = backend_of(model, backend, settings)
            self.name = model
        else:
            self.backend, self.name = model, model.name
        if mode != "direct" and not self.backend.form.writes:
            raise InputError(f"{self.name}: mode {mode}: {WRITES_NOTHING}")
        self.mode, self.long = mode, long
        self.curve = f"budget:{budget}" if mode == "budget" else mode  # by which its calibration is named
        self.calibration = _calibration(calibration, model)
        if mode == "adaptive" and self.calibration and (first := self.calibration.made_from.get("first")):
            raise InputError(
                f"{self.name}: its mode adaptive was calibrated with {first['model']} asked first, which only `distill "
                "rerank --first` does; calibrate it anew without --first"
            )
        bound = budget if mode == "budget" else max_new_tokens or self.backend.form.bound
        limit = min(bound, self.backend.form.context // 2)
        chosen = window or (self.calibration.window if self.calibration else None)
        self.window_chosen = chosen is not None
        self.plan = JudgementPlan(mode, limit, samples, temperature, seed, explanations, chosen or Window(), loops)
        self.counts: Counter[str] = Counter()

    @property
    def context(self) -> int:
        """How many tokens the student reads and writes at most."""
        return self.backend.form.context

    def rank(
        self, query: str, documents: Sequence[Document], instruction: str | None = None, top_k: int | None = None
    ) -> list[Ranked]:
        """The documents, best first; equal margins stay in the order given.

        A document is a text, or a mapping with `text` and maybe `title`, joined by a space as in training.
        """
        pairs = [make_pair("0", str(at), query, text_of(each), instruction) for at, each in enumerate(documents)]
        found = [Ranked(at, j.score, documents[at], j) for at, j in enumerate(self.predict(pairs))]
        found.sort(key=lambda each: -each.judgement.margin)
        return found[:top_k]

    def predict(self, pairs: Sequence[Pair | tuple[str, ...]]) -> list[Judgement]:
        """One judgement a pair, in the order given; a pair is a Pair or (query, passage[, instruction])."""
        rows = [p if isinstance(p, Pair) else make_pair("0", str(at), *p) for at, p in enumerate(pairs)]
        return [each for each in self.judge(rows) if each is not None]

    def explain(self, query: str, document: Document, instruction: str | None = None) -> Judgement:
        """The judgement of one pair with its reasoning: a student of mode direct thinks here."""
        pair = make_pair("0", "0", query, text_of(document), instruction)
        return next(each for each in self.judge([pair], plan=self.explain_plan()) if each is not None)

    def explain_plan(self) -> JudgementPlan:
        """How a pair is judged where its reasoning is wanted, whatever the mode. Raises InputError for an encoder."""
        if not self.backend.form.writes:
            raise InputError(f"{self.name}: {WRITES_NOTHING}")
        mode: Mode = self.mode if self.mode in ("think", "budget", "verdict_first") else "think"
        return replace(self.plan, mode=mode, explanations=True)

    def timed_plans(self) -> TimedPlans:
        """How pairs are judged that have to be judged in time: only a student whose mode thinks is let think."""
        window, calibration = self.plan.window, self.calibration
        if self.mode not in ("think", "budget", "adaptive"):
            return TimedPlans(replace(self.plan, mode="direct", in_order=True), None, window)
        if calibration is not None and (curve := calibration.curves.get("adaptive.direct")):
            window = replace(window, low=curve.log_odds(window.low), high=curve.log_odds(window.high))
        direct = replace(self.plan, mode="direct", in_order=True, part_of="adaptive")
        return TimedPlans(direct, replace(direct, mode="think", gives_way=True), window, self.window_chosen)

    def judge(
        self,
        pairs: Sequence[Pair],
        cancelled: Callable[[int], bool] | None = None,
        notify: Callable[[int, Judgement], None] | None = None,
        plan: JudgementPlan | None = None,
    ) -> list[Judgement | None]:
        """Judgements of pairs of any queries, in the order given.

        `cancelled(i)` is asked between steps about pairs without a judgement; where it says so, the pair is given up
        (in mode adaptive once all of its query's are) and its judgement is None. `notify(i, judgement)` is called as
        each is made. Raises InputError.
        """
        found: list[Judgement | None] = [None] * len(pairs)
        open_: set[int] = set(range(len(pairs)))
        errors: list[BaseException] = []
        requests = self.stream()

        def one(at: int, judgement: Judgement) -> None:
            if at not in open_:
                return
            found[at] = judgement
            open_.discard(at)
            if notify:
                notify(at, judgement)

        def over(error: BaseException | None) -> None:
            if error:
                errors.append(error)

        if cancelled is None:
            requests.submit(pairs, over, one, plan)
        tickets = []
        if cancelled is not None:  # what is judged together is a request by itself, so that it can be given up
            for group in groups(pairs, plan or self.plan, self.backend.by_query):
                alone = [pairs[at] for at in group]
                back = lambda i, judgement, group=group: one(group[i], judgement)  # noqa: E731
                tickets.append((group, requests.submit(alone, over, back, plan)))
        while not errors and requests.step():
            if cancelled is not None:
                open_ -= {at for at in open_ if cancelled(at)}
            for group, ticket in tickets:
                if not ticket.over and open_.isdisjoint(group):
                    requests.cancel(ticket)
        if errors:
            requests.clear()
            raise errors[0]
        self._warn([j for j in found if j is not None])
        return found

    def overlong(self, pairs: Sequence[Pair]) -> dict[str, str]:
        """{query id: why} of the queries that are too long for the student even without a passage.

        `judge` raises InputError for such a query; in a run it is left out, and measures count it as 0.
        """
        room = self.plan.room(self.backend.form)
        reason = f"tokens without a passage, and the student reads {self.context - room}"
        return {q: f"{count:,} {reason}" for q, count in self.backend.form.overlong(pairs, room).items()}

    def readable(self, pairs: Sequence[Pair]) -> tuple[list[Pair], dict[str, str]]:
        """(the pairs without those of overlong queries, {query id: why} of these queries).

        Raises InputError where no pair is left.
        """
        failed = self.overlong(pairs)
        left = [pair for pair in pairs if pair.query_id not in failed]
        if failed and not left:
            raise InputError(f"{self.name}: {failed_text(failed)}; shorten them, or lower the bound on the reasoning")
        return left, failed

    def shortened(self, pairs: Sequence[Pair], passage: int | None = None, prompt: int | None = None) -> list[Pair]:
        """The pairs with passages of at most `passage` tokens, and prompts of at most `prompt`, the first ones kept.

        Raises InputError where a query alone is longer than `prompt`.
        """
        return self.backend.form.shortened(pairs, passage, prompt)

    def stream(self) -> Requests:
        """Requests that come and go, for a server; one thread owns what this returns."""
        return Requests(self)

    def threshold(self, precision: float | None = None, recall: float | None = None) -> float:
        """The score from which on a passage counts as relevant, for the precision or the recall wanted, as measured on
        the development set of the saved calibration. Raises InputError without one, or where it cannot be reached."""
        if self.calibration is None:
            raise InputError(f"{self.name}: has no calibration.json; `distill calibrate` makes it from judged pairs")
        return self.calibration.threshold(self.curve, precision=precision, recall=recall)

    def close(self) -> None:
        """Give the engine's memory back."""
        self.backend.close()

    def judgement(self, pair: Pair, opinion: RawJudgement) -> Judgement:
        """An opinion as a row, calibrated and counted. Raises InputError where its margin is no finite number."""
        if not math.isfinite(opinion.margin):
            raise InputError(
                f"{self.name}: the score of query {pair.query_id}, passage {pair.doc_id} is no number "
                f"({opinion.margin}): weights or activations overflow in this student; merge or train it again in "
                "float32 or bfloat16"
            )
        finish = opinion.how if opinion.how and opinion.finish == "stop" else opinion.finish
        self.counts.update(pairs=1, tokens=opinion.tokens)
        named = {"length": "unfinished", "no_end": "no_end", "budget": "budget", "looped": "looped"}.get(opinion.finish)
        seen = [named, "forced" if named else None, opinion.how, "unparsable" if opinion.verdict is None else None]
        self.counts.update(each for each in seen if each)
        curve = self.curve if opinion.mode == self.mode else opinion.mode
        score = self.calibration.score(curve, opinion.margin) if self.calibration else score_of(opinion.margin)
        return Judgement(
            query_id=pair.query_id,
            doc_id=pair.doc_id,
            score=score,
            margin=self.calibration.margin(curve, opinion.margin) if self.calibration else opinion.margin,
            verdict=None if opinion.verdict is None else int(is_relevant(opinion.verdict, self.backend.form.prompt)),
            reasoning=self.backend.form.reasoning(opinion.ids),
            mode=opinion.mode,
            tokens=opinion.tokens,
            finish_reason=finish,
        )

    def _warn(self, judgements: list[Judgement]) -> None:
        message = alike(self.name, judgements)
        if message:
            warnings.warn(message, AlikeScores, stacklevel=3)


def check_arguments(
    mode: str, long: str, samples: int, temperature: float, max_new_tokens: int | None, budget: int, batch: int | None
) -> None:
    """Raise InputError for arguments that cannot be, whatever the student."""
    if mode not in MODES:
        raise InputError(f"mode {mode!r} is none of {', '.join(MODES)}")
    if long not in LONG:
        raise InputError(f"long {long!r} is none of {', '.join(LONG)}")
    counted = {"samples": samples, "max_new_tokens": max_new_tokens, "budget": budget, "batch": batch}
    for what, number in counted.items():
        if number is not None and number < 1:
            raise InputError(f"{what} {number}: at least 1")
    if samples > 1 and temperature <= 0:
        raise InputError(f"samples {samples} at temperature {temperature} would all be the same; raise it above 0")


def alike(student: str, judgements: Sequence[Judgement]) -> str | None:
    """What to say where all scores are the same; None where they are not, or are few."""
    margins = [judgement.margin for judgement in judgements]
    if len(margins) < ALIKE_FROM or max(margins) - min(margins) >= 1e-3:
        return None
    return f"{student}: all {len(margins)} scores are {judgements[0].score:.4f}; this ranks nothing"


def failed_text(failed: Mapping[str, str]) -> str:
    """What to say of queries that are too long to be read (`Reranker.overlong`): how many, which, and what follows."""
    query, reason = next(iter(failed.items()))
    if len(failed) == 1:
        return f"query {query} is too long ({reason}); it is not judged, and counts 0"
    some = ", ".join(list(failed)[:5]) + (", ..." if len(failed) > 5 else "")
    return f"{len(failed):,} queries are too long ({query}: {reason}); they are not judged, and count 0: {some}"


class Requests:
    """Requests through one reranker, for a server. One thread owns it; see `Stream` for the order of service."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self._stream = Stream(reranker.backend, reranker.long)

    @property
    def running(self) -> int:
        """Rows that are with the engine."""
        return self._stream.running

    @property
    def waiting(self) -> int:
        """Pairs without a judgement."""
        return self._stream.waiting

    @property
    def tokens_read(self) -> int:
        """Tokens of all prompts that the engine was given."""
        return self._stream.tokens_read

    def submit(
        self,
        pairs: Sequence[Pair],
        done: Callable[[BaseException | None], None],
        one: Callable[[int, Judgement], None] | None = None,
        plan: JudgementPlan | None = None,
    ) -> RerankRequest:
        """Take a request in; `one(i, judgement)` as each pair is judged, `done(None)` or `done(error)` at the end."""

        def found(at: int, opinion: RawJudgement) -> None:
            judgement = self._reranker.judgement(pairs[at], opinion)
            if one:
                one(at, judgement)

        return self._stream.submit(pairs, plan or self._reranker.plan, found, done)

    def cancel(self, ticket: RerankRequest) -> None:
        """Forget a request; nothing of it is called any more."""
        self._stream.cancel(ticket)

    def clear(self) -> None:
        """Forget all requests."""
        self._stream.clear()

    def step(self) -> bool:
        """One step of the engine on all requests; False where there is nothing to do."""
        return self._stream.step()


def text_of(document: Document) -> str:
    """A document's text, after its title where it has one. Raises InputError where it has none, or a title is none."""
    if isinstance(document, str):
        return document
    text, title = document.get("text"), document.get("title")
    if not isinstance(text, str):
        raise InputError(f"a document is a text or has a key text; this has {', '.join(document) or 'no keys'}")
    try:
        return passage_text(title, text)
    except TypeError as error:
        raise InputError(f"a document's title: {error}") from None


def _calibration(wanted: str | Calibration | None, model: str | Backend) -> Calibration | None:
    from distill.rerank.calibration import FILE, Calibration, read

    if wanted is None or isinstance(wanted, Calibration):
        return wanted
    if wanted != "auto":
        return read(Path(wanted))
    path = Path(model) / FILE if isinstance(model, str) else None
    return read(path) if path is not None and path.is_file() else None
