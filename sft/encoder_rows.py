"""What a cross-encoder learns from: labels as numbers, and rows in the form of each loss. Used by `sft.encoder`.

A label is a probability that the passage is relevant, or log-odds; each loss takes the one that its logits are to be.
Losses: `bce` (probability of a pair), `mse` (the logit is the log-odds), `margin_mse` (the difference of two passages'
logits is that of their log-odds), `listwise` (ListNet: a query's passages together). Those of passages of one query fix
differences alone, so a student of them is to be calibrated before its scores mean anything.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from distill.prompts import PROMPTS, query_text
from distill.records import LabelledPair

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder

LONGEST = 16  # passages of one list; a query of more has several lists, drawn with the seed
TRIPLES = 4  # of a passage with others of its query, drawn with the seed
SURE = 4.0  # log-odds of a label of 1: a probability of .982, which a logit can be
PASS = 32  # pairs of lists that go through the model together
ROWS = {"margin_mse": 16, "listwise": 4}  # of a batch, where the configuration says nothing: each has several passages
UNREAD, UNSCORED = "it has no answer that can be read", "the student that scores cannot read it"
WITHOUT = {"p_relevant": "the teacher gave no probability with its verdict"}
ALONE = "its query has no other passage to be compared with"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A pair's texts and its label, in both forms."""

    pair_id: str
    query: str
    passage: str
    probability: float
    log_odds: float


def labelled(
    pairs: Iterable[LabelledPair], labels: str, prompt: str, scores: Mapping[str, float | None] | None = None
) -> tuple[list[Labelled], list[tuple[str, str]]]:
    """(the pairs with their labels, [(pair_id, reason)] of those without one).

    `labels` is verdict, grade, share or p_relevant; with `scores`, log-odds by pair, a label is another student's.
    """
    rows, without = [], []
    top = len(PROMPTS[prompt].verdicts) - 1
    for pair in pairs:
        given = _label(pair, labels, top) if scores is None else scores.get(pair.pair_id)
        if given is None:
            without.append((pair.pair_id, WITHOUT.get(labels, UNREAD) if scores is None else UNSCORED))
            continue
        probability = given if scores is None else 1 / (1 + math.exp(-max(-700.0, given)))
        log_odds = _log_odds(given) if scores is None else given
        text = query_text(pair.query, pair.instruction)
        rows.append(Labelled(pair.pair_id, text, pair.passage, probability, log_odds))
    return rows, without


def _label(pair: LabelledPair, labels: str, top: int) -> float | None:
    if labels == "grade":
        return pair.grade / top
    if labels in ("share", "p_relevant"):
        return pair.share
    return float(pair.relevant)


def _log_odds(probability: float) -> float:
    if probability <= 0 or probability >= 1:
        return SURE if probability >= 1 else -SURE
    return max(-SURE, min(SURE, math.log(probability / (1 - probability))))


def rows_for(loss: str, pairs: Sequence[Labelled], seed: int) -> tuple[Dataset, list[tuple[str, str]]]:
    """(the rows of the loss, [(pair_id, reason)] of pairs that are in none of them)."""
    from datasets import Dataset

    if loss in ("bce", "mse"):
        columns: dict[str, list[Any]] = {
            "query": [pair.query for pair in pairs],
            "passage": [pair.passage for pair in pairs],
            "label": [pair.probability if loss == "bce" else pair.log_odds for pair in pairs],
        }
        return Dataset.from_dict(columns), []
    rng = random.Random(f"{loss}:{seed}")
    queries: dict[str, list[Labelled]] = {}
    for pair in pairs:
        queries.setdefault(pair.query, []).append(pair)
    alone = [(group[0].pair_id, ALONE) for group in queries.values() if len(group) == 1]
    groups = [(query, group) for query, group in queries.items() if len(group) > 1]
    if loss == "listwise":
        lists = [(query, part) for query, group in groups for part in _parts(group, rng)]
        columns = {
            "query": [query for query, _ in lists],
            "passages": [[pair.passage for pair in part] for _, part in lists],
            "label": [[pair.log_odds for pair in part] for _, part in lists],
        }
    else:
        triples = [(query, *two) for query, group in groups for two in _twos(group, rng)]
        columns = {
            "query": [query for query, _, _ in triples],
            "first": [one.passage for _, one, _ in triples],
            "second": [other.passage for _, _, other in triples],
            "label": [one.log_odds - other.log_odds for _, one, other in triples],
        }
    return Dataset.from_dict(columns), alone


def _parts(group: list[Labelled], rng: random.Random) -> list[list[Labelled]]:
    """The passages of a query in lists of nearly the same length, at most `LONGEST`."""
    order = rng.sample(group, len(group))
    count = math.ceil(len(order) / LONGEST)
    return [order[number::count] for number in range(count)]


def _twos(group: list[Labelled], rng: random.Random) -> list[tuple[Labelled, Labelled]]:
    """Pairs of a query's passages, `TRIPLES` a passage where there are so many; those of different labels first."""
    twos = list(combinations(group, 2))
    rng.shuffle(twos)
    twos.sort(key=lambda two: two[0].log_odds == two[1].log_odds)
    return twos[: TRIPLES * len(group)]


def batch_of(loss: str) -> dict[str, int]:
    """The batch of a loss whose rows have several passages, as the trainer's argument; {} for the others."""
    return {"per_device_train_batch_size": ROWS[loss]} if loss in ROWS else {}


def loss_of(name: str, model: CrossEncoder) -> Any:
    """The loss of sentence-transformers of that name."""
    from sentence_transformers.cross_encoder import losses

    kinds: dict[str, Callable[[CrossEncoder], Any]] = {
        "bce": losses.BinaryCrossEntropyLoss,
        "mse": losses.MSELoss,
        "margin_mse": losses.MarginMSELoss,
        "listwise": partial(losses.ListNetLoss, mini_batch_size=PASS),
    }
    return kinds[name](model)
