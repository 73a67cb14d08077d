"""A comparison as a table: plain text, Markdown, LaTeX. Called by the evaluate stage, ablations and `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator

from distill.results import EvaluationResult, PairedTest
from distill.tables import aligned, cell, counted, markdown

Cell = tuple[float | None, tuple[float, float], PairedTest | None]
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def text_table(result: EvaluationResult) -> str:
    """Plain text, one system a line: mean, 95 % interval, * where the difference to the baseline is significant."""
    rows = [["system", *_names(result)]]
    for system in result.measures:
        cells = [
            f"{value:.4f}{'*' if _is_significant(test) else ' '}[{low:.4f}, {high:.4f}]" if value is not None else "-"
            for value, (low, high), test in _cells(result, system)
        ]
        rows.append([system, *cells])
    return aligned(rows)


def markdown_table(result: EvaluationResult) -> str:
    """A pipe table with the tests' corrected p in brackets after each system that is not the baseline."""
    rows = []
    for system in result.measures:
        cells = [
            "–" if value is None else f"{value:.4f} [{low:.4f}, {high:.4f}]" + (f" (p {test.p_text})" if test else "")
            for value, (low, high), test in _cells(result, system)
        ]
        rows.append([cell(system), *cells])
    return f"{markdown(['system', *_names(result)], rows)}\n\n{note(result)}\n"


def latex_table(result: EvaluationResult, caption: str = "") -> str:
    """A booktabs tabular: the best of a column bold, a dagger where the difference to the baseline is significant."""
    names = _names(result)
    best = {name: max(values[name] for values in result.measures.values() if name in values) for name in names}
    lines = [r"\begin{table}[t]", r"\centering", r"\begin{tabular}{l" + "r" * len(names) + "}", r"\toprule"]
    lines += ["System & " + " & ".join(map(_latex, names)) + r" \\", r"\midrule"]
    for system in result.measures:
        cells = [_latex(system)]
        for name, (value, (low, high), test) in zip(names, _cells(result, system), strict=True):
            mean = "--" if value is None else rf"\textbf{{{value:.4f}}}" if value == best[name] else f"{value:.4f}"
            dagger = r"$^{\dagger}$" if _is_significant(test) else ""
            cells.append(mean + dagger + ("" if value is None else rf" {{\scriptsize [{low:.3f}, {high:.3f}]}}"))
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_latex(f'{caption} {note(result)}'.strip())}}}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def note(result: EvaluationResult) -> str:
    """What the figures in the table are."""
    if result.runs is not None:
        few = " Over so few runs an interval says little." if result.runs < 3 else ""
        return (
            f"Means over {counted(result.runs, 'run')} and their queries with 95 % intervals bootstrapped over both; "
            f"differences are tested against {result.baseline} by that bootstrap, with Holm's correction over "
            f"systems.{few}"
        )
    return (
        "Means with 95 % bootstrap intervals; differences are tested against "
        f"{result.baseline} by paired randomisation, with Holm's correction over systems."
    )


def _names(result: EvaluationResult) -> list[str]:
    return list(dict.fromkeys(name for values in result.intervals.values() for name in values))


def _cells(result: EvaluationResult, system: str) -> Iterator[Cell]:
    """(mean, interval, test against the baseline) of a system by each measure; the mean is None where it has none."""
    for name in _names(result):
        low, high = result.intervals[system].get(name, (0.0, 0.0))
        yield result.measures[system].get(name), (low, high), result.tests.get(system, {}).get(name)


def _is_significant(test: PairedTest | None) -> bool:
    return test is not None and test.significant


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
