"""How numbers, names and texts are written in the report: one place, so that every section says them alike."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

PHRASES = {
    "first_stage": "the first stage",
    "untrained": "the untrained model",
    "served": "the served student",
    "direct": "answering directly",
    "think": "thinking first",
    "verdict_first": "answering before explaining",
}
MEANINGS = {
    "untrained": "the base model before training",
    "served": "the earlier run's student, which is served",
    "direct": "trained to answer without reasoning",
    "think": "trained to reason, then answer",
    "verdict_first": "trained to answer, then explain",
    "encoder": "a cross-encoder, trained to score without writing",
}
LOWER_IS_BETTER = frozenset({"ECE", "Brier", "tokens_per_pair", "seconds", "cost_usd"})
_COLOURS = {"first_stage": 0, "untrained": 1, "direct": 2, "think": 3}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|[\ud800-\udfff]")


def count(value: Any) -> str:
    """A whole number with thousands separated; "–" for None."""
    return "–" if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """1,234,567 as "1.2 M"; under 10,000 in full."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):,.1f} {unit}"
    return count(value)


def usd(value: float | None) -> str:
    """Dollars, with as many decimals as a small sum needs."""
    if value is None:
        return "–"
    return f"${value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"${value:.4f}"


def duration(seconds: float | None) -> str:
    """Seconds as "8.2 s", "3 min 12 s" or "2 h 05 min"."""
    if seconds is None:
        return "–"
    if 0 < seconds < 0.05:
        return "under 0.1 s"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def share(value: float | None) -> str:
    """A share as "97.3 %" (with a no-break space); "–" for None."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def percent(part: float, whole: float) -> str:
    """A share as "73 %" (with a no-break space), "–" of nothing; one decimal where 0 or 100 would be wrong."""
    if not whole:
        return "–"
    share = 100 * part / whole
    rounded = f"{share:.0f}"
    if (rounded == "100" and share != 100) or (rounded == "0" and share != 0):
        return f"{min(max(share, 0.1), 99.9):.1f}\u00a0%"
    return f"{rounded}\u00a0%"


def measure(value: Any) -> str:
    """A measure's value: three decimals within [-1, 1], fewer above; "–" for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if abs(value) <= 1:
        return f"{value:.3f}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def interval_text(bounds: Sequence[float] | None, between: str = "–") -> str:
    """An interval as "0.412 – 0.530"; "" where there is none."""
    return f"{measure(bounds[0])} {between} {measure(bounds[1])}" if bounds else ""


def signed(value: float) -> str:
    """A difference with its sign, a true minus."""
    text = measure(abs(value))
    return text if text in ("0.000", "–") else ("+" if value > 0 else "−") + text


def system_label(name: str) -> str:
    """A system's name in tables: "First stage", "Mixed · think"; unknown names stay as they are."""
    head, dot, mode = name.rpartition(".")
    if dot and mode.split("_")[0] in ("think", "direct", "verdict", "budget", "adaptive", "fused"):
        return f"{system_label(head)} · {mode.replace('_', ' ')}"
    return name[:1].upper() + name[1:].replace("_", " ")


def system_phrase(name: str) -> str:
    """A system's name within a sentence."""
    return PHRASES.get(name, f"the student “{system_label(name)}”")


def measure_label(name: str) -> str:
    """A measure's name in tables: ir_measures' names nearly as they are, ours with spaces."""
    if (head := name.partition("(judged_only=True)"))[1]:
        return f"{head[0]}{head[2]}, judged only"
    return (
        name.replace("_per_s", "/s")
        .replace("_", " ")
        .replace(".og", ", first instruction")
        .replace(".changed", ", changed instruction")
    )


def colours(names: list[str]) -> dict[str, int]:
    """A colour number (0 to 9) for each system or student: known ones always the same, other students by their names
    and then their modes, so that a student has one colour in all charts."""
    found = {name: _COLOURS[name] for name in names if name in _COLOURS}
    rest = sorted((name for name in names if name not in found), key=lambda name: ("." in name, name))
    return found | {name: 4 + at % 6 for at, name in enumerate(rest)}


def clean(text: Any) -> str:
    """The text without control characters and lone surrogates, which no page can hold."""
    return _CONTROL.sub("\ufffd", str(text))


def cut(text: Any, length: int) -> str:
    """The text, cleaned; past `length` characters it ends in a note of how many more there are."""
    text = str(text)
    if len(text) <= length:
        return clean(text)
    return f"{clean(text[:length]).rstrip()} … ({len(text) - length:,} more characters)"


def href(*parts: str) -> str:
    """A relative link to a file of the run folder, each part quoted."""
    return "/".join(quote(part, safe="") for part in parts)


def safe_name(name: str) -> bool:
    """Whether a set's or system's name can be part of a file name within the run folder."""
    return bool(name) and "/" not in name and "\\" not in name and not name.startswith(".") and "\0" not in name
