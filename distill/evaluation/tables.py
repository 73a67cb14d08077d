"""A comparison as a table: plain text, Markdown, LaTeX. Called by the evaluate stage, ablations and `evaluate`."""

from __future__ import annotations

from distill.results import EvaluationResult

SURE = 0.05
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def text_table(result: EvaluationResult) -> str:
    """Plain text, one system a line: mean, 95 % interval, * where the difference to the baseline is significant."""
    lines = [["system", *_names(result)]]
    for system, values in result.measures.items():
        cells = [system]
        for name in _names(result):
            low, high = result.intervals[system].get(name, (0.0, 0.0))
            star = "*" if significant(result, system, name) else " "
            cells.append(f"{values[name]:.4f}{star}[{low:.4f}, {high:.4f}]" if name in values else "-")
        lines.append(cells)
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown_table(result: EvaluationResult) -> str:
    """A pipe table with the tests' corrected p in brackets after each system that is not the baseline."""
    names = _names(result)
    lines = ["| system | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for system, values in result.measures.items():
        cells = []
        for name in names:
            if name not in values:
                cells.append("–")
                continue
            low, high = result.intervals[system].get(name, (None, None))
            text = f"{values[name]:.4f}" + (f" [{low:.4f}, {high:.4f}]" if low is not None else "")
            test = result.tests.get(system, {}).get(name)
            cells.append(text + (f" (p {_p(test.p_holm)})" if test else ""))
        lines.append(f"| {_plain(system)} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", note(result)]) + "\n"


def latex_table(result: EvaluationResult, caption: str = "") -> str:
    """A booktabs tabular: the best of a column bold, a dagger where the difference to the baseline is significant."""
    names, systems = _names(result), list(result.measures)
    best = {
        name: max((result.measures[s][name] for s in systems if name in result.measures[s]), default=None)
        for name in names
    }
    lines = [r"\begin{table}[t]", r"\centering", r"\begin{tabular}{l" + "r" * len(names) + "}", r"\toprule"]
    lines += ["System & " + " & ".join(_latex(name) for name in names) + r" \\", r"\midrule"]
    for system in systems:
        cells = []
        for name in names:
            value = result.measures[system].get(name)
            if value is None:
                cells.append("--")
                continue
            low, high = result.intervals[system].get(name, (None, None))
            shown = rf"\textbf{{{value:.4f}}}" if value == best[name] else f"{value:.4f}"
            shown += r"$^{\dagger}$" if significant(result, system, name) else ""
            cells.append(shown + (rf" {{\scriptsize [{low:.3f}, {high:.3f}]}}" if low is not None else ""))
        lines.append(f"{_latex(system)} & " + " & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_latex(f'{caption} {note(result)}'.strip())}}}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def note(result: EvaluationResult) -> str:
    """What the figures in the table are."""
    if result.runs is not None:
        few = " Over so few runs an interval says little." if result.runs < 3 else ""
        return (
            f"Means over {result.runs} runs and their queries with 95 % intervals bootstrapped over both; "
            f"differences are tested against {result.baseline} by that bootstrap, with Holm's correction over "
            f"systems.{few}"
        )
    return (
        "Means with 95 % bootstrap intervals; differences are tested against "
        f"{result.baseline} by paired randomisation, with Holm's correction over systems."
    )


def significant(result: EvaluationResult, system: str, name: str) -> bool:
    """Whether the difference to the baseline has a corrected p below 0.05."""
    test = result.tests.get(system, {}).get(name)
    return test is not None and test.p_holm < SURE


def _names(result: EvaluationResult) -> list[str]:
    return list(dict.fromkeys(name for values in result.intervals.values() for name in values))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def _plain(text: str) -> str:
    return text.replace("|", "\\|")
