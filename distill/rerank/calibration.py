"""From log-odds to probabilities that can be trusted, fitted on judged pairs and saved with the student."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from distill import store
from distill.errors import InputError
from distill.records import Judgement
from distill.rerank.fusion import Fusion
from distill.rerank.modes import Window, score_of
from distill.statistics.reliability import quality
from distill.tables import counted

FILE = "calibration.json"
Method = Literal["temperature", "platt", "isotonic"]
METHODS = ("temperature", "platt", "isotonic")
THRESHOLDS = 200  # points kept of the precision-recall curve


@dataclass(frozen=True, slots=True)
class Curve:
    """One mode's map from log-odds m to a probability.

    `temperature`: sigmoid(m / t), Guo et al. 2017; `platt`: sigmoid(a m + b), Platt 1999, with his smoothed targets;
    `isotonic`: a non-decreasing step-free line through (x, y), Zadrozny and Elkan 2002.
    """

    method: Method
    a: float = 1.0
    b: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def log_odds(self, margin: float) -> float:
        """The calibrated log-odds."""
        if self.method != "isotonic":
            return self.a * margin + self.b
        p = min(max(self.score(margin), 1e-6), 1 - 1e-6)
        return math.log(p / (1 - p))

    def score(self, margin: float) -> float:
        """The calibrated probability."""
        if self.method != "isotonic":
            return score_of(self.a * margin + self.b)
        at = bisect_left(self.x, margin)
        if at == 0 or at == len(self.x):
            return self.y[0] if at == 0 else self.y[-1]
        share = (margin - self.x[at - 1]) / (self.x[at] - self.x[at - 1])
        return self.y[at - 1] + share * (self.y[at] - self.y[at - 1])


@dataclass(frozen=True, slots=True)
class Calibration:
    """Curves by mode (`adaptive.direct` and `adaptive.think` among them), what they were fitted on, how well they fit.

    `points` are (score, precision, recall) by mode, from the strictest threshold on; `window` is where mode adaptive
    thinks; `checks` are ECE and Brier score by mode and instruction template, before and after. `fusion` is the first
    stage's weight by mode; it changes no judgement, so it is not in the text by which judgements are known.
    """

    curves: dict[str, Curve]
    points: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)
    window: Window | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    made_from: dict[str, Any] = field(default_factory=dict)
    fusion: dict[str, Fusion] = field(default_factory=dict, repr=False)

    def score(self, mode: str, margin: float) -> float:
        """The probability that the passage is relevant; uncalibrated for a mode without a curve."""
        curve = self.curves.get(mode)
        return curve.score(margin) if curve else score_of(margin)

    def margin(self, mode: str, margin: float) -> float:
        """What to rank by: the margin as it is; answers of mode adaptive on the scale that both kinds share."""
        curve = self.curves.get(mode) if mode.startswith("adaptive.") else None
        return curve.log_odds(margin) if curve else margin

    def threshold(self, mode: str, precision: float | None = None, recall: float | None = None) -> float:
        """The lowest score that gives the precision, or the highest that gives the recall, on the development set.

        Raises InputError where the mode was not calibrated or the figure is not reached at any score.
        """
        if (precision is None) == (recall is None):
            raise InputError("a threshold is chosen by precision or by recall: give one of them")
        points = self.points.get(mode)
        if not points:
            known = ", ".join(self.points) or "none"
            raise InputError(f"mode {mode} has no calibration (there is {known}); run distill calibrate for it")
        if precision is not None:
            found = [score for score, p, _ in points if p >= precision]
            if not found:
                best = max(p for _, p, _ in points)
                raise InputError(
                    f"precision {precision} was not reached; the best on the development set is {best:.3f}"
                )
            return min(found)
        return max((score for score, _, r in points if r >= (recall or 0)), default=0.0)


def fit(margins: Sequence[float], labels: Sequence[int], method: Method = "platt") -> Curve:
    """The curve that fits labels 0 and 1 best by log loss (isotonic: by squares).

    Raises InputError where one of the two labels is missing: nothing can be fitted then.
    """
    import numpy as np
    from scipy.optimize import isotonic_regression, minimize

    m, y = np.asarray(margins, float), np.asarray(labels, float)
    positive, negative = float((y > 0).sum()), float((y == 0).sum())
    if not positive or not negative:
        raise InputError(
            f"calibration: {positive:.0f} relevant and {counted(negative, 'other pair')}; both are needed, judge more"
        )
    if method == "isotonic":
        # equal margins are one point, or the order in which they came would decide what they are worth
        at, place, often = np.unique(m, return_inverse=True, return_counts=True)
        fitted = isotonic_regression(np.bincount(place, weights=y) / often, weights=often)
        edges = fitted.blocks
        low = 1 / (len(y) + 2)
        xs = [float(np.average(at[s:e], weights=often[s:e])) for s, e in pairwise(edges)]
        ys = [min(max(float(v), low), 1 - low) for v in (fitted.x[s] for s in edges[:-1])]
        return Curve("isotonic", x=tuple(xs), y=tuple(ys))
    target = np.where(y > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))  # Platt's smoothing
    spread = max(float(m.std()), 1e-9)

    def loss(values: Any) -> tuple[float, Any]:
        scale, shift = values[0], values[1] if len(values) > 1 else 0.0
        z = scale * m / spread + shift
        gap = 1 / (1 + np.exp(-np.clip(z, -500, 500))) - target
        gradient = [float((gap * m / spread).mean()), float(gap.mean())]
        return float((np.logaddexp(0, z) - target * z).mean()), np.array(gradient[: len(values)])

    start = [1.0] if method == "temperature" else [1.0, math.log(positive / negative)]
    bounds = [(1e-6, None)] + [(None, None)] * (len(start) - 1)
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return Curve(method, a=float(found[0]) / spread, b=float(found[1]) if len(found) > 1 else 0.0)


def points_of(scores: Sequence[float], labels: Sequence[int]) -> list[tuple[float, float, float]]:
    """(score, precision, recall) of thresholds from the strictest on, at most about 200 of them."""
    order = sorted(zip(scores, labels, strict=True), reverse=True)
    total, hits, found = max(1, sum(labels)), 0, []
    for at, (score, label) in enumerate(order, 1):
        hits += label
        if at == len(order) or order[at][0] != score:
            found.append((score, hits / at, hits / total))
    keep = max(1, -(-len(found) // THRESHOLDS))
    return [point for at, point in enumerate(found) if at % keep == 0 or at == len(found) - 1]


def calibrate(
    judged: Mapping[str, tuple[Sequence[float], Sequence[int]]], method: Method = "platt", **made_from: Any
) -> Calibration:
    """A calibration of {mode: (margins, labels)}. Modes in two kinds of answers (adaptive) are always fitted by Platt,
    since answers of both kinds are ranked together."""
    curves, points, checks = {}, {}, []
    for mode, (margins, labels) in judged.items():
        curve = fit(margins, labels, "platt" if mode.startswith("adaptive.") else method)
        scores = [curve.score(m) for m in margins]
        curves[mode] = curve
        points[mode] = points_of(scores, list(labels))
        before, after = quality([score_of(m) for m in margins], labels), quality(scores, labels)
        checks.append({"mode": mode, "template": None, "pairs": len(labels), "before": before, "after": after})
    return Calibration(curves, points, checks=checks, made_from={"method": method, **made_from})


def calibrated(judgement: Judgement, calibration: Calibration | None, curve: str) -> Judgement:
    """A judgement with the raw margin as `Calibration` has it for the curve, unchanged without one."""
    if calibration is None:
        return judgement
    raw = judgement.margin
    return replace(judgement, score=calibration.score(curve, raw), margin=calibration.margin(curve, raw))


def without(calibration: Calibration, mode: str) -> None:
    """Forget all that was fitted for a mode."""
    for kept in (calibration.curves, calibration.points, calibration.fusion):
        kept.pop(mode, None)
    calibration.checks[:] = [each for each in calibration.checks if each["mode"] != mode]


def check(
    calibration: Calibration, mode: str, template: str, margins: Sequence[float], labels: Sequence[int]
) -> dict[str, Any]:
    """How a saved curve does under another instruction template, without fitting anything anew."""
    before = quality([score_of(m) for m in margins], labels)
    after = quality([calibration.score(mode, m) for m in margins], labels)
    return {"mode": mode, "template": template, "pairs": len(labels), "before": before, "after": after}


def write(path: Path, calibration: Calibration) -> None:
    """Write calibration.json."""
    window = calibration.window
    limits = {"low": window.low, "high": window.high, "top": window.top} if window else None
    if limits:  # JSON has no infinity
        limits = {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in limits.items()}
    store.write_json(path, {**asdict(calibration), "window": limits})


def read(path: Path) -> Calibration:
    """A saved calibration. Raises InputError for what is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; distill calibrate writes it")
    raw: Any = store.read_json(path)
    if not isinstance(raw, dict):
        raise InputError(f"{path}: not a calibration (no JSON object); distill calibrate writes one")
    try:
        limits = raw["window"]
        window = None
        if limits:
            low = -math.inf if limits["low"] is None else limits["low"]
            window = Window(low, math.inf if limits["high"] is None else limits["high"], limits["top"])
        curves = {mode: Curve(**{**c, "x": tuple(c["x"]), "y": tuple(c["y"])}) for mode, c in raw["curves"].items()}
        points = {mode: [(s, p, r) for s, p, r in each] for mode, each in raw["points"].items()}
        fusion = {mode: Fusion(**fused) for mode, fused in raw.get("fusion", {}).items()}
        return Calibration(curves, points, window, raw["checks"], raw["made_from"], fusion)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a calibration ({error}); distill calibrate writes one") from None
