"""The stage `filter`: traces are kept, or rejected with a reason. Called by `distill.pipeline.stages` and the cli."""

from __future__ import annotations

from distill import store
from distill.driver_files import as_seen
from distill.errors import RunFolderError
from distill.pipeline.filter_tools import cluster, decisions, filter_tools, masking, tool_hashes
from distill.pipeline.run import Run, dump
from distill.pipeline.stage import Stage
from distill.processes import cores
from distill.results import Counts, Json


def _settings(run: Run) -> Json:
    """What decides which traces are kept, apart from pairs and traces: the user's own files and decisions too."""
    files = run.file_hashes(run.config.filters.files(run.base))
    decided = decisions(run)
    return {
        "filters": dump(run.config.filters),
        "files": files,
        "seed": run.config.seed,
        "tools": tool_hashes(run),
        **masking(run),
        **({"decided": store.fingerprint(sorted(decided.items()))} if decided else {}),
    }


def _inputs(run: Run) -> Counts:
    return {name: run.data_hash(name) for name in ("pairs", "traces")}


def _make(run: Run) -> Counts:
    from filters.engine.run import filter_folders
    from teacher.asker import Asker

    with filter_tools(run) as tools:
        counts = filter_folders(
            as_seen(run.pairs), as_seen(run.traces), as_seen(run.kept), as_seen(run.rejected), as_seen(run.changed),
            run.config.filters, tools, cores(), cluster(tools), as_seen(run.verdicts),
        )  # fmt: skip
        return {**counts, **(tools.ask.cost() if isinstance(tools.ask, Asker) else {})}


def explain(run: Run, pair_id: str) -> list[tuple[int, str, str]]:
    """[(sample, filter, what it says)] of one pair's traces. Raises RunFolderError where there are none."""
    from filters.engine.explain import explain as what_filters_say

    if store.read_manifest(run.traces) is None:
        raise RunFolderError(f"{run.traces}: not made yet; `distill trace` makes them")
    with filter_tools(run) as tools:
        return what_filters_say(pair_id, str(run.pairs), str(run.traces), run.config.filters, tools)


STAGE = Stage("filter", "kept", ("pairs", "traces"), _settings, _inputs, _make)
