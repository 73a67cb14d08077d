"""Any text retrieval or reranking task of mteb, by its name: NevIR, Core17InstructionRetrieval, BrightRetrieval ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from distill.errors import ConfigError, DataError
from distill.evaluation.suites import bright, followir, instructir, nevir
from distill.evaluation.suites.base import Suite, plain
from distill.files.gaps import MISSING, Gaps
from distill.files.qrels import Qrels
from distill.files.splits import similar_split
from distill.files.values import gain_of, text_of
from distill.texts import clean_text, passage_text


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One split of a task."""

    passages: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels
    instructions: Mapping[str, str]
    left_out: Mapping[str, int] = field(default_factory=dict)


def read(name: str, split: str, subset: str = "default", missing: float = MISSING) -> Suite:
    """The task's split as a suite, downloaded by mteb where it is not in its cache.

    What is measured follows the task's main score: paired accuracy, p-MRR, robustness@10, else the usual measures.
    Raises ConfigError where mteb is missing or knows no such task or split, DataError where the data cannot be had.
    """
    return of_task(loaded_task(name), split, subset, missing)


def loaded_task(name: str) -> Any:
    """mteb's task with its data, from mteb's cache or the hub. Raises as `read`."""
    task = known_task(name)
    try:
        task.load_data()
    except Exception as error:  # whatever datasets, the hub or the network raise
        raise DataError(f"{name}: mteb could not load it ({type(error).__name__}: {str(error)[:200]})") from error
    return task


def known_task(name: str) -> Any:
    """mteb's task of that name, not loaded. Raises ConfigError where mteb is missing or knows no such task."""
    try:
        import mteb
    except ImportError:
        raise ConfigError('source mteb needs the package mteb; pip install "rerank-distill[mteb]"') from None
    try:
        return mteb.get_task(name)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{name!r} is no task that mteb knows ({str(error).splitlines()[0][:200]})") from None


def of_task(task: Any, split: str, subset: str = "default", missing: float = MISSING) -> Suite:
    """The suite of a loaded mteb task; `missing` as in `suites.read`."""
    gaps = Gaps(missing, "evaluation.sets, missing")
    suite = _of_task(task, split, subset, gaps)
    gaps.check()
    return replace(suite, left_out=gaps.counts())


def _of_task(task: Any, split: str, subset: str, gaps: Gaps) -> Suite:
    splits = task.dataset.get(subset)
    if splits is None or split not in splits:
        known = [f"{s} ({', '.join(by)})" for s, by in task.dataset.items()]
        raise ConfigError(
            f"{task.metadata.name}: no subset {subset!r} with split {split!r}; there are {'; '.join(known)}"
            f"{similar_split(split, list(splits or ()))}"
        )
    texts, top = _texts(splits[split]), splits[split].get("top_ranked")
    lists = {str(q): _with_texts(docs, texts, task.metadata.name, gaps) for q, docs in top.items()} if top else None
    score = task.metadata.main_score
    if score == "paired_accuracy":
        return _pairs(texts, lists)
    if score == "p-MRR":
        return followir.build(texts, _changed(task), lists)
    if score == "robustness_at_10":
        return instructir.build(texts, lists)
    if lists and min(map(len, lists.values())) > len(texts.passages) / 2:  # BRIGHT: all but the excluded ones
        every = set(texts.passages)
        return bright.build(
            texts, {q: sorted(every - set(docs)) for q, docs in lists.items()}, None, task.metadata.name
        )
    return replace(plain("beir", texts), candidates=lists)


def _with_texts(docs: Sequence[object], texts: _Loaded, task: str, gaps: Gaps) -> list[str]:
    """The ids of a list, without those that the corpus lacks."""
    return [
        doc
        for doc in dict.fromkeys(map(str, docs))
        if not gaps.lacks("ids of top_ranked", "passage", doc, doc in texts.passages, task, "the corpus")
    ]


def _texts(data: Mapping[str, Any]) -> _Loaded:
    passages: dict[str, str] = {}
    for number, row in enumerate(data["corpus"], 1):
        where = f"corpus, row {number}"
        text = passage_text(text_of(row.get("title"), where, "title"), text_of(row["text"], where))
        if passages.setdefault(str(row["id"]), text) != text:
            raise DataError(f"{where}: the id {row['id']!r} is there twice, with another text")
    queries, instructions = {}, {}
    for row in data["queries"]:
        if not isinstance(row["text"], str):
            raise DataError(f"query {row['id']}: is a conversation, and only plain texts can be evaluated here")
        queries[str(row["id"])] = clean_text(row["text"])
        if row.get("instruction"):
            instructions[str(row["id"])] = row["instruction"]
    qrels = {
        str(q): {str(d): max(0, gain_of(grade, f"relevant_docs of {q!r}")) for d, grade in labels.items()}
        for q, labels in data["relevant_docs"].items()
    }
    return _Loaded(passages, {q: text for q, text in queries.items() if q in qrels}, qrels, instructions)


def _pairs(texts: _Loaded, lists: Mapping[str, Sequence[str]] | None) -> Suite:
    """NevIR as mteb has it: queries ID_q1 and ID_q2, each with one relevant passage."""
    own = {q: next(d for d, grade in labels.items() if grade > 0) for q, labels in texts.qrels.items()}
    groups = {q: q.split("_")[0] for q in own}
    if lists is None:
        members: dict[str, list[str]] = {}
        for query, passage in own.items():
            members.setdefault(groups[query], []).append(passage)
        lists = {query: members[group] for query, group in groups.items()}
    extra = partial(nevir.measures, own, groups)
    return replace(plain("nevir", texts), candidates=lists, extra=extra, measured=False, stop_words=False)


def _changed(task: Any) -> dict[str, list[str]]:
    """What the changed instructions turned not relevant: a table of its own next to the task's data."""
    from datasets import load_dataset

    source = task.metadata.dataset
    rows = load_dataset(source["path"], "qrel_diff", split="qrel_diff", revision=source.get("revision"))
    return {str(row["query-id"]): [str(d) for d in row["corpus-ids"]] for row in rows}
