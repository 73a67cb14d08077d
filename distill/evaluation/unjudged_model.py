"""How relevant passages are that nobody judged: the model behind the intervals of `distill.evaluation.unjudged`.

Three parts, each with its own uncertainty: a logistic regression of the assessors' grades on where the runs rank a
passage (`Places`, `fit`), the judge's confusion of grades (`confusions`), and draws of the unjudged passages' grades
from both (`draw_grades`). Not covered: what no run ranks, and a judge that errs on unjudged passages in another way
than on judged ones of the same grade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit

from distill.files.runs import Rankings, ranked

Key = tuple[str, str]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DRAWS = 400
LISTED = 100  # ranks that the sum of reciprocal ranks reads
SHARED = 3  # columns that are neither a run's nor a query's: intercept, best rank, sum of reciprocal ranks
SHARED_VARIANCE = 20.0
ROUNDS = 12
LEAST_RUN_VARIANCE, LEAST_QUERY_VARIANCE = 0.1, 0.05
MOST_RUN_VARIANCE = 4.0  # what all of DL19's judgements give (3.1 to 4.6); those that a few systems chose give 7 to 15
QUERY_FACTOR = 2.0  # less shrinkage of queries: else poor ones get too many relevant passages, and too high an ideal
# Standard deviations; without them fewer intervals hold.
RUN_NOISE, INTERCEPT_NOISE = 0.7, 0.5
SMOOTHING = 0.05
BLOCK = 20_000  # unjudged passages whose grades are drawn at a time


@dataclass(frozen=True, slots=True)
class Places:
    """Where the runs rank some passages.

    `columns` (passages, 3 + runs): 1; ln(best rank); ln(sum over runs of 1/(10 + rank), ranks to 100); and for each run
    1/m where m runs rank the passage within `top`. `queries` (passages,): number of the passage's query.
    """

    columns: Floats
    queries: Integers


@dataclass(frozen=True, slots=True)
class Fit:
    """One threshold's regression: the mode, and the inverse Hessian there in the parts that draws need.

    `mode` (3 + runs,) and `query_mode` (queries,); `root` (3 + runs, 3 + runs): lower Cholesky factor of the covariance
    of `mode`; `query_slope` (queries, 3 + runs) and `query_deviation` (queries,): mean and standard deviation of a
    query's coefficient, given how far the others lie from their mode.
    """

    mode: Floats
    query_mode: Floats
    root: Floats
    query_slope: Floats
    query_deviation: Floats


def places(keys: Sequence[Key], runs: Mapping[str, Rankings], top: int, query_number: Mapping[str, int]) -> Places:
    """Where `runs` rank the (query, passage) pairs `keys`, each of which is within `top` of at least one run."""
    row_of = {key: row for row, key in enumerate(keys)}
    queries = {query for query, _ in keys}
    best = np.full(len(keys), np.inf)
    fused = np.zeros(len(keys))
    within = np.zeros((len(keys), len(runs)))
    for number, run in enumerate(runs.values()):
        for query in queries & run.keys():
            for rank, (passage, _) in enumerate(ranked(run[query])[: max(LISTED, top)], 1):
                row = row_of.get((query, passage))
                if row is None:
                    continue
                best[row] = min(best[row], rank)
                within[row, number] = rank <= top
                if rank <= LISTED:
                    fused[row] += 1 / (10 + rank)
    fused = np.maximum(fused, 1 / (10 + max(LISTED, top)))
    shares = within / np.maximum(within.sum(axis=1, keepdims=True), 1)
    columns = np.column_stack([np.ones(len(keys)), np.log(best), np.log(fused), shares])
    return Places(columns, np.array([query_number[query] for query, _ in keys], dtype=np.int64))


def standardised(known: Places, others: Places) -> tuple[Places, Places]:
    """Both with the two columns of ranks less their mean over `known`, divided by their standard deviation there."""
    ranks = slice(1, SHARED)
    mean, deviation = known.columns[:, ranks].mean(axis=0), known.columns[:, ranks].std(axis=0)
    scaled = []
    for part in (known, others):
        columns = part.columns.copy()
        columns[:, ranks] = (columns[:, ranks] - mean) / np.where(deviation > 0, deviation, 1)
        scaled.append(Places(columns, part.queries))
    return scaled[0], scaled[1]


def fit(known: Places, relevant: NDArray[np.bool_], query_count: int) -> Fit:
    """Logistic regression of `relevant` (passages,) on the columns and one coefficient a query.

    Priors: N(0, 20) for the first three columns, N(0, t²) for runs, N(0, w²) for queries. t² and w² are estimated by
    12 rounds of expectation and maximisation under the Laplace approximation: the mode, then t² = mean(coefficient² +
    its variance) over runs, from 0.1 to 4, and w² = twice that mean over queries, at least 0.05. A query's column is 1
    in its own rows alone, so the Hessian is inverted by blocks, in time that grows with the rows.
    """
    columns = known.columns
    run_count = columns.shape[1] - SHARED
    run_variance = query_variance = 1.0
    mode, query_mode = np.zeros(columns.shape[1]), np.zeros(query_count)
    for _ in range(ROUNDS):
        precision = 1 / np.repeat([SHARED_VARIANCE, run_variance], [SHARED, run_count])
        mode, query_mode = _mode(known, relevant, precision, 1 / query_variance, mode, query_mode)
        covariance, slope, query_spread = _covariance(known, precision, 1 / query_variance, mode, query_mode)
        query_variances = query_spread + np.einsum("qi,ij,qj->q", slope, covariance, slope)
        run_variances = covariance.diagonal()[SHARED:]
        run_variance = float(np.mean(mode[SHARED:] ** 2 + run_variances))
        run_variance = min(MOST_RUN_VARIANCE, max(LEAST_RUN_VARIANCE, run_variance))
        query_variance = max(LEAST_QUERY_VARIANCE, QUERY_FACTOR * float(np.mean(query_mode**2 + query_variances)))
    factor = np.linalg.cholesky(covariance).astype(np.float64)
    return Fit(mode, query_mode, factor, slope, np.sqrt(query_spread))


def _mode(
    known: Places,
    relevant: NDArray[np.bool_],
    precision: Floats,
    query_precision: float,
    mode: Floats,
    query_mode: Floats,
) -> tuple[Floats, Floats]:
    """The coefficients of greatest posterior density, by Newton's method (IRLS) from `mode` and `query_mode`."""
    columns, queries, count = known.columns, known.queries, len(query_mode)
    for _ in range(25):
        rest = relevant - expit(columns @ mode + query_mode[queries])
        gradient = rest @ columns - precision * mode
        query_gradient = np.bincount(queries, rest, count) - query_precision * query_mode
        covariance, slope, query_spread = _covariance(known, precision, query_precision, mode, query_mode)
        step = covariance @ (gradient + query_gradient @ slope)
        query_step = query_spread * query_gradient + slope @ step
        size = max(np.abs(step).max(), np.abs(query_step).max())
        shrunk = min(1.0, 2 / size) if size else 1.0  # a step across half the logistic curve may overshoot
        mode, query_mode = mode + shrunk * step, query_mode + shrunk * query_step
        if size < 1e-5:
            break
    return mode, query_mode


def _covariance(
    known: Places, precision: Floats, query_precision: float, mode: Floats, query_mode: Floats
) -> tuple[Floats, Floats, Floats]:
    """The inverse Hessian by blocks: covariance of the columns' coefficients; by query, the slope on them and the rest.

    Shapes (columns, columns), (queries, columns) and (queries,), the latter a variance.
    """
    columns, queries, count = known.columns, known.queries, len(query_mode)
    chance = expit(columns @ mode + query_mode[queries])
    weighted = columns * (chance * (1 - chance))[:, None]
    own = np.bincount(queries, weighted[:, 0], count) + query_precision  # the first column is 1
    shared = np.stack([np.bincount(queries, column, count) for column in weighted.T], axis=1)
    slope = -shared / own[:, None]
    hessian = columns.T @ weighted + np.diag(precision) + shared.T @ slope
    covariance = np.linalg.inv(hessian)
    return (covariance + covariance.T) / 2, slope, 1 / own


def confusions(pairs: Sequence[tuple[int, int]], scale: Sequence[int], judge_grades: int, rng: Generator) -> Floats:
    """(draws, assessors' grades, judge's grades) draws of how often the judge says what of each assessor's grade.

    `pairs` are (assessor's grade, judge's grade) of the control sample, at least one; a row is Dirichlet(counts + the
    judge's overall shares on the control sample + 0.05).
    """
    counts = np.zeros((len(scale), judge_grades))
    np.add.at(counts, ([scale.index(grade) for grade, _ in pairs], [answer for _, answer in pairs]), 1.0)
    shares = counts.sum(axis=0) / counts.sum()
    weights = rng.standard_gamma(counts + shares + SMOOTHING, (DRAWS, *counts.shape))
    return np.asarray(weights / weights.sum(axis=2, keepdims=True))


def draw_grades(
    qrels: Mapping[str, Mapping[str, int]],
    runs: Mapping[str, Rankings],
    known: Sequence[Key],
    keys: Sequence[Key],
    answers: Sequence[int | None],
    pairs: Sequence[tuple[int, int]],
    top: int,
    seed: int,
) -> Integers:
    """(draws, keys) grades that assessors might have given the unjudged (query, passage) pairs `keys`.

    `known` are judged pairs within `top` of any run; `answers` what the judge said of `keys`, None where it did not
    decide (then the ranks alone speak); `pairs` (assessor's grade, judge's grade) of the control sample. The grades
    drawn are those that `qrels` holds.
    """
    rng = np.random.default_rng(seed)
    scale = sorted({0} | {grade for labels in qrels.values() for grade in labels.values()})
    query_number = {query: number for number, query in enumerate(dict.fromkeys(query for query, _ in (*known, *keys)))}
    rows, others = standardised(places(known, runs, top, query_number), places(keys, runs, top, query_number))
    grades = np.array([qrels[query][passage] for query, passage in known])
    fits = [fit(rows, grades >= threshold, len(query_number)) for threshold in scale[1:]]
    z = rng.standard_normal((DRAWS, rows.columns.shape[1]))
    query_z = rng.standard_normal((DRAWS, len(query_number)))
    noise = rng.standard_normal(z.shape) * np.repeat([INTERCEPT_NOISE, 0, RUN_NOISE], [1, SHARED - 1, len(runs)])
    judge_grades = 1 + max([3, *(answer for _, answer in pairs), *(answer for answer in answers if answer is not None)])
    confused = confusions(pairs, scale, judge_grades, rng)
    undecided = np.ones((*confused.shape[:2], 1))
    likelihood = np.concatenate([confused, undecided], axis=2)
    said = np.array([judge_grades if answer is None else answer for answer in answers], dtype=np.int64)
    drawn = np.empty((DRAWS, len(keys)), dtype=np.int64)
    for start in range(0, len(keys), BLOCK):
        part = slice(start, start + BLOCK)
        block = Places(others.columns[part], others.queries[part])
        chances = _grade_chances(fits, block, z, query_z, noise)
        weights = (chances * likelihood[:, :, said[part]]).cumsum(axis=1)
        points = rng.random((DRAWS, 1, chances.shape[2])) * weights[:, -1:]
        drawn[:, part] = np.array(scale)[(points >= weights[:, :-1]).sum(axis=1)]
    return drawn


def _grade_chances(fits: Sequence[Fit], others: Places, z: Floats, query_z: Floats, noise: Floats) -> Floats:
    """(draws, grades, passages) probabilities of each grade, from draws of each threshold's coefficients."""
    above = [np.ones((len(z), len(others.queries)))]
    for one in fits:
        apart = z @ one.root.T
        query_coefficients = one.query_mode + apart @ one.query_slope.T + query_z * one.query_deviation
        logits = (one.mode + apart + noise) @ others.columns.T + query_coefficients[:, others.queries]
        above.append(np.minimum(above[-1], expit(logits)))
    above.append(np.zeros_like(above[0]))
    return -np.diff(np.stack(above, axis=1), axis=1)
