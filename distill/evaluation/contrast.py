"""Measures over several rankings of one need: does a ranker follow what is asked, or only what it is about?

Three of them, each one value a unit (a pair, a query, a group of instructions), equal to mteb's (2.26) to the last bit
that a sum can keep; a test holds them against it, on rankings full of ties too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ctypes import c_float
from typing import Literal

from distill.files.runs import Rankings, ranked

Ties = Literal["miss", "id"]


def pairwise_accuracy(
    own: Mapping[str, str], groups: Mapping[str, str], run: Rankings, ties: Ties = "miss"
) -> dict[str, float]:
    """{pair: 1 where every query of it ranks its own passage first, else 0} (NevIR, arXiv 2305.07614).

    `own` is {query: its passage}, `groups` {query: pair}. A tie for the first place is a miss (scores are compared as
    32-bit floats, as trec_eval does); with `ties="id"` the greater passage id wins it, as in mteb, which lets a ranker
    that cannot tell the passages apart be right by the names of its passages. A query that the run lacks is a miss.
    Chance is 0.25.
    """
    found = dict.fromkeys(groups.values(), 1.0)
    for query, pair in groups.items():
        if not _first(own[query], run.get(query, {}), ties):
            found[pair] = 0.0
    return found


def _first(passage: str, scores: Mapping[str, float], ties: Ties) -> bool:
    if passage not in scores:
        return False
    if ties == "id":
        return ranked(scores)[0][0] == passage
    mine = c_float(scores[passage]).value
    return all(mine > c_float(score).value for other, score in scores.items() if other != passage)


def p_mrr(
    changed: Mapping[str, Iterable[str]], run: Rankings, og: str = "-og", new: str = "-changed"
) -> dict[str, float]:
    """{query: p-MRR in [-1, 1]}, positive where the changed instruction moves passages down (FollowIR, 2403.15246).

    `changed` is {query: passages that the changed instruction turned not relevant}; the run holds both rankings, under
    the query's id and the endings `og` and `new`. For ranks R_og and R_new: R_new/R_og - 1 where R_og >= R_new, else
    1 - R_og/R_new; the mean over the query's passages. Papers print it times 100. A passage that a ranking lacks is
    one place behind its last; ties go by passage id, descending, as in mteb since its issue 5092 (scores as they are,
    not as 32-bit floats). A query without one of its rankings counts 0, as one that nothing moved (mteb leaves it out).
    """
    found = {}
    for query, passages in changed.items():
        before, after = run.get(query + og), run.get(query + new)
        moves = [_move(_rank(before, each), _rank(after, each)) for each in passages] if before and after else []
        found[query] = sum(moves) / len(moves) if moves else 0.0
    return found


def _rank(scores: Mapping[str, float], passage: str) -> int:
    if passage not in scores:
        return len(scores) + 1
    mine = (scores[passage], passage)
    return 1 + sum((score, other) > mine for other, score in scores.items())


def _move(og: int, new: int) -> float:
    return new / og - 1 if og >= new else 1 - og / new


def robustness(values: Mapping[str, float], groups: Mapping[str, str]) -> dict[str, float]:
    """{group: the worst value of its queries}; over nDCG@10 it is InstructIR's robustness@10 (arXiv 2402.14334).

    `values` is {query: value}, `groups` {query: group}, where a group is one query under several instructions.
    """
    found: dict[str, float] = {}
    for query, group in groups.items():
        value = values.get(query, 0.0)
        found[group] = min(found.get(group, value), value)
    return found
