"""A run on a Ray cluster: joined once, its folder seen by all nodes, and what runs where. Called by cli and dry run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import ConfigError, Stopped, last_line
from distill.pipeline.run import Run
from distill.pipeline.sources import base_of, sft_of
from distill.processes import cores
from distill.ray_cluster import Node, check_seen, nodes, on_cluster, on_node
from distill.tables import counted
from teacher.stage import refuse_upload

if TYPE_CHECKING:
    from distill.rerank.settings import ScoringSettings

ON_NODES = ("filter", "sft", "evaluate")  # stages whose workers read or write the run's folder; rounds, too


def join(run: Run, due: Collection[str]) -> None:
    """Join the cluster of RAY_ADDRESS, for all stages, and say what it has; nothing without one.

    Raises Stopped where it is not reached, RunFolderError for a folder that goes with the job, ConfigError for nodes
    that do not see the folder which a stage of `due` reads there.
    """
    if not on_cluster() or not due:
        return
    refuse_upload(run.folder)
    for line in lines(run):
        run.say(line)
    if any(stage in _on_nodes(run) or stage.startswith("round-") for stage in due):
        base = Path(base_of(run))
        try:
            check_seen(run.folder, [base.absolute()] if base.is_dir() else [])
        except ConfigError as error:
            if run.mirror is None:
                raise
            raise ConfigError(
                f"{error}, by XDG_CACHE_HOME; or submit `distill trace` alone, and run the rest on one machine without "
                "RAY_ADDRESS and with the same --out"
            ) from None
        run.say(f"cluster: {run.folder} is seen by every node")


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
        f"places: filter: {'Ray tasks on any nodes' if 'filter' in _on_nodes(run) else 'the driver'}",
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


def _on_nodes(run: Run) -> tuple[str, ...]:
    """The stages whose workers work in the run's folder; filters stay in the driver where it is a copy of a URL."""
    return ON_NODES if run.mirror is None else ON_NODES[1:]


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
