"""Rankings of a run as mteb's results: the task's own code scores them, as if mteb had run the model itself.

`distill.cli.mteb` uses it for `distill export --to mteb`. A query that the evaluation left out has an empty list
here, which mteb counts as 0, as the run's own measures do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from distill.errors import ConfigError
from distill.files.runs import Rankings


class Recorded:
    """mteb's `SearchProtocol`: gives the lists of a ranking that was made before, whatever is asked."""

    def __init__(self, ranking: Rankings, meta: Any) -> None:
        self.ranking, self.mteb_model_meta = ranking, meta

    def index(self, corpus: Any, **ignored: Any) -> None:
        """Nothing: the ranking is there."""

    def search(self, queries: Any, **ignored: Any) -> dict[str, dict[str, float]]:
        """{query: {passage: score}} of each query asked, {} of those that were not ranked."""
        return {query: dict(self.ranking.get(query, {})) for query in queries["id"]}


def scores_of(
    task: Any, split: str, subset: str, ranking: Rankings, meta: Any, predictions: Path | None = None
) -> dict[str, Any]:
    """All measures that mteb has for the task, its main score among them, of a ranking of one split.

    With `predictions` the ranking is also written there as mteb writes a first stage's, for `convert_to_reranking`.
    Raises ConfigError where the task has no such split.
    """
    if split not in task.dataset.get(subset, {}):
        raise ConfigError(f"{task.metadata.name}: has no subset {subset!r} with split {split!r}")
    made: Mapping[str, Any] = task.evaluate(
        Recorded(ranking, meta), split, [subset], encode_kwargs={}, prediction_folder=predictions
    )
    return dict(made[subset])


def has_own_lists(task: Any, split: str, subset: str) -> bool:
    """Whether the task says itself which passages are ranked."""
    return bool(task.dataset[subset][split].get("top_ranked"))


def licences() -> set[str]:
    """The licences that mteb has names for."""
    from mteb.types import Licenses

    return {name for part in get_args(Licenses) for name in get_args(part) or (part,)}
