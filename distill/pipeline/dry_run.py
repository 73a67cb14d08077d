"""What `--dry-run` says of each stage: work, time, dollars, memory. Called by the cli."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from distill import store
from distill.gguf_base import is_gguf
from distill.pipeline.amounts import REMOTE, evaluated_pairs, has_data, pairs_of_example
from distill.pipeline.modes import judges_untrained, modes_of
from distill.pipeline.pairs import pairs_without_teacher
from distill.pipeline.row_lengths import KEPT_SHARE, assumed_lengths, mean_tokens, training_data
from distill.pipeline.run import Run
from distill.pipeline.sources import data_folder, sft_of
from distill.pipeline.trace import asking_estimate
from distill.records import Pair
from distill.tables import counted

if TYPE_CHECKING:
    from distill.pairs.pair_map import Pairs
    from sft.estimate.estimate import TrainingData, TrainingEstimate
    from sft.estimate.shapes import Device, Shape
    from sft.settings import SftSettings
    from teacher.estimate import Estimate

# Shares of the peak: on a GPU as sft.assume.utilisation, and what decoding in batches leaves, by assumption. On a core
# of a CPU Qwen2.5 0.5B and 1.5B read at 1.5 times the timed layer's speed (their prompts share a head, read only once),
# and the latter wrote at 0.29 of it, 39 answers of 107 tokens at a time, prompts included.
WRITING, READING_ON_CPU, WRITING_ON_CPU = 0.05, 1.0, 0.25
# Seconds that a stage takes to start Ray or torch, as the quickstart's stages took on two cores with next to nothing
# to do (trace 8 to 12, sft 11 to 14, evaluate 7 to 20), and those of the checks before the first stage.
STARTING = {"trace": 12, "sft": 12, "evaluate": 12}
CHECKS_S = 15
STEP_S = 0.12  # of a step on a CPU, whatever the model's size: the quickstart's 900 took 122 to 202 s, 40 to 60 by FLOP
EXAMPLE_S = 5e-4  # an answer of the embedded teacher
FILTERED_S, ROW_S = 1e-4, 1e-4  # a trace through the filters, a row of a dataset: docs/scale.md, rounded up
MASKED_PASSAGES = 10_000  # that are looked through for what would be masked, where there are no pairs yet


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage as the dry run shows it; seconds, dollars and GiB are estimates, None where nothing is known.

    `sent_to` names the hosts that texts would be sent to; `problem` is what does not fit, with the nearest that does;
    `note` is what a figure rests on. `at_least` says that more may come; `at_a_time` how many such rows go together.
    """

    stage: str
    due: bool
    work: str = ""
    seconds: float | None = None
    usd: float | None = None
    host_gib: float | None = None
    gpu_gib: float | None = None
    sent_to: tuple[str, ...] = ()
    problem: str = ""
    note: str = ""
    at_least: bool = False
    at_a_time: int = 1


class FoundTraces(NamedTuple):
    """Traces that nobody is asked for: how many, how many in split train, the first of these, notes on the rows."""

    traces: int
    of_train: int
    first: list[tuple[Pair, str | None]]
    notes: list[str]


class DryRun:
    """What a run would do, stage by stage; the pairs are made at most once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.notes: list[str] = []  # what the stage `pairs` would say
        self.pairs_s: float | None = None  # seconds that making the pairs took here

    @cached_property
    def pairs(self) -> Pairs | None:
        """The pairs that a run would make, unless they are made, the example's, or not known before asking."""
        run = self.run
        if store.read_manifest(run.pairs) is not None or run.config.pairs.source == "example" or not has_data(run):
            return None
        started = time.monotonic()
        pairs = pairs_without_teacher(run, self.notes.append)
        self.pairs_s = time.monotonic() - started
        return pairs

    @cached_property
    def pair_count(self) -> int | None:
        """How many pairs are in split train, where that can be known."""
        run = self.run
        if (manifest := store.read_manifest(run.pairs)) is not None:
            if unlabelled := manifest["result"].get("unlabelled"):
                self.notes.append(f"labels: {counted(unlabelled, 'pair')} without one")
            return sum(pair.split == "train" for pair in store.read_rows(run.pairs, Pair))
        if run.config.pairs.source == "example":
            return pairs_of_example(run)
        return None if self.pairs is None else sum(pair.split == "train" for pair in self.pairs)

    @cached_property
    def to_ask(self) -> Estimate | str:
        """What asking would take; of a number that is assumed where there is no data; or why nothing is known."""
        from teacher.estimate import assumed_estimate

        run = self.run
        teacher, assume = run.config.teacher, run.config.sft.assume
        if has_data(run) or not teacher.asks:
            return asking_estimate(run, self.pairs)
        if assume.examples is None:
            return "no estimate without the data; sft.assume.examples says how many pairs to train on to reckon with"
        return assumed_estimate(teacher, round(assume.examples / KEPT_SHARE), mean_tokens(run)[0])

    @cached_property
    def masked_passages(self) -> str:
        """What would be masked in the source's passages, where there are no pairs yet to count it in; "" if nothing."""
        from distill.pairs.sources import open_source
        from teacher.redact import MaskCounts, mask, masked_text

        run, redact = self.run, self.run.config.teacher.redact
        if redact is None or not run.config.teacher.asks or run.config.pairs.source in REMOTE or not has_data(run):
            return ""
        counts = MaskCounts(redact)
        source = open_source(run.config.pairs, data_folder(run, run.config.pairs), run.base)
        for _, _, text in islice(source.passages(), MASKED_PASSAGES):
            counts.add(mask(text, redact).values)
        return masked_text(counts.counts(), f"of the first {MASKED_PASSAGES:,} passages")

    @cached_property
    def training(self) -> tuple[SftSettings, TrainingData]:
        """The settings of training, and what is known of its rows."""
        return self._training_of(self.run)

    def _training_of(self, run: Run) -> tuple[SftSettings, TrainingData]:
        settings = assumed_lengths(run, sft_of(run, made_alone=True))
        return settings, training_data(run, settings, self._train_pairs)

    def _train_pairs(self) -> tuple[int | None, list[tuple[Pair, str | None]]]:
        """How many pairs of split train there are to train on, and the first of them with their reasoning, None where
        it is to be asked for; no pair where the texts are not there. Raises DataError as `_found` does."""
        from sft.estimate.lengths import SIMULATED

        if self._found is not None:
            return self._found.of_train, self._found.first
        return self.pair_count, [(pair, None) for pair in islice(self._in(["train"]), SIMULATED)]

    def _in(self, splits: Sequence[str]) -> Iterator[Pair]:
        """The pairs of these splits, as they were made or would be; none where that is not known."""
        made = store.read_manifest(self.run.pairs) is not None
        pairs = store.read_rows(self.run.pairs, Pair) if made else self.pairs or ()
        return (pair for pair in pairs if pair.split in splits)

    @cached_property
    def _found(self) -> FoundTraces | None:
        """The traces that are there, of a teacher that is not asked; None without one or its pairs. Raises DataError
        where no trace is of a pair."""
        from sft.estimate.lengths import SIMULATED

        teacher, asked = self.run.config.teacher, self.run.config.pairs.ask
        if teacher.asks or teacher.source == "none" or next(self._in(asked), None) is None:
            return None
        source, first, traces, of_train = teacher.made_source(), list[tuple[Pair, str | None]](), 0, 0
        with TemporaryDirectory() as folder:
            for pair, _, answer in source.imported(self._in(asked), Path(folder, "import.sqlite")):
                traces += answer is not None
                if answer is not None and pair.split == "train":
                    of_train += 1
                    if of_train <= SIMULATED:
                        first.append((pair, answer.reasoning))
        return FoundTraces(traces, of_train, first, source.notes)

    def teacher_lines(self) -> list[str]:
        """What asking would take, and what each figure rests on."""
        from teacher.estimate import describe

        return [self.to_ask] if isinstance(self.to_ask, str) else describe(self.to_ask)

    def training_lines(self) -> list[str]:
        """What training would take, and what each figure rests on."""
        from sft.estimate.estimate import describe

        return describe(*self.training)

    def stages(self, due: Mapping[str, bool]) -> list[StagePlan]:
        """A row a stage, of training a row a student; `due` says which stages have to be made."""
        makers = {
            "pairs": self._pairs, "trace": self._trace, "filter": self._filter, "dataset": self._dataset,
            "sft": self._sft, "evaluate": self._evaluate,
        }  # fmt: skip
        return [row for name, is_due in due.items() for row in makers.get(name, self._round)(name, is_due)]

    @property
    def _hosts(self) -> tuple[str, ...]:
        """Where the teacher's texts go; nowhere with the embedded one, whose server is this process's."""
        teacher = self.run.config.teacher
        return () if teacher.embedded or not teacher.asks else tuple(sorted({e.host for e in teacher.endpoints}))

    def _pairs(self, name: str, due: bool) -> list[StagePlan]:
        from distill.pipeline.check import label_notes

        run, count = self.run, self.pair_count
        asks = run.config.pairs.asks
        notes = label_notes(self.notes)
        if due and asks:
            notes.append("the teacher is asked as well; its cost is not known before")
        work = "" if count is None else counted(count, "pair")
        seconds = count / 1e4 if count is not None and run.config.pairs.source == "example" else self.pairs_s
        return [
            StagePlan(
                name, due, work, None if asks else seconds, None if asks else 0.0,
                sent_to=self._hosts if due and asks else (), note="; ".join(notes), at_least=asks,
            )
        ]  # fmt: skip

    def _trace(self, name: str, due: bool) -> list[StagePlan]:
        from teacher.redact import masked_text

        asking = self.to_ask
        if isinstance(asking, str):
            teacher, count = self.run.config.teacher, self.pair_count
            note = f"{asking}; {self.masked_passages}" if self.masked_passages else asking
            if not teacher.asks:
                found = self._found if due else None
                work = "" if found is None else counted(found.traces, "trace")
                return [StagePlan(name, due, work, usd=0.0, note="; ".join([note, *(found.notes if found else ())]))]
            if not teacher.embedded:
                return [StagePlan(name, due, sent_to=self._hosts, note=note)]
            work = "" if count is None else counted(count, "answer")
            return [StagePlan(name, due, work, STARTING["trace"] + (count or 0) * EXAMPLE_S, 0.0, note=note)]
        known = f", {asking['in_journal']:,} in the journal" if asking["in_journal"] else ""
        if asking["reused"] and self.run.config.refresh:
            known += f", {asking['reused']:,} reused from {self.run.config.refresh.since}"
        more = f"; at most {asking['samples_then']:,} more where in doubt" if asking["samples_then"] else ""
        basis = asking["basis"]
        price = f"; {basis['cost_usd']}" if basis["cost_usd"] else ""
        note = f"prompts: {basis['prompt_tokens']}, answers: {basis['completion_tokens']}{more}{price}"
        note += f"; time: {basis['seconds']}"
        if asking["masked"]:
            note += f"; {masked_text(asking['masked'])}"
        work = f"{counted(asking['to_ask'], 'answer')}{known}"
        sent_to = tuple(asking["hosts"]) if asking["to_ask"] else ()
        seconds = STARTING["trace"] + asking["seconds"]
        return [
            StagePlan(name, due, work, seconds, asking["cost_usd"], sent_to=sent_to, note=note, at_least=bool(more))
        ]

    def _filter(self, name: str, due: bool) -> list[StagePlan]:
        """Time of filters that read; of one that asks the teacher or a student nothing is known."""
        from filters.engine.cache_keys import used

        needed, found = used(self.run.config.filters, self.run.base), self._found if due else None
        count = self.pair_count if found is None else found.traces
        asks, open_ended = "ask" in needed, bool({"ask", "score"} & needed)
        note = "a filter asks the teacher; its cost is not known before" if asks else ""
        seconds = None if count is None or open_ended else count * FILTERED_S
        work = "" if count is None else counted(count, "trace")
        return [
            StagePlan(
                name, due, work, seconds, None if asks else 0.0, sent_to=self._hosts if asks else (), note=note,
                at_least=open_ended,
            )
        ]  # fmt: skip

    def _dataset(self, name: str, due: bool) -> list[StagePlan]:
        rows = None if self.pair_count is None else self.pair_count * len(self.run.config.sft.targets)
        return [StagePlan(name, due, "", None if rows is None else rows * ROW_S, 0.0)]

    def _round(self, name: str, due: bool) -> list[StagePlan]:
        """An earlier round: its student's training."""
        from distill.pipeline.rounds import Round

        return self._sft(name, due, Round(self.run, int(name.rpartition("-")[2])))

    def _sft(self, name: str, due: bool, within: Run | None = None) -> list[StagePlan]:
        from sft.estimate.estimate import estimates, side_by_side, together
        from sft.estimate.fit import nearest_fit
        from sft.estimate.shapes import known_models

        settings, data = self.training if within is None else self._training_of(within)
        device, shape = _device_and_shape(settings, settings.training.get("bf16"))
        if shape is None:
            known = f"is in no table here (known: {', '.join(known_models())})"
            why = "is not known before the file is converted" if is_gguf(settings.base) else known
            note = f"no estimate: the shape of {settings.base!r} {why}"
            return [StagePlan(name, due, note=note)]
        students, count = estimates(settings, data, shape, device), side_by_side(settings, device)
        needed = together(students, count)
        problem = ""
        if needed > device.memory_gib:
            several = f"{count} students at a time: " if count > 1 else ""
            problem = (f"{several}{needed:.1f} GiB do not fit in the {device.memory_gib:.0f} GiB of {device.name}; "
                       f"{nearest_fit(settings, data, shape, device)}")  # fmt: skip
        rows = []
        parallel = f"; {count} train at a time" if count > 1 else ""
        for student in students:
            work = "rows unknown" if student.examples is None else counted(student.examples, "row")
            steps = "" if student.steps is None else f", {counted(student.steps, 'step')}"
            rented = bool(device.usd_per_hour or settings.assume.usd_per_hour)
            slow = (student.steps or 0) * STEP_S if device.name == "cpu" else 0.0
            seconds = None if student.hours is None else STARTING["sft"] + student.hours * 3600 + slow
            row = StagePlan(
                f"{name} {student.student}",
                due,
                f"{work}{steps}",
                seconds,
                student.usd if rented else 0.0,
                problem=problem,
                at_a_time=count,
                note=f"on {device.name} ({device.how}); rows: {data.basis}{parallel}",
            )
            memory = student.peak_gib
            rows.append(replace(row, host_gib=memory) if device.name == "cpu" else replace(row, gpu_gib=memory))
            problem = ""  # said once
        return [*rows, *self._after(name, due, settings, students, within or self.run)]

    def _after(
        self, name: str, due: bool, settings: SftSettings, students: list[TrainingEstimate], run: Run
    ) -> list[StagePlan]:
        """The trainings on the students' own answers, after SFT."""
        from sft.after.estimate import after_estimates

        device, shape = _device_and_shape(settings)
        if shape is None:
            return []
        price = settings.assume.usd_per_hour if settings.assume.usd_per_hour is not None else device.usd_per_hour
        rows = []
        for made in after_estimates(settings, students, shape, device, mean_tokens(run)):
            seconds = None if made.hours is None else STARTING["sft"] + made.hours * 3600
            paid = ", ".join(f"{key.rpartition('/')[2]} {weight:g}" for key, weight in made.rewards.items())
            method = f"{made.method} ({paid})" if paid else made.method
            row = StagePlan(
                f"{name} {made.student}",
                due,
                f"{method}, {counted(made.steps, 'step')}, about {made.generated:,.0f} tokens written",
                seconds,
                None if made.hours is None else made.hours * price,
                note=f"on {device.name}, after SFT (estimated by FLOP)",
            )
            rows.append(replace(row, host_gib=made.gib) if device.name == "cpu" else replace(row, gpu_gib=made.gib))
        return rows

    def _evaluate(self, name: str, due: bool) -> list[StagePlan]:
        """Time by the FLOP of reading and writing, at shares of the device's peak that are assumed."""
        run, (settings, data) = self.run, self.training
        sets = run.config.evaluation.sets
        if not sets:
            return [StagePlan(name, due, "nothing", 0.0, 0.0, note="evaluation.sets is empty: nothing is measured")]
        modes = [mode for student in run.config.sft.students for mode in modes_of(run, student).values()]
        modes += ["direct"] if judges_untrained(run) else []
        of_sets = [evaluated_pairs(run, entry) for entry in sets]
        if None in of_sets:
            return [
                StagePlan(name, due, counted(len(sets), "set"), note="queries are not known before the data are there")
            ]
        pairs = sum(count or 0 for count in of_sets)
        device, shape = _device_and_shape(settings)
        work = f"{counted(pairs, 'pair')} x {counted(len(modes), 'system')}"
        if shape is None or not device.tflops:
            return [StagePlan(name, due, work)]
        prompt, trace = mean_tokens(run)
        prompt = data.mean_prompt or prompt  # the sets' passages are taken to be as long as those of the pairs
        trace = min(trace, run.config.evaluation.max_new_tokens or trace)
        written = sum(trace for mode in modes if mode not in ("direct", "verdict_first"))
        per_token = 2 * shape.parameters / (device.tflops * 1e12)
        on_gpu = settings.assume.utilisation or device.utilisation, WRITING
        reading, writing = (READING_ON_CPU, WRITING_ON_CPU) if device.name == "cpu" else on_gpu
        seconds = pairs * per_token * (len(modes) * prompt / reading + written / writing)
        rent = settings.assume.usd_per_hour if settings.assume.usd_per_hour is not None else device.usd_per_hour
        note = f"assumed: {reading:.0%} of the device's FLOP/s in reading, {writing:.0%} in writing"
        return [StagePlan(name, due, work, STARTING["evaluate"] + seconds, seconds / 3600 * rent, note=note)]


def _device_and_shape(settings: SftSettings, bf16: bool | None = None) -> tuple[Device, Shape | None]:
    """What the run computes on, a CPU with its speed timed, and the shape of the base, where it is known."""
    from sft.estimate.cpu import timed
    from sft.estimate.shapes import device_of, shape_of

    shape = shape_of(settings.base, settings.scratch)
    return timed(device_of(settings.assume.device), shape, bf16), shape
