"""A run on a Ray cluster: joined once, its folder seen by all nodes, and what runs where. Called by cli and dry run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distill import driver_files
from distill.errors import ConfigError, Stopped, last_line
from distill.inputs import is_copy
from distill.pipeline.run import Run
from distill.pipeline.sources import base_of, sft_of
from distill.plugins import external_files
from distill.processes import cores
from distill.ray_cluster import Node, nodes, on_cluster, on_node, unseen
from distill.tables import counted
from teacher.stage import refuse_upload

if TYPE_CHECKING:
    from distill.rerank.settings import ScoringSettings

ON_NODES = ("filter", "sft", "evaluate")  # stages whose workers read or write files of the run; rounds, too


def join(run: Run, due: Collection[str]) -> None:
    """Join the cluster of RAY_ADDRESS, for all stages, and say what it has; nothing without one.

    Where the nodes do not see the run's folder or the base, which a stage of `due` reads there, they get those files by
    Ray. Raises Stopped where it is not reached, RunFolderError for a folder that goes with the job, ConfigError for
    nodes that do not see code of the user's own.
    """
    if not on_cluster() or not due:
        return
    refuse_upload(run.folder)
    for line in lines(run):
        run.say(line)
    rounds = any(stage.startswith("round-") for stage in due)
    stages = [stage for stage in ON_NODES if rounds or stage in due]
    if stages:
        hidden = _hidden(run, stages)
        driver_files.settle([run.folder, *_base(run)], are_seen=not hidden)
        run.say(f"cluster: {_how_files_go(run, hidden)}")


def _hidden(run: Run, stages: Collection[str]) -> dict[Path, str]:
    """{path: the nodes that do not see it} of the run's folder, or of the one that it will be made in, and the base.

    Raises ConfigError for nodes that do not see code of the user's own.
    """
    code = own_code(run, stages)
    folder = next(path for path in (run.folder, *run.folder.parents) if path.is_dir())
    hidden = unseen(folder, [*_base(run), *code])
    for path in code:
        if path in hidden:
            raise ConfigError(
                f"{path}: is not seen on the nodes {hidden[path]}, where it runs; put it into the job's working "
                "directory, or on storage that is mounted at this path on every node"
            )
    return hidden


def _base(run: Run) -> list[Path]:
    """The students' base where it is a folder."""
    base = Path(base_of(run)).absolute()
    return [base] if base.is_dir() else []


def _how_files_go(run: Run, hidden: Mapping[Path, str]) -> str:
    if not hidden:
        return f"{run.folder} is seen by every node"
    path, addresses = next(iter(hidden.items()))
    return f"{path} is not seen on the nodes {addresses}; the run's files go to and from them by Ray, in pieces"


def files_line(run: Run) -> str:
    """How the nodes will come by the run's files, for a dry run. Raises as `join` does."""
    return f"places: files: {_how_files_go(run, _hidden(run, ON_NODES))}"


def own_code(run: Run, stages: Collection[str]) -> list[Path]:
    """The user's own files that the nodes need for these stages: row filters and what they read, targets, a backend."""
    from filters.base import RowFilter
    from filters.settings import files, make

    found: list[Path] = []
    if "filter" in stages:
        for name, thresholds in run.config.filters.entries():
            if isinstance(make(name, thresholds, run.base), RowFilter):
                found += [path for path in files(name, thresholds, run.base) if not is_copy(path)]
    if "sft" in stages:
        found += external_files([student.target for student in run.config.sft.targets], Path())
        found += external_files(run.config.sft.rewards, Path())
    if "evaluate" in stages:
        found += external_files([run.config.scoring.backend], Path())
    return [path.absolute() for path in dict.fromkeys(found)]


def lines(run: Run) -> list[str]:
    """What runs where: on this machine, or on the nodes that the cluster has now, which is joined. Raises Stopped."""
    if not on_cluster():
        return [f"places: all stages run on this machine, which has {counted(cores(), 'core')}"]
    from sft.placement import on_nodes

    there = nodes()
    asked = run.config.teacher
    scoring = run.config.scoring
    return [
        f"cluster: {_nodes(there)}",
        "places: pairs, dataset, first stage, measures and report: the driver, on the node of the job",
        *([f"places: trace: {counted(asked.workers, 'actor')} on any nodes"] if asked.asks else []),
        "places: filter: Ray tasks on any nodes",
        f"places: sft: {on_nodes(sft_of(run), there).text()}",
        "places: evaluate: " + ("the driver, which asks a server" if scoring.base_url else _judges(scoring, there)),
    ]


def _judges(scoring: ScoringSettings, there: list[Node]) -> str:
    """The actors that judge: their number where it does not hang on the student's width, and what they share."""
    gpus = sum(node.gpus for node in there)
    count = scoring.actors or gpus // scoring.gpus_per_actor
    if gpus:
        return f"{counted(count, 'actor')} of 1 CPU and {counted(scoring.gpus_per_actor, 'GPU')}"
    actors = counted(count, "actor") if count else "actors"
    return f"{actors} on {counted(sum(node.cpus for node in there), 'CPU')}"


def on_a_node(function: Callable[..., None], *arguments: object) -> None:
    """Call a function on a node with a GPU, where there is one. Raises what it raised, and Stopped."""
    import ray

    node = max(nodes(), key=lambda node: (node.gpus > 0, node.cpus))
    there = ray.remote(function).options(num_cpus=0, scheduling_strategy=on_node(node.id, soft=True))
    try:
        ray.get(there.remote(*arguments))
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except ray.exceptions.RayError as error:
        raise Stopped(f"run: Ray has lost the node {node.address} ({last_line(str(error))}); run again") from None


def _nodes(there: list[Node]) -> str:
    """Such as `1 head without CPUs, 4 nodes of 16 CPUs, 2 nodes of 8 CPUs and 1 GPU (A100)`."""
    kinds: Counter[tuple[bool, str]] = Counter()
    for node in there:
        offers = [counted(node.cpus, "CPU")] if node.cpus else []
        offers += [counted(node.gpus, "GPU") + (f" ({node.gpu_kind})" if node.gpu_kind else "")] if node.gpus else []
        kinds[node.head, f"of {' and '.join(offers)}" if offers else "without CPUs"] += 1
    return ", ".join(f"{counted(count, 'head' if head else 'node')} {what}" for (head, what), count in kinds.items())
