"""How much data a run has, before it is made: what the dry run and the checks reckon with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill import store
from distill.errors import InputError
from distill.pipeline.run import Run
from distill.pipeline.sources import data_folder, drawn_queries, settings_of, source_of

if TYPE_CHECKING:
    from distill.evaluation.settings import SetSettings

REMOTE = ("huggingface", "ir_datasets")  # sources of pairs that are not looked at for the training's estimate


def has_data(run: Run) -> bool:
    """Whether pairs can be counted: they were made, or their source lies there (one on a hub is taken to be there)."""
    pairs = run.config.pairs
    if pairs.source in ("example", *REMOTE) or store.read_manifest(run.pairs) is not None:
        return True
    return data_folder(run, pairs).exists()


def pairs_of_example(run: Run) -> int:
    """How many pairs to train on the embedded example has, without making them."""
    from distill.example.world import WorldSettings

    world = WorldSettings(**run.config.pairs.example)
    return world.queries["train"] * (world.relevant + world.near_misses + world.same_place + world.plain)


def evaluated_pairs(run: Run, entry: SetSettings) -> int | None:
    """How many pairs of an evaluation set a system judges, by the set's own lists or as many a query as it says; None
    where that is not known before its data are there. What is wrong with them the checks say."""
    most = entry.queries and entry.queries * entry.depth
    if entry.source == "example":
        from distill.example.world import WorldSettings

        count = WorldSettings(**run.config.pairs.example).queries.get(entry.split, 0)
        return min(count, entry.queries or count) * entry.depth
    if entry.source in ("pairs", "mteb", *REMOTE) or entry.kind not in ("beir", "dl19"):
        return most
    try:
        settings = settings_of(run, entry)
        share = settings.split.get(entry.split, 1.0) if isinstance(settings.split, dict) else 1.0
        split = settings.split if isinstance(settings.split, str) else settings.qrels
        queries = {query for _, query, _, _ in source_of(run, entry).labels(split)}
        own = _own_lists(run, entry)
    except (InputError, OSError):
        return most
    judged = drawn_queries(run, entry, queries) if share == 1 else queries
    listed = sum(own.get(query, 0) for query in judged) if own else len(judged) * entry.depth
    count = round(len(queries) * share)
    return round(listed / len(judged) * min(count, entry.queries or count)) if judged else 0


def _own_lists(run: Run, entry: SetSettings) -> dict[str, int]:
    from distill.evaluation.suites.base import own_list_lengths

    return own_list_lengths(data_folder(run, entry, entry.split)) if entry.source == "beir" else {}
