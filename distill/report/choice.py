"""Which system to ship, with the reason, and how far the figures can be trusted. Called by `result`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distill.report.evaluated import Difference, EvaluationSet
from distill.report.files import RunFiles
from distill.report.words import count, duration, measure, percent, signed, system_label, usd
from distill.tables import counted

MANY_UNJUDGED, SOME_UNJUDGED = 0.2, 0.05  # shares of a top ten
FEW_QUERIES, ENOUGH_QUERIES = 30, 100
CHEAPER = 1.5  # a system that is not clearly behind is shipped in place of the best if that costs so many times as much
SEEDS = ("seed", "sft.seed")
NO_TEACHER = "This run has no teacher that could grade it: have people judge it, and add their labels to the qrels."
Level = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What to ship (None: nothing), in a few words and with the reason."""

    system: str | None
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Light:
    """How far one thing allows to trust the figures."""

    level: Level
    name: str
    text: str


def most_unjudged(each: EvaluationSet) -> tuple[str, float]:
    """The student with the largest unjudged share of its top, and that share; 0 where none was measured."""
    return max(((s, each.unjudged(s) or 0.0) for s in each.students), key=lambda pair: pair[1], default=("", 0.0))


def grade(files: RunFiles) -> str:
    """How the unjudged passages get grades: from the teacher, where there is one that can be asked."""
    asks = f"`distill evaluate {files.as_config} --judge-unjudged` has the teacher grade it."
    return asks if files.can_ask else NO_TEACHER


def undecided(files: RunFiles, each: EvaluationSet) -> bool:
    """Whether so much of a student's top was never judged, nor graded since, that the comparison may be wrong."""
    return most_unjudged(each)[1] >= MANY_UNJUDGED and each.name not in (files.metrics.holes or {})


def choice(files: RunFiles, each: EvaluationSet) -> Choice:
    """The cheapest system that is clearly ahead of the first stage and not clearly behind the best one.

    None where the best is not clearly ahead of the first stage, or too much is unjudged.
    """
    best = each.students[0]
    name, share = most_unjudged(each)
    if undecided(files, each):
        text = f"{percent(share, 1)} of the top of {system_label(name)} was never judged and counts as not relevant. "
        return Choice(None, "Decide nothing from these figures yet", text + grade(files))
    gain = each.difference("first_stage", best)
    if gain is not None and gain.low <= 0:
        text = f"no student is clearly better than the first stage; the best, `{best}`, is {_interval(gain)} from it."
        return Choice(None, "Ship none of these students", _capital(text))
    near = {best: each.seconds_a_query(best)}
    for system in each.order:
        behind, ahead = each.difference(system, best), each.difference("first_stage", system)
        as_good = behind is not None and behind.low <= 0 and (ahead is None or ahead.low > 0)
        if as_good and system not in ("first_stage", best):
            near[system] = each.seconds_a_query(system)
    timed = {system: seconds for system, seconds in near.items() if seconds}
    cheapest = min(timed, key=lambda system: timed[system], default=best)
    ratio = timed[best] / timed[cheapest] if best in timed else 1.0
    if cheapest == best or ratio < CHEAPER:
        return Choice(best, f"Ship `{best}`", _best(each, best))
    behind = each.difference(cheapest, best)
    distance = f" ({_interval(behind, -1)})" if behind else ""
    text = f"Within the interval of `{best}`{distance} at 1/{ratio:.0f} of its cost{_prices(each, cheapest, best)}."
    return Choice(cheapest, f"Ship `{cheapest}`", text)


def _best(each: EvaluationSet, best: str) -> str:
    """Why the best is worth its price: what it is ahead of, and how much more it costs."""
    others = [system for system in each.order if system not in (best, f"{best}.fused", "first_stage")]
    other = next((s for s in [*each.students, *others] if s in others and each.difference(s, best)), None)
    rival = other or "first_stage"
    gain = each.difference(rival, best)
    if gain is None:
        return f"It has the highest {each.primary}, {measure(each.value(best))}."
    ours, theirs = each.seconds_a_query(best), each.seconds_a_query(rival)
    text = f"{_interval(gain)} in {each.primary} against `{rival}`"
    if ours and theirs and ours > theirs:
        text += f", for {ours / theirs:.1f} times the cost{_prices(each, best, rival)}"
    elif ours:
        text += f"; a query takes {duration(ours)}" + (f" more than with {rival}" if rival == "first_stage" else "")
    return text + "."


def _prices(each: EvaluationSet, ours: str, theirs: str) -> str:
    (mine, yours), dollars = ((each.seconds_a_query(s) for s in (ours, theirs)), each.usd_a_thousand(ours))
    text = f": {seconds(mine)} a query against {seconds(yours)}"
    return text + (f", {usd(dollars)} per 1,000 queries against {usd(each.usd_a_thousand(theirs))}" if dollars else "")


def seconds(value: float | None) -> str:
    """A latency: milliseconds below one second."""
    return f"{1000 * value:.3g} ms" if value is not None and value < 1 else duration(value)


def _interval(gain: Difference, sign: int = 1) -> str:
    low, high = sorted((sign * gain.low, sign * gain.high))
    return f"{signed(sign * gain.mean)} [{signed(low)} to {signed(high)}]"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def lights(files: RunFiles, each: EvaluationSet) -> list[Light]:
    """Queries, unjudged share, seeds and leaks, a sentence each."""
    return [_queries(each), _unjudged(files, each), _seeds(files), _leaks(files, each)]


def _queries(each: EvaluationSet) -> Light:
    best = each.students[0]
    gap = next((d for rival in each.rivals if (d := each.difference(rival, best))), None)
    number = len(gap.values) if gap else len(each.detail.queries)
    text = f"{counted(number, 'query')}"
    if gap:
        text += f"; differences below about {measure((gap.high - gap.low) / 2)} in {each.primary} may be chance"
    level: Level = "bad" if number < FEW_QUERIES else "warn" if number < ENOUGH_QUERIES else "good"
    return Light(level, "Queries", text + ".")


def _unjudged(files: RunFiles, each: EvaluationSet) -> Light:
    if each.name in (files.metrics.holes or {}):
        return Light("good", "Unjudged", "The teacher graded what nobody had judged; see the limits below.")
    if all(each.unjudged(student) is None for student in each.students):
        return Light("warn", "Unjudged", "How much of the top was never judged is unknown: measure Judged@10.")
    name, share = most_unjudged(each)
    if share < SOME_UNJUDGED:
        return Light("good", "Unjudged", f"Nobody judged {percent(share, 1)} of the top of {system_label(name)}.")
    text = f"{percent(share, 1)} of the top of {system_label(name)} was never judged and counts as not relevant."
    return Light("bad" if share >= MANY_UNJUDGED else "warn", "Unjudged", f"{text} {grade(files)}")


def has_seeds(files: RunFiles) -> bool:
    """Whether the run's ablation trains with several seeds."""
    grids = [grid for grid in files.config.get("ablate") or [] if isinstance(grid, dict)]
    return any(key in SEEDS for grid in grids for key in grid)


def _seeds(files: RunFiles) -> Light:
    if has_seeds(files):
        return Light("good", "Seeds", "Students were trained with several seeds; see the ablations.")
    text = "Every student was trained once: another seed may move the figures as far as the intervals."
    return Light("warn", "Seeds", text)


def _leaks(files: RunFiles, each: EvaluationSet) -> Light:
    """Test queries that are also in the training pairs, by their whole text."""
    import pyarrow.compute as pc

    trained: set[str] = set()
    for table in files.tables("pairs", ["query"], pc.field("split") == "train"):
        trained.update(_plain(text) for text in pc.unique(table["query"]).to_pylist())
    if not trained or not each.detail.queries:
        return Light("warn", "Leaks", "Unknown: the run folder lacks the training pairs or the test queries.")
    leaked = sum(_plain(text) in trained for text in each.detail.queries.values())
    if leaked:
        text = f"Also in the training pairs: {count(leaked)} of {counted(len(each.detail.queries), 'test query')}."
        return Light("bad", "Leaks", f"{text} `pairs.clean.decontaminate: true` leaves them out.")
    if files.setting("pairs", "clean", "decontaminate"):
        return Light("good", "Leaks", "No test query is in the training pairs; copies of test texts were left out.")
    text = "No test query is in the training pairs word for word. Near copies were not looked for"
    return Light("good", "Leaks", f"{text} (`pairs.clean.decontaminate: true` does).")


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
