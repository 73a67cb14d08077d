"""What a run's filters get from other packages (teacher, students, tokenizer, sets), and the hash of each.

Used by the stage `filter`; `trace` counts tokens with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import store
from distill.driver_files import as_seen
from distill.errors import DistillError
from distill.pipeline.rounds import Scores, previous
from distill.pipeline.run import Run, dump
from distill.pipeline.sets import HeldOut
from distill.pipeline.sources import base_of
from distill.processes import cores, die_with_parent
from distill.ray_cluster import connect, on_cluster
from distill.records import Ask, Pair, Trace
from distill.results import Json

if TYPE_CHECKING:
    from filters.base import Tools
    from filters.engine.tokens import RowTokens
    from teacher.requests import AsSent

COUNTED_ALONE = 2000  # traces; more are counted by several processes


@contextmanager
def filter_tools(run: Run) -> Iterator[Tools]:
    """The tools that the run's filters need, the teacher among them where one asks: on this stage's account."""
    from filters.engine.cache_keys import used

    before = previous(run)
    with ExitStack() as opened:
        scores = opened.enter_context(closing(Scores(before))) if before else None
        if "ask" not in used(run.config.filters, run.base):
            yield _tools(run, scores)
            return
        from distill.pipeline.pairs import teacher_session

        yield _tools(run, scores, opened.enter_context(teacher_session(run, "filter")))


def _tools(run: Run, scores: Scores | None, ask: Ask | None = None) -> Tools:
    """The rows' tokens are counted now where they were not yet."""
    from filters.base import Tools
    from filters.engine.cache_keys import used

    needed = used(run.config.filters, run.base)
    rows = {**{folder: run.data_hash(folder) for folder in ("pairs", "traces")}, **masking(run)}
    manifest = store.read_manifest(run.traces) or {}
    return Tools(
        ask=ask,
        score=scores if "score" in needed else None,
        row_tokens=row_tokens(run, manifest["result"]) if "row_tokens" in needed else None,
        held_out=HeldOut(run),
        decided=decisions(run),
        base=run.base,
        out=run.folder,
        seed=run.config.seed,
        as_sent=_as_sent(run),
        identity={**tool_hashes(run), "rows": store.fingerprint(rows)},
    )


def tool_hashes(run: Run) -> dict[str, str]:
    """{tool: the hash of what it is made of}, of the tools that the run's filters use."""
    from filters.engine.cache_keys import used

    found = {}
    for name in sorted(used(run.config.filters, run.base)):
        if name == "score":
            before = previous(run)
            found[name] = Scores(before).identity if before else ""
        elif name == "held_out":
            found[name] = store.fingerprint([HeldOut(run).inputs(), dump(run.config.evaluation)["sets"]])
        elif name == "ask":
            found[name] = store.fingerprint(run.config.teacher.identity())
        elif name == "row_tokens":
            found[name] = StudentTokens(run).identity
    return found


def _as_sent(run: Run) -> AsSent | None:
    """Masks pairs as the teacher saw them, where traces hold placeholders; else None."""
    from teacher.requests import AsSent

    teacher = run.config.teacher
    return AsSent(teacher) if teacher.asks and teacher.redact is not None and not teacher.redact.restore else None


def masking(run: Run) -> dict[str, Json]:
    """What decides how pairs are masked for filters, as a setting of the stage; {} where they are not."""
    return {} if _as_sent(run) is None else {"redact": dump(run.config.teacher)["redact"]}


def decisions(run: Run) -> dict[tuple[str, int], dict[str, Any]]:
    """What people decided in the trace viewer: {(pair_id, sample): {action, label, note, time}}."""
    from distill.report.adjudication import Adjudications

    return Adjudications(run.traces.parent).read()  # an earlier round's are the run's


# --- tokens ----------------------------------------------------------------------------------------------------------


class StudentTokens:
    """Counts training rows as `sft` encodes them, in any process."""

    def __init__(self, run: Run) -> None:
        self.base, self.sft, self.prompt = base_of(run), run.config.sft, run.config.prompt
        self._tokenizer: Any = None

    @property
    def identity(self) -> str:
        """What the counts depend on, apart from the rows."""
        folder = Path(self.base)
        files = sorted(p for p in folder.glob("*") if p.is_file() and ("token" in p.name or p.suffix == ".txt"))
        hashes = [store.file_hash(path) for path in files]
        return store.fingerprint([self.base, self.sft.revision, self.sft.think_tokens, self.prompt, hashes])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokenizer": None}

    def __call__(self, rows: Sequence[tuple[Pair, Trace]]) -> list[int]:
        """Tokens of prompt, reasoning, verdict (either has one) and end-of-text."""
        from distill.prompts import completion, prompt_ids, student_prompt
        from sft.student import load_tokenizer

        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.base, self.sft)
        prompts = [student_prompt(p.query, p.passage, p.instruction, self.prompt) for p, _ in rows]
        texts = [completion("think", trace.reasoning, 1) for _, trace in rows]
        before = prompt_ids(self._tokenizer, prompts)
        after = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [len(ids) + len(more) + 1 for ids, more in zip(before, after, strict=True)]


def row_tokens(run: Run, traces: Mapping[str, Any]) -> RowTokens:
    """The counts of the run's traces by its students' tokenizer, made where they are not there yet, then kept.

    `traces` is what the manifest says of the traces. Raises ConfigError where the tokenizer cannot be loaded.
    """
    from filters.engine.tokens import RowTokens, count_rows

    count = StudentTokens(run)
    rows = store.fingerprint([run.data_hash("pairs"), traces["data_hash"], count.identity])
    file = run.traces / "tokens" / f"{rows[:16]}.npy"
    if not file.exists():
        run.say("counting the traces' tokens ...")
        with _processes() if traces["rows"] > COUNTED_ALONE else nullcontext(None) as pool:
            count_rows(str(run.pairs), str(run.traces), file, count, pool)
        for old in file.parent.glob("*.npy"):
            if old != file:
                old.unlink()
    return RowTokens(as_seen(file))


def count_when_written(run: Run, traces: Mapping[str, Any]) -> None:
    """Count the tokens of traces that have just been written, where a filter is going to ask for them.

    A tokenizer that cannot be loaded is no fault of the traces: the filter says it.
    """
    from filters.engine.cache_keys import used

    if "row_tokens" in used(run.config.filters, run.base):
        with suppress(DistillError):
            row_tokens(run, traces)


def _processes() -> AbstractContextManager[Executor]:
    import multiprocessing

    return ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn"), die_with_parent)


def cluster(tools: Tools) -> Executor | None:
    """The Ray cluster that this process is a job of, for the row filters; None on one machine."""
    if not on_cluster():
        return None
    from filters.engine.ray_data import OnRay

    connect(cores(), "filter")
    return OnRay(tools.score.close) if isinstance(tools.score, Scores) else OnRay()
