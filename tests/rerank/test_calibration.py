"""Calibration against figures known beforehand."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from distill.errors import InputError
from distill.records import Judgement
from distill.rerank import adaptive
from distill.rerank.calibration import METHODS, Calibration, Curve, calibrate, fit, points_of, read, write
from distill.rerank.modes import Window, score_of
from distill.statistics.ndcg import ndcg
from distill.statistics.reliability import quality


def subsample(count: int, scale: float, shift: float, seed: int = 0) -> tuple[list[float], list[int]]:
    """Margins m whose labels are 1 with probability sigmoid(scale * m + shift)."""
    rng = random.Random(seed)
    margins = [rng.gauss(0, 4) for _ in range(count)]
    return margins, [int(rng.random() < score_of(scale * m + shift)) for m in margins]


def test_platt_finds_the_curve_that_the_labels_were_drawn_from() -> None:
    margins, labels = subsample(8000, 0.5, -1.0)
    curve = fit(margins, labels, "platt")
    assert curve.a == pytest.approx(0.5, abs=0.05) and curve.b == pytest.approx(-1.0, abs=0.12)


def test_temperature_only_scales() -> None:
    margins, labels = subsample(8000, 0.25, 0.0)
    curve = fit(margins, labels, "temperature")
    assert curve.a == pytest.approx(0.25, abs=0.03) and curve.b == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_scores_get_better_on_pairs_not_seen_and_keep_their_order(method: str) -> None:
    curve = fit(*subsample(4000, 0.4, 0.0, seed=1), method)  # type: ignore[arg-type]
    margins, labels = subsample(4000, 0.4, 0.0, seed=2)
    before = quality([score_of(m) for m in margins], labels)
    after = quality([curve.score(m) for m in margins], labels)
    assert after["ECE"] < 0.03 < before["ECE"] and after["Brier"] < before["Brier"]
    scores = [curve.score(m) for m in sorted(margins)]
    assert scores == sorted(scores) and all(0 < s < 1 for s in scores)


@pytest.mark.parametrize("method", METHODS)
def test_one_kind_of_label_cannot_be_fitted(method: str) -> None:
    with pytest.raises(InputError, match="0 relevant and 3 other pairs"):
        fit([1.0, 2.0, 3.0], [0, 0, 0], method)  # type: ignore[arg-type]


def test_margins_that_separate_perfectly_do_not_run_away() -> None:
    curve = fit([-40.0, -30.0, 30.0, 40.0], [0, 0, 1, 1], "platt")
    assert math.isfinite(curve.a) and 0.5 < curve.score(30.0) < 1 and curve.score(-1e6) >= 0


def test_ece_and_brier_by_hand() -> None:
    found = quality([0.05, 0.05, 0.95, 0.95], [0, 1, 1, 1])
    assert found["ECE"] == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
    assert found["Brier"] == pytest.approx((0.0025 + 0.9025 + 0.0025 + 0.0025) / 4)


def test_thresholds_by_precision_and_recall() -> None:
    made = Calibration({}, {"think": points_of([0.9, 0.8, 0.7, 0.2], [1, 0, 1, 0])})
    assert made.threshold("think", recall=0.5) == 0.9 and made.threshold("think", recall=1.0) == 0.7
    assert made.threshold("think", precision=1.0) == 0.9
    assert made.threshold("think", precision=0.6) == 0.7, "the lowest score that still gives it"
    with pytest.raises(InputError, match=r"precision 1.1 was not reached; the best on the development set is 1.000"):
        made.threshold("think", precision=1.1)
    with pytest.raises(InputError, match="mode direct has no calibration"):
        made.threshold("direct", recall=0.5)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    margins, labels = subsample(200, 0.5, 0.0)
    made = calibrate({"think": (margins, labels)}, "isotonic", relevant_from=1)
    made = Calibration(made.curves, made.points, Window(-math.inf, 1.5, 10), made.checks, made.made_from)
    write(tmp_path / "calibration.json", made)
    again = read(tmp_path / "calibration.json")
    assert again.window == made.window and again.curves == made.curves
    assert again.threshold("think", recall=0.9) == made.threshold("think", recall=0.9)
    (tmp_path / "bad.json").write_text('{"curves": 1}')
    with pytest.raises(InputError, match="not a calibration"):
        read(tmp_path / "bad.json")


def made(query: str, doc: str, margin: float, tokens: int) -> Judgement:
    return Judgement(query, doc, score_of(margin), margin, int(margin > 0), "", "", tokens, "stop")


def test_the_window_thinks_where_that_pays_and_nowhere_else() -> None:
    """Plain failures have direct margins near -5; the rest lie near 0, where only thinking tells them apart."""
    rng = random.Random(0)
    direct, thought, qrels = [], [], {}
    for number in range(60):
        query, labels = f"q{number}", {}
        for at in range(10):
            label = int(at < 2)
            plain = at >= 4
            labels[f"d{at}"] = label
            direct.append(made(query, f"d{at}", -5 + rng.random() if plain else rng.gauss(0, 0.5), 1))
            thought.append(made(query, f"d{at}", 6.0 * (1 if label else -1) + rng.random(), 100))
        qrels[query] = labels
    curves = (Curve("platt"), Curve("platt"))
    best, frontier = adaptive.choose(direct, thought, qrels, curves)
    assert best.difference >= 0 and best.tokens < 0.5 * 100
    assert best.window.low > -4, "no plain failure is thought about"
    assert [o.tokens for o in frontier] == sorted(o.tokens for o in frontier)
    assert [o.ndcg for o in frontier] == sorted(o.ndcg for o in frontier)


def test_ndcg_is_that_of_ir_measures() -> None:
    import ir_measures

    rng = random.Random(1)
    for _ in range(30):
        labels = {f"d{at:02}": rng.choice([0, 0, 0, 1, 2, 3]) for at in range(25)}
        ranking = {doc: rng.random() for doc in labels}
        order = sorted(ranking, key=ranking.__getitem__, reverse=True)
        mine = ndcg([labels[doc] for doc in order], list(labels.values()))
        theirs = ir_measures.calc_aggregate([ir_measures.parse_measure("nDCG@10")], {"q": labels}, {"q": ranking})
        assert mine == pytest.approx(next(iter(theirs.values())))


def test_what_a_window_would_give_is_what_mode_adaptive_gives() -> None:
    """The chooser's arithmetic against the mode's own rule, one pair and one window at a time."""
    from distill.rerank.modes import think_about

    rng = random.Random(3)
    direct = [made(f"q{q}", f"d{d}", rng.choice([rng.gauss(0, 2), 0.5]), 1) for q in range(4) for d in range(12)]
    thought = [made(j.query_id, j.doc_id, rng.gauss(0, 5), rng.randint(20, 90)) for j in direct]
    qrels = {f"q{q}": {f"d{d}": rng.choice([0, 0, 1, 2]) for d in range(14)} for q in range(4)}
    curves = (Curve("platt", 0.7, -0.2), Curve("platt", 1.4, 0.1))
    windows = [Window(-1, 1), Window(-math.inf, 0.6, 3), Window(0.2, math.inf, 5), Window(5, 6)]
    for window, outcome in zip(windows, adaptive.outcomes(direct, thought, qrels, curves, windows), strict=True):
        values, tokens = [], 0
        for query, labels in qrels.items():
            mine = [(d, t) for d, t in zip(direct, thought, strict=True) if d.query_id == query]
            mine.sort(key=lambda both: both[0].doc_id, reverse=True)
            chosen = think_about([d.margin for d, _ in mine], window)
            scores = [
                curves[1].log_odds(t.margin) if at in chosen else curves[0].log_odds(d.margin)
                for at, (d, t) in enumerate(mine)
            ]
            tokens += sum(d.tokens for d, _ in mine) + sum(mine[at][1].tokens for at in chosen)
            order = sorted(range(len(mine)), key=lambda at: -scores[at])
            values.append(ndcg([labels[mine[at][0].doc_id] for at in order], list(labels.values())))
        assert outcome.ndcg == pytest.approx(sum(values) / 4) and outcome.tokens == pytest.approx(tokens / 48)


def test_equal_margins_are_worth_the_share_that_is_relevant_in_whatever_order_they_come() -> None:
    margins, labels = [0.0] * 10 + [5.0] * 10, [0] * 7 + [1] * 3 + [1] * 8 + [0] * 2
    curve = fit(margins, labels, "isotonic")
    assert (curve.score(0.0), curve.score(5.0)) == (pytest.approx(0.3), pytest.approx(0.8))
    assert fit(margins[::-1], labels[::-1], "isotonic") == curve
    alone = fit([1.0] * 4, [0, 1, 1, 1], "isotonic")
    assert alone.score(1.0) == alone.score(-9.0) == pytest.approx(0.75)


def test_mode_adaptive_has_thresholds_of_the_scores_that_it_gives() -> None:
    """Thought about within the window only; the threshold must be of that mixture, not of either kind alone."""
    from distill.rerank.fitting import from_judgements
    from distill.rerank.modes import think_about

    rng = random.Random(5)
    direct, thought, qrels = [], [], {}
    for number in range(40):
        qrels[f"q{number}"] = {f"d{at}": int(at < 3) for at in range(10)}
        for at in range(10):
            direct.append(made(f"q{number}", f"d{at}", rng.gauss(-6 if at > 4 else 0, 1), 1))
            thought.append(made(f"q{number}", f"d{at}", rng.gauss(4 if at < 3 else -4, 1.5), 80))
    found = from_judgements({"direct": direct, "think": thought}, qrels, "platt", 1, with_adaptive=True)
    assert found.window is not None
    limit = found.threshold("adaptive", recall=0.9)
    hits = 0
    for query, labels in qrels.items():
        mine = [(d, t) for d, t in zip(direct, thought, strict=True) if d.query_id == query]
        unsure = think_about([d.margin for d, _ in mine], found.window)
        for at, (d, t) in enumerate(mine):
            kind, margin = ("think", t.margin) if at in unsure else ("direct", d.margin)
            hits += labels[d.doc_id] and found.score(f"adaptive.{kind}", margin) >= limit
    assert hits == math.ceil(0.9 * 3 * 40)
