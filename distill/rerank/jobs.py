"""What the scorer is given: a student and how it is asked, the pairs, and what makes two judgements the same."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from distill import store
from distill.plugins import external_hash, is_external
from distill.records import Judgement, Pair, digest
from distill.rerank.backends import BACKENDS, backend_name, backend_of
from distill.rerank.backends.base import Backend, EngineSettings
from distill.rerank.calibration import FILE, Calibration, read
from distill.rerank.settings import Dtype, ScoringSettings
from distill.rerank.student_format import Long, reasoning_bound
from distill.texts import clean_text

if TYPE_CHECKING:
    from distill.rerank.modes import Mode
    from distill.rerank.progress import Progress
    from distill.rerank.reranker import Reranker

WEIGHTS = (".safetensors", ".bin")
READ = (*WEIGHTS, ".json", ".txt", ".model", ".jinja")
NOT_THE_STUDENT = (FILE, store.MANIFEST, "job.json", "result.json")  # of a student's folder, what scores nothing
Weights = str | Mapping[str, str | list[int]]
"""A hub model's name and commit, or {file: SHA-256, or size and time} of a folder."""


@dataclass(frozen=True, slots=True)
class Student:
    """A student and how it is asked; a worker makes a `Reranker` of it. `mode` may name its bound, as `budget:64`.

    `first` gives the direct answers of mode adaptive in its place: an encoder, or another student of mode direct.
    """

    model: str
    mode: str = "think"
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    max_new_tokens: int | None = None
    budget: int = 256
    samples: int = 1
    temperature: float = 0.6
    seed: int = 0
    explanations: bool = False
    long: Long = "cut"
    prompt: str | None = None
    calibration: str | None = None
    device: str | None = None
    first: Student | None = None

    @property
    def loads(self) -> tuple[str, ...]:
        """What has to be the same for two students to share one engine."""
        return (self.model, self.prompt or "", self.device or "", self.scoring.model_dump_json())

    @property
    def backend(self) -> str:
        """The backend's name, that of `auto` on this machine, `encoder` for a cross-encoder.

        Raises InputError for an unknown one."""
        return backend_name(self.scoring.backend, self.scoring.base_url, self.model)

    def resolved(self) -> Student:
        """The student with backend and dtype as this machine, or the cluster, has them; its own bound without one."""
        from distill.rerank.backends.loading import device_of, dtype_of
        from distill.rerank.ray_workers import gpus_of_cluster

        remote = self.device is None and gpus_of_cluster() > 0
        backend, dtype = self.backend, self.scoring.dtype
        if remote and backend == "transformers" and self.scoring.backend == "auto" and find_spec("vllm"):
            backend = "vllm"
        if is_external(backend):
            BACKENDS.load(backend)  # refused by the name that was given
            backend = os.path.abspath(backend)  # an actor works in another folder
        if backend in ("transformers", "encoder"):
            dtype = cast("Dtype", dtype_of(self.model, "cuda" if remote else device_of(self.device).type, dtype))
        bound = self.max_new_tokens or reasoning_bound(self.model)
        scoring = self.scoring.model_copy(update={"backend": backend, "dtype": dtype})
        first = self.first.resolved() if self.first else None
        return replace(self, max_new_tokens=bound, scoring=scoring, first=first)

    def start(self) -> Backend:
        """Its engine, ready for tasks. Raises InputError where it cannot be run."""
        given = self.scoring
        engine = dict(given.engine)
        if given.gpus_per_actor > 1:
            engine.setdefault("tensor_parallel_size", given.gpus_per_actor)
        settings = EngineSettings(
            given.batch,
            self.prompt,
            self.device,
            given.base_url,
            given.api_key_env,
            engine,
            None if given.dtype == "auto" else given.dtype,
        )
        return backend_of(self.model, given.backend, settings)

    def reranker(self, backend: Backend | None = None) -> Reranker:
        """The student, loaded or on a backend that has loaded it. Raises InputError as `Reranker` does."""
        from distill.rerank.reranker import Reranker

        kind, _, bound = self.mode.partition(":")
        reranker = Reranker(
            backend or self.start(),
            cast("Mode", kind),
            max_new_tokens=self.max_new_tokens,
            budget=int(bound or self.budget),
            samples=self.samples,
            temperature=self.temperature,
            seed=self.seed,
            explanations=self.explanations,
            loops=self.scoring.loops,
            long=self.long,
            calibration=None,
        )
        reranker.name = self.model
        return reranker

    @property
    def reads(self) -> bool:
        """Whether it reads its verdict, and writes nothing."""
        return self.mode == "direct" or (self.mode == "verdict_first" and not self.explanations)

    @property
    def curve(self) -> str:
        """By which name its calibration has a curve for this mode; a budget belongs to it."""
        return f"budget:{self.budget}" if self.mode == "budget" else self.mode

    def curves(self) -> Calibration | None:
        """Its calibration, where it has one."""
        return read(Path(self.calibration)) if self.calibration else None

    def identity(self, weights: Weights) -> str:
        """The hash of all that decides a judgement of this student, apart from the pair and the calibration."""
        kind, _, bound = self.mode.partition(":")
        of: dict[str, Any] = {"weights": weights, "mode": kind, "long": self.long, "prompt": self.prompt}
        of |= {"backend": backend_identity(self.scoring), "dtype": self.scoring.dtype, "engine": self.scoring.engine}
        if self.scoring.base_url:
            of["base_url"] = self.scoring.base_url
        if not self.reads:
            of["bound"] = int(bound or self.budget) if kind == "budget" else self.max_new_tokens
            of["explanations"] = self.explanations
            of |= {} if self.scoring.loops == "stop" else {"loops": self.scoring.loops}
        if not self.reads and self.samples > 1:
            of |= {"samples": self.samples, "temperature": self.temperature, "seed": self.seed}
        return store.fingerprint(of)[:32]


@dataclass(frozen=True, slots=True)
class Job:
    """Let `student` judge `pairs`, for the system `name` of reports and progress.

    `identity` is `Student.identity` of `weights`. `part`: others of the same follow, so all of its queries may be too
    long; `progress`, where it is given, goes on from one to the next.
    """

    name: str
    student: Student
    pairs: Sequence[Pair]
    identity: str
    weights: Weights
    part: bool = False
    progress: Progress | None = None

    def asked(self, mode: str, places: Sequence[int]) -> Job:
        """The same student asked in another mode, uncalibrated, about the pairs at these places; the student that is
        asked first, where that is another, in mode direct."""
        pairs = [self.pairs[at] for at in places]
        if mode == "direct" and self.student.first is not None:
            first = self.student.first
            return job_of(self.name, first, pairs, weights_by_hash(first.model), part=True)
        student = replace(self.student, mode=mode, calibration=None, first=None)
        return Job(self.name, student, pairs, student.identity(self.weights), self.weights, part=True)


def job_of(
    name: str, student: Student, pairs: Sequence[Pair], weights: Weights | None = None, part: bool = False
) -> Job:
    """A job for this machine; `weights` are those of the student's folder, by size and time where none are given."""
    student = student.resolved()
    weights = weights or weights_by_time(student.model)
    return Job(name, student, pairs, student.identity(weights), weights, part)


@dataclass(slots=True)
class Judged:
    """What came of a job: judgements in the order of its pairs (None: the query is too long), seconds of compute over
    all processes (of earlier ones too, where the journal has them), and {query id: why it is too long}."""

    name: str
    judgements: list[Judgement | None]
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> list[Judgement]:
        """The judgements that there are."""
        return [each for each in self.judgements if each is not None]


def backend_identity(scoring: ScoringSettings) -> str | dict[str, str]:
    """A built-in backend's name; of an external one the file and class, and the file's SHA-256."""
    name = scoring.backend
    if not is_external(name):
        return backend_name(name, scoring.base_url)
    return {"class": Path(name).name, "sha256": external_hash(name, Path())}


def first_identity(first: Student) -> dict[str, str]:
    """By what a calibration knows the student that mode adaptive asks first: its name, and a hash of its files."""
    return {"model": first.model, "weights": store.fingerprint(weights_by_hash(first.model))[:32]}


def own_calibration(model: str) -> str | None:
    """The calibration in a student's folder, None where it has none."""
    path = Path(model) / FILE
    return str(path) if path.is_file() else None


def student_files(model: str) -> list[Path]:
    """The files of a student's folder that decide its scores; [] for a hub name."""
    folder = Path(model)
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix in READ and p.name not in NOT_THE_STUDENT and p.is_file())


def weights_by_time(model: str) -> Weights:
    """A student's identity without reading it: size and time of its files; a hub name with its commit in the cache."""
    files = student_files(model)
    if not files:
        return _hub(model)
    return {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in files}


def weights_by_hash(model: str, hashes: Mapping[str, str] | None = None) -> Weights:
    """A student's identity by its files' SHA-256, wherever the folder lies; {path: hash} where they are known."""
    files = student_files(model)
    return {p.name: hashes[str(p)] if hashes else store.file_hash(p) for p in files} if files else _hub(model)


def _hub(model: str) -> str:
    """A hub name with the commit that the cache holds, where it holds one."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model, "config.json")
    except HFValidationError:
        return model
    return f"{model}@{os.path.basename(os.path.dirname(cached))}" if isinstance(cached, str) else model


def with_instruction(pairs: Sequence[Pair], instruction: str | None) -> list[Pair]:
    """The pairs, all with that instruction ("" for none); None leaves each its own."""
    if instruction is None:
        return list(pairs)
    own = clean_text(instruction) or None
    return [replace(p, instruction=own, pair_id=digest(p.query, own, p.passage)) for p in pairs]
