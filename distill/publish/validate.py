"""`distill validate`: what of a dataset would be trained on, what is broken, and at which row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distill import config, store
from distill.errors import DataError, InputError
from distill.publish.checks import Length, faults, key, notes, trained
from distill.publish.reading import Raw, read
from distill.publish.rows import LABELS
from distill.publish.shapes import NAMES, find_columns, understand
from distill.publish.tally import Spread, spread
from distill.results import RunMetrics, read_as


@dataclass(slots=True)
class RowFault:
    """One kind of fault: how many rows have it, and the first of them, as (place, what was found)."""

    rows: int = 0
    at: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Findings:
    """What a dataset holds. A row counts as broken once, however many faults it has; the others are sound."""

    path: str
    rows: int = 0
    broken: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[int] = field(default_factory=Counter)
    faults: dict[str, RowFault] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)
    unit: str = "words"
    example: tuple[str, str, str] | None = None
    sums: list[str] = field(default_factory=list)

    @property
    def sound(self) -> int:
        """Rows that would be trained on."""
        return self.rows - self.broken

    @property
    def exit_code(self) -> int:
        """2 when anything is broken."""
        return 2 if self.broken or self.sums else 0

    def spread(self) -> Spread | None:
        """Of the lengths of prompt and completion of the sound rows."""
        return spread(self.lengths) if self.lengths else None

    def as_json(self) -> dict[str, Any]:
        """All of it in plain values."""
        lengths = self.spread()
        return {
            "path": self.path,
            "rows": self.rows,
            "sound": self.sound,
            "broken": self.broken,
            "columns": dict(self.shapes),
            "verdicts": {str(grade): n for grade, n in sorted(self.verdicts.items())},
            "length": {"unit": self.unit, **asdict(lengths)} if lengths else None,
            "faults": {
                name: {"rows": fault.rows, "at": [{"place": place, "found": found} for place, found in fault.at]}
                for name, fault in self.faults.items()
            },
            "notes": dict(self.notes),
            "counts_that_do_not_add_up": self.sums,
        }


def validate(
    path: Path,
    columns: Mapping[str, str] | None = None,
    max_length: int | None = None,
    tokenizer: str | None = None,
    limit: int = 20,
) -> Findings:
    """Read every row once. `columns` is our name -> theirs; lengths are in the tokenizer's tokens, words without one.

    At most `limit` places are kept of each fault (0 keeps all). Raises DataError where `path` holds no rows, InputError
    for a column that is none of ours or a tokenizer that cannot be loaded.
    """
    named = dict(columns or {})
    for name in named:
        if name not in NAMES:
            raise InputError(f"--columns {name}=...: unknown; there are {', '.join(NAMES)}")
    length, unit = _length(tokenizer)
    findings = Findings(str(path), unit=unit)
    seen: dict[bytes, str] = {}
    known: dict[frozenset[str], dict[str, str]] = {}
    judged = _judged(path)
    for raw in read(path):
        findings.rows += 1
        broken = _look(raw, findings, seen, known, named, max_length, length, judged)
        findings.broken += bool(broken)
        for name, what in broken:
            fault = findings.faults.setdefault(name, RowFault())
            fault.rows += 1
            if not limit or len(fault.at) < limit:
                fault.at.append((raw.place, what))
    if not findings.rows:
        raise DataError(f"{path}: holds no row")
    findings.sums = _sums(path)
    return findings


def _look(
    raw: Raw,
    findings: Findings,
    seen: dict[bytes, str],
    known: dict[frozenset[str], dict[str, str]],
    named: Mapping[str, str],
    max_length: int | None,
    length: Length,
    judged: bool,
) -> list[tuple[str, str]]:
    """The row's faults; what is sound is counted into `findings`."""
    if raw.fault is not None:
        return [raw.fault]
    names = frozenset(raw.values)
    if names not in known:
        known[names] = find_columns(set(names), named)
    row = understand(raw.values, known[names])
    if isinstance(row, str):
        return [("missing columns", f"{row} (there are {', '.join(sorted(names)) or 'none'})")]
    broken = list(faults(row, max_length, length, findings.unit, judged))
    first = seen.setdefault(key(row), raw.place)
    if first != raw.place:
        broken.append(("duplicate", f"the same as {first}"))
    findings.shapes[row.shape] += 1
    findings.notes.update(notes(row, judged))
    if not broken:
        findings.verdicts[row.verdict or 0] += 1
        if (written := trained(row)) is not None:
            findings.lengths.append(length("".join(written)))
            findings.example = findings.example or (raw.place, *written)
    return broken


def _judged(path: Path) -> bool:
    """Whether it is a run with `teacher.source: labels`, or an export of one (its folder, or what is in it)."""
    teacher = (config.resolved(path) or {}).get("teacher")
    if isinstance(teacher, Mapping) and teacher.get("source") == LABELS:
        return True
    whole = path.resolve()
    near = [folder for folder in (whole, *whole.parents[:3]) if folder.is_dir()]
    return any(((store.read_manifest(folder) or {}).get("result") or {}).get("judged") is True for folder in near)


def _length(tokenizer: str | None) -> tuple[Length, str]:
    if tokenizer is None:
        return lambda text: len(text.split()), "words"
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise InputError(f"--tokenizer {tokenizer}: cannot be loaded ({str(error).splitlines()[0]})") from None
    return lambda text: len(loaded.encode(text, add_special_tokens=False)), "tokens"


def _sums(path: Path) -> list[str]:
    """Promise 2 for a run of ours: samples due = kept + rejected + failed + not asked. Other paths promise nothing."""
    metrics = read_as(RunMetrics, store.read_json(path / "metrics.json") if path.is_dir() else None)
    due, counts = metrics.counts("trace").samples_due, metrics.counts("filter")
    parts = [part for part in (counts.kept, counts.rejected, counts.failed, counts.not_asked) if part is not None]
    if due is None or len(parts) < 4 or sum(parts) == due:
        return []
    return [f"{due} samples were due, but kept, rejected, failed and not asked are {' + '.join(map(str, parts))}"]
