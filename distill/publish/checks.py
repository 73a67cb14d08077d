"""What makes a row of traces unfit to train on (promises 2 and 3), each with its name and what was found.

Not covered: whether the reasoning is any good. That is what the filters are for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from distill.answers.finish import finish_of
from distill.prompts import (
    END_THINK,
    FIELDS,
    PROMPTS,
    THINK,
    as_data,
    completion,
    is_relevant,
    parts_of,
    prompt_in,
    student_prompt,
)
from distill.publish.shapes import Seen

Length = Callable[[str], int]
RowFault = tuple[str, str]


def faults(row: Seen, max_length: int | None, length: Length, unit: str, judged: bool = False) -> Iterator[RowFault]:
    """(name, what was found) of everything that is broken in a row. `max_length` is in `unit`s of `length`.

    `judged` says that the labels are the answers, so that no reasoning is right.
    """
    if finish_of(row.finish_reason)[0] == "length":
        yield "truncated", "the teacher's answer ended by length"
    if row.unclosed:
        yield "unclosed think", f"{THINK} without {END_THINK}"
    elif row.verdict is None:
        yield "no verdict", f"the answer is {_shown(row.answer)}" if row.answer.strip() else "there is no answer"
    if not row.reasoning.strip() and row.target != "direct" and not judged:
        yield "empty reasoning", "nothing between the tags" if row.completion else "an empty column"
    if row.prompt is None and None in (row.query, row.passage):
        yield "missing columns", "no prompt, nor query and passage: nothing says what was judged"
    for name, text in (("query", row.query), ("passage", row.passage), ("prompt", row.prompt)):
        if text is not None and not text.removesuffix(THINK).strip():
            yield f"empty {name}", "no text"
    if (token := control_token(row.reasoning)) is not None:
        yield "control token in reasoning", _shown(token)
    own = "".join(part for part in parts_of(row.prompt or "") if part not in FIELDS)  # without its marks
    if (token := control_token(own.rstrip().removesuffix(THINK))) is not None:
        yield "control token in prompt", _shown(token)
    yield from _columns_agree(row)
    if max_length is not None and (written := trained(row)) is not None:
        size = length("".join(written))
        if size > max_length:
            yield "too long", f"{size:,} {unit}, more than {max_length:,}"


def notes(row: Seen, judged: bool = False) -> Iterator[str]:
    """What is worth knowing and breaks nothing."""
    if judged and not row.reasoning.strip():
        yield "no reasoning: the label is the answer (teacher.source: labels)"
    asked = prompt_in(row.prompt)
    says = None if row.verdict is None else is_relevant(row.verdict, asked)
    if says is not None and row.label is not None and says != (row.label >= row.relevant_from):
        yield "the verdict is not the label's"
    if row.query is not None and row.passage is not None and row.prompt is not None:
        if row.prompt not in (student_prompt(row.query, row.passage, row.instruction, name) for name in PROMPTS):
            yield "the prompt is not Rank1's of this query and passage"
    elif row.prompt is not None and not row.prompt.startswith(tuple(each.task for each in PROMPTS.values())):
        yield "the prompt does not begin as Rank1's"
    judged_text = f"{row.prompt or ''}{row.query or ''}{row.passage or ''}"
    if "\ufffd" in row.reasoning and "\ufffd" not in judged_text:  # else the reasoning may quote it
        yield "the reasoning holds U+FFFD: it was once decoded wrongly"


def trained(row: Seen) -> tuple[str, str] | None:
    """(prompt, completion) that a thinking student would be trained on; None where the row does not say."""
    if row.prompt is None:
        return None
    if row.completion is not None:
        return row.prompt, row.completion
    asked = prompt_in(row.prompt)
    return None if row.verdict is None else (row.prompt, completion("think", row.reasoning, _grade(row, asked), asked))


def key(row: Seen) -> bytes:
    """Equal for rows that would be trained alike."""
    parts = (row.prompt or f"{row.query}\0{row.passage}\0{row.instruction}", row.reasoning, str(row.verdict))
    return hashlib.sha256("\0\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]


def control_token(text: str) -> str | None:
    """The first control token in a text, None where there is none. Those that `prompts.as_data` knows."""
    broken = as_data(text)
    if broken == text:
        return None
    at = next(i for i, (a, b) in enumerate(zip(broken, text, strict=False)) if a != b) - 1
    return text[max(0, at) : at + 24].split()[0]


def _columns_agree(row: Seen) -> Iterator[RowFault]:
    """What is trained is what the columns say."""
    if row.shape != "reasoning and answer" or row.completion is None:
        return
    thought, closed, said = row.completion.rpartition(END_THINK)
    said, asked = f" {said.strip()}", prompt_in(row.prompt)
    if not closed:
        yield "unclosed think", f"the completion has no {END_THINK}"
    elif row.reasoning not in row.completion and thought.removeprefix(THINK).strip():
        yield "columns disagree", "the completion does not hold the reasoning"
    elif row.verdict is not None and not said.startswith(PROMPTS[asked].verdicts[_grade(row, asked)]):
        yield "columns disagree", f"the verdict is {row.verdict}, the completion ends in {_shown(said)}"


def _grade(row: Seen, asked: str) -> int:
    """The verdict on the scale that was asked; other datasets' grades count as true."""
    return min(row.verdict or 0, len(PROMPTS[asked].verdicts) - 1)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
