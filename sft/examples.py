"""Kept traces to training rows: the same pairs in the same order for every target. Used by the dataset stage.

The traces are read anew for each thing that is written, and never held; of each there is a number or two in memory.
"""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from distill.errors import DataError
from distill.prompts import PROMPT_NAME, is_relevant, student_prompt, trained_grade
from distill.records import Example, LabelledPair, Pair, Trace
from distill.store import write_rows
from distill.text_file import TextFile
from sft.after.tasks import Task, labelled_tasks, tasks, with_privileged
from sft.settings import SftSettings
from sft.targets import pair_target, writing_target

LENGTHS = "lengths.json"  # {pair_id: characters of prompt and trace}, by which all targets order their rows
DEV = "dev"  # the folder of held-out pairs next to the students' examples
Rows = Callable[[], Iterator[tuple[Pair, Trace]]]  # kept traces with their pairs, by (pair_id, sample); each call anew


def write_examples(
    folder: Path,
    kept: Rows,
    settings: SftSettings,
    seed: int,
    answered: Callable[[], Iterable[Trace]] = tuple,
    pairs: Callable[[], Iterable[Pair]] = tuple,
) -> tuple[int, dict[str, int], dict[str, str]]:
    """Write every student's rows to `folder`/NAME, the held-out pairs (`sft.dev`) to `folder`/dev, and the lengths.

    Returns (traces, {folder: rows}, {what was written: its hash}); `kept` are the traces of the training split,
    `answered` gives all traces, rejected ones too, `pairs` all pairs of the training split, by pair_id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prompt, weights = settings.prompt, settings.weights
    rows: dict[str, int] = {}
    hashes: dict[str, str] = {}
    everything, shares, held_queries = None, dict[str, float](), frozenset[str]()
    if settings.dev is not None:
        everything = sum(1 for _ in kept())
        kept, held_out = hold_out(kept, settings.dev.pairs, seed, prompt)
        held_queries = frozenset(pair.query_id for pair in held_out)
        written = write_rows(folder / DEV, held_out, Pair)
        rows[DEV], hashes[DEV] = written["rows"], written["data_hash"]
    traces, lengths_hash = write_lengths(folder / LENGTHS, kept(), prompt)
    for student in settings.targets:
        chosen = subsample(kept, traces, student.train_size, seed)
        if student.shuffle_traces:
            chosen = shuffled(chosen, seed)
        if pair_target(student.target) is not None:
            soft: Mapping[str, float] = {}
            if student.labels == "share":
                shares = soft = shares or relevant_shares(answered(), prompt)
            elif student.labels == "p_relevant":
                soft = mean_probabilities(chosen(), student.name)
            made_pairs = labelled_pairs(chosen(), prompt, soft)
            written = write_rows(folder / student.name, made_pairs, LabelledPair, presorted=True)
        else:
            by_verdict = (weights.not_relevant, weights.relevant)
            made = _in_order(examples(chosen(), student.target, prompt, by_verdict, weights.direct))
            for then in student.then:
                if then.privileged_share:
                    made = with_privileged(made, chosen(), then.privileged_share, then.privileged, prompt, seed)
            written = write_rows(folder / student.name, made, Example, presorted=True)
        rows[student.name], hashes[student.name] = written["rows"], written["data_hash"]
        for name, then in student.after.items():
            to_answer = tasks(chosen(), prompt)
            if then.pairs == "labelled":
                others = (pair for pair in pairs() if pair.query_id not in held_queries)
                to_answer = labelled_tasks(others, chosen(), prompt)
            written = write_rows(folder / name, to_answer, Task, presorted=True)
            rows[name], hashes[name] = written["rows"], written["data_hash"]
    hashes["lengths"] = lengths_hash
    return everything or traces, rows, hashes


def _in_order(rows: Iterable[Example]) -> Iterator[Example]:
    """Rows that come by pair, those of each pair by their target too."""
    for _, of_pair in groupby(rows, key=lambda row: row.pair_id):
        yield from sorted(of_pair, key=lambda row: row.target)


def examples(
    kept: Iterable[tuple[Pair, Trace]],
    target: str,
    prompt: str = PROMPT_NAME,
    weights: tuple[float, float] = (1.0, 1.0),
    direct: float = 1.0,
) -> Iterator[Example]:
    """The rows of each trace, in the traces' order: one, or as many as the target gives (`mixed`: think, then direct).

    The verdict written is the pair's label where a filter or a person has changed it (`label_before` is set), else
    the teacher's; a trace without either is left out. `weights` are those of (not relevant, relevant) by the verdict
    written, `direct` multiplies those of the direct rows of `mixed`.
    """
    kind_of_student = writing_target(target)
    for pair, trace in kept:
        verdict = _verdict(pair, trace, prompt)
        if verdict is None:
            continue
        text = student_prompt(pair.query, pair.passage, pair.instruction, prompt)
        weight = weights[is_relevant(verdict, prompt)]
        answers = kind_of_student.checked(trace.reasoning, verdict, prompt)
        for kind, answer in answers:
            share = direct if kind == "direct" and len(answers) > 1 else 1.0
            yield Example(trace.pair_id, text, answer, target=kind, weight=weight * share)


def relevant_shares(answered: Iterable[Trace], prompt: str = PROMPT_NAME) -> dict[str, float]:
    """{pair_id: the share of its readable answers that said relevant}."""
    said: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for trace in answered:
        if trace.verdict is not None:
            said[trace.pair_id][is_relevant(trace.verdict, prompt)] += 1
    return {pair_id: counts[True] / counts.total() for pair_id, counts in said.items()}


def mean_probabilities(kept: Iterable[tuple[Pair, Trace]], student: str) -> dict[str, float]:
    """{pair_id: the mean `p_relevant` of its kept traces that have one}. Raises DataError where none has."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for _, trace in kept:
        if trace.p_relevant is not None:
            found[trace.pair_id].append(trace.p_relevant)
    if not found:
        raise DataError(
            f"sft.targets: {student}: labels: p_relevant, and no kept trace has one; the teacher's server gives no "
            "log-probabilities, or none were imported: set labels: share (with teacher.samples) or verdict"
        )
    return {pair_id: sum(values) / len(values) for pair_id, values in found.items()}


def labelled_pairs(
    kept: Iterable[tuple[Pair, Trace]], prompt: str = PROMPT_NAME, shares: Mapping[str, float] = MappingProxyType({})
) -> Iterator[LabelledPair]:
    """One row a pair, in the traces' order, with the verdict that most of its traces teach; of equally many the lower.

    Verdicts are those of `examples`; a pair whose traces have none is left out. `shares` are `relevant_shares` or
    `mean_probabilities`; of a pair whose label was changed the share is that of the label.
    """
    for _, rows in groupby(kept, key=lambda row: row[0].pair_id):
        of_pair = list(rows)
        pair = of_pair[0][0]
        verdicts = [verdict for _, trace in of_pair if (verdict := _verdict(pair, trace, prompt)) is not None]
        if not verdicts:
            continue
        grade = max(sorted(set(verdicts)), key=verdicts.count)
        yield LabelledPair(
            pair.pair_id, pair.query_id, pair.doc_id, pair.query, pair.passage, pair.instruction,
            grade, is_relevant(grade, prompt), pair.source,
            None if not shares else float(is_relevant(grade, prompt)) if pair.label_before is not None
            else shares.get(pair.pair_id),
        )  # fmt: skip


def _verdict(pair: Pair, trace: Trace, prompt: str) -> int | None:
    """What a trace teaches: the pair's label where it was changed, else what the teacher said."""
    return trained_grade(trace.verdict, None if pair.label_before is None else pair.relevant, prompt)


def shuffled(kept: Rows, seed: int) -> Rows:
    """The control: each pair gets the reasoning of another pair of the same verdict (a seeded rotation).

    What a student then gains over `direct` cannot come from the content of its traces. The texts lie in a temporary
    file meanwhile.
    """
    texts = TextFile()
    by_verdict: dict[int | None, array[int]] = defaultdict(lambda: array("Q"))
    for number, (_, trace) in enumerate(kept()):
        texts.append(trace.reasoning)
        by_verdict[trace.verdict].append(number)
    texts.flush()
    rng = random.Random(seed)
    given = array("Q", bytes(8 * len(texts)))
    for order in by_verdict.values():
        rng.shuffle(order)
        for here, there in zip(order, order[1:] + order[:1], strict=True):
            given[here] = there

    def rows() -> Iterator[tuple[Pair, Trace]]:
        for number, (pair, trace) in enumerate(kept()):
            yield pair, replace(trace, reasoning=texts[given[number]])

    return rows


def subsample(kept: Rows, traces: int, size: int | None, seed: int) -> Rows:
    """At most `size` of the `traces`, drawn with the seed; a smaller draw is part of every larger one."""
    if size is None or size >= traces:
        return kept
    order = array("Q", range(traces))
    random.Random(seed).shuffle(order)
    chosen = bytearray(traces)
    for number in order[:size]:
        chosen[number] = 1
    return lambda: (row for number, row in enumerate(kept()) if chosen[number])


def hold_out(kept: Rows, count: int, seed: int, prompt: str = PROMPT_NAME) -> tuple[Rows, list[Pair]]:
    """(traces to train on, held-out pairs): whole queries drawn with the seed until `count` pairs are held out.

    A pair that nobody judged gets the teacher's verdict for its label. At most half of the traces are held out.
    """
    traces, pairs_of = 0, Counter[str]()
    before = ""
    for pair, _ in kept():
        traces += 1
        pairs_of[pair.query_id] += pair.pair_id != before
        before = pair.pair_id
    order = sorted(pairs_of)
    random.Random(f"dev:{seed}").shuffle(order)
    queries: set[str] = set()
    held = 0
    for query in order:
        if held >= count or held + pairs_of[query] > traces // 2:
            break
        queries.add(query)
        held += pairs_of[query]
    held_out = {pair.pair_id: (pair, trace) for pair, trace in kept() if pair.query_id in queries}
    labelled = [_labelled(pair, trace, prompt) for pair, trace in held_out.values()]
    return lambda: (row for row in kept() if row[0].query_id not in queries), labelled


def _labelled(pair: Pair, trace: Trace, prompt: str) -> Pair:
    if pair.relevant is None and trace.verdict is not None:
        return replace(pair, label=pair.grade_of(is_relevant(trace.verdict, prompt)), label_origin="teacher")
    return pair


def write_lengths(path: Path, kept: Iterable[tuple[Pair, Trace]], prompt: str = PROMPT_NAME) -> tuple[int, str]:
    """Write {pair_id: characters of its prompt and its longest trace}, by which every target orders its rows.

    Returns how many traces there are, and the hash that `distill.store.fingerprint` has of the whole.
    """
    traces, total = 0, hashlib.sha256(b"{")
    mark = ""  # between entries
    with open(path, "w", encoding="utf-8") as out:
        out.write("{")
        for pair_id, of_pair in groupby(kept, key=lambda row: row[0].pair_id):
            longest = 0
            for pair, trace in of_pair:
                text = student_prompt(pair.query, pair.passage, pair.instruction, prompt)
                longest = max(longest, len(text) + len(trace.reasoning))
                traces += 1
            entry = f"{json.dumps(pair_id)}: {longest}"
            out.write(f"{mark and ','}\n  {entry}")
            total.update(f"{mark}{entry}".encode())
            mark = ", "
        out.write("\n}\n")
    total.update(b"}")
    return traces, total.hexdigest()


def lengths_of(path: Path, pair_ids: Iterable[str]) -> Iterator[int]:
    """The lengths of pairs that come in the file's order. Raises DataError for one that it does not hold."""
    with open(path, encoding="utf-8") as lines:
        entries = (json.loads(f"{{{line.strip().rstrip(',')}}}") for line in lines if '": ' in line)
        entry: dict[str, int] = {}
        for pair_id in pair_ids:
            while pair_id not in entry:
                entry = next(entries, {})
                if not entry:
                    raise DataError(f"{path}: has no length of the pair {pair_id}; run the dataset stage again")
            yield entry[pair_id]
