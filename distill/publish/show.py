"""Findings as a page of text on the terminal. Nothing of a row reaches the terminal but printable characters."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from distill.tables import counted

if TYPE_CHECKING:
    from distill.publish.validate import Findings


def show(findings: Findings, most: int = 5) -> str:
    """What is sound, what is broken and where: at most `most` places a fault."""
    lines = [f"{findings.path}: {counted(findings.rows, 'row')}, {findings.sound:,} sound, {findings.broken:,} broken"]
    if findings.shapes:
        lines.append("read as: " + ", ".join(f"{shape} ({n:,})" for shape, n in findings.shapes.most_common()))
    if findings.sound:
        said = {0: "false", 1: "true"}
        verdicts = (f"{n:,} {said.get(v, f'grade {v}')}" for v, n in sorted(findings.verdicts.items(), reverse=True))
        lines.append("would be trained on: " + ", ".join(verdicts))
    if (s := findings.spread()) is not None:
        lines.append(
            f"prompt and completion, in {findings.unit}: mean {s.mean:,.0f}, median {s.median:,}, 95 % up to "
            f"{s.p95:,}, longest {s.longest:,}"
        )
    if findings.faults:
        width = max(len(name) for name in findings.faults)
        lines += ["", f"{'broken'.ljust(width)}  {'rows':>8}  at"]
        for name, fault in sorted(findings.faults.items(), key=lambda each: -each[1].rows):
            for number, (place, what) in enumerate(fault.at[:most]):
                head = f"{name.ljust(width)}  {fault.rows:>8,}" if not number else " " * (width + 10)
                lines.append(f"{head}  {printable(place)}: {printable(what)}")
            if fault.rows > len(fault.at[:most]):
                lines.append(f"{' ' * (width + 10)}  and {fault.rows - len(fault.at[:most]):,} more")
    lines += ["", *findings.sums] if findings.sums else []
    if findings.notes:
        lines += [
            "",
            "to know (not broken):",
            *(f"  {counted(n, 'row')}: {note}" for note, n in findings.notes.most_common()),
        ]
    if findings.example:
        place, prompt, completion = findings.example
        lines += ["", f"the first sound row, {printable(place)}, as a student would read and write it:"]
        lines += [textwrap.indent(_short(prompt), "  > "), textwrap.indent(_short(completion), "  < ")]
    return "\n".join(lines)


def printable(text: str) -> str:
    """`text` on one line without terminal control characters or bidirectional overrides."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _short(text: str, most: int = 600) -> str:
    cut = text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"
    return "\n".join(printable(line) or " " for line in cut.split("\n"))
