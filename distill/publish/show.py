"""Findings as a page of text on the terminal. Nothing of a row reaches the terminal but printable characters."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.publish.validate import Findings


def show(found: Findings, most: int = 5) -> str:
    """What is sound, what is broken and where: at most `most` places a fault."""
    lines = [f"{found.path}: {found.rows:,} rows, {found.sound:,} sound, {found.broken:,} broken"]
    if found.shapes:
        lines.append("read as: " + ", ".join(f"{shape} ({n:,})" for shape, n in found.shapes.most_common()))
    if found.sound:
        said = {0: "false", 1: "true"}
        verdicts = (f"{n:,} {said.get(v, f'grade {v}')}" for v, n in sorted(found.verdicts.items(), reverse=True))
        lines.append("would be trained on: " + ", ".join(verdicts))
    if (s := found.spread()) is not None:
        lines.append(
            f"prompt and completion, in {found.unit}: mean {s.mean:,.0f}, median {s.median:,}, 95 % up to {s.p95:,}, "
            f"longest {s.longest:,}"
        )
    if found.faults:
        width = max(len(name) for name in found.faults)
        lines += ["", f"{'broken'.ljust(width)}  {'rows':>8}  at"]
        for name, fault in sorted(found.faults.items(), key=lambda each: -each[1].rows):
            for number, (place, what) in enumerate(fault.at[:most]):
                head = f"{name.ljust(width)}  {fault.rows:>8,}" if not number else " " * (width + 10)
                lines.append(f"{head}  {printable(place)}: {printable(what)}")
            if fault.rows > len(fault.at[:most]):
                lines.append(f"{' ' * (width + 10)}  and {fault.rows - len(fault.at[:most]):,} more")
    lines += ["", *found.sums] if found.sums else []
    if found.notes:
        lines += ["", "to know (not broken):", *(f"  {n:,} rows: {note}" for note, n in found.notes.most_common())]
    if found.example:
        place, prompt, completion = found.example
        lines += ["", f"the first sound row, {printable(place)}, as a student would read and write it:"]
        lines += [textwrap.indent(_short(prompt), "  > "), textwrap.indent(_short(completion), "  < ")]
    return "\n".join(lines)


def printable(text: str) -> str:
    """`text` on one line without terminal control characters or bidirectional overrides."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _short(text: str, most: int = 600) -> str:
    cut = text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"
    return "\n".join(printable(line) or " " for line in cut.split("\n"))
