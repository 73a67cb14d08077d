"""The rewards of `grpo`, a function each, in the form of TRL's reward functions. Used by `sft.after`, and written into
the export `trl-grpo` as it is: so it imports nothing of this project.

Each is called with one step's answers and returns a number for each. It may name any of these columns (lists of one
entry an answer, a prompt's answers one after another, a query's prompts too) and takes the rest as `**columns`:

    prompts, completions      the texts; a completion begins after the prompt's `<think>`
    completion_ids            the completion's token ids
    pair_id, query_id, query, passage, instruction
    grade, label              the verdict to learn on the prompt's scale (rank1: 1 true, 0 false), and as 0 to 1
    words                     the scale's words in rising order of grade, such as [" false", " true"]
    length_budget             tokens that an answer may have before `length` falls
    p_true                    the expected grade, 0 to 1, by the model's own probabilities of the verdicts right after
                              `</think>`; None for an answer without it

A reward of one's own has the same form, and is named `FILE.py:function` in `then.reward`; None instead of a number
says that it does not apply to an answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

BUILT_IN = ("verdict", "brier", "pairwise", "group_rank", "length", "form")
ALONE = ("verdict", "length", "form")  # which need nothing but the texts, and so run under TRL without this project


def verdict_of(completion: str, words: Sequence[str]) -> int | None:
    """The grade that a completion ends in; None where it is not well-formed: a reasoning, `</think>` once, and the
    verdict alone after it."""
    reasoning, end, answer = completion.partition("</think>")
    said = [grade for grade, word in enumerate(words) if answer.rstrip() == word]
    return said[0] if end and said and reasoning.strip() and "<think>" not in reasoning else None


def verdict(completions: list[str], grade: list[int], words: list[list[str]], **columns: Any) -> list[float]:
    """1 for the right verdict, less by the distance of a graded one, 0 for none: agreement with the label.

    Source: the outcome reward of Rank-R1 (arXiv 2503.06034) and of most trainings with verifiable rewards.
    """
    made = []
    for completion, right, scale in zip(completions, grade, words, strict=True):
        said = verdict_of(completion, scale)
        made.append(0.0 if said is None else 1.0 - abs(said - right) / (len(scale) - 1))
    return made


def form(completions: list[str], words: list[list[str]], **columns: Any) -> list[float]:
    """1 for a well-formed answer: a reasoning, `</think>` once, the verdict alone after it; else 0.

    Source: the format reward of DeepSeek-R1 (arXiv 2501.12948).
    """
    return [float(verdict_of(text, scale) is not None) for text, scale in zip(completions, words, strict=True)]


def length(completion_ids: list[list[int]], length_budget: list[int], **columns: Any) -> list[float]:
    """0 up to the budget, then falling with each token, to -1 at twice the budget.

    Source: the soft punishment of too long answers of DAPO (arXiv 2503.14476).
    """
    return [
        -min(1.0, max(0, len(ids) - budget) / budget) for ids, budget in zip(completion_ids, length_budget, strict=True)
    ]


def brier(
    completions: list[str],
    words: list[list[str]],
    label: list[float],
    p_true: list[float | None],
    **columns: Any,
) -> list[float]:
    """1 - (label - p)^2 in the mean over the verdicts that a reasoning may end in, p being P(true) after it; 0 without
    a verdict. Against overconfidence: a proper score is best where p is the chance that the label is true.

    The score by itself is the same whichever verdict was drawn, so it would teach the reasoning alone. Hence the term
    2 (label - p) (verdict - p), whose mean over the drawn verdict is 0: with it the policy gradient at the verdict is
    that of the Brier score.

    Source: Brier (1950); as a reward, Damani et al. (arXiv 2507.16806), whose models say their confidence in words.
    """
    made = []
    for completion, scale, right, p in zip(completions, words, label, p_true, strict=True):
        said = verdict_of(completion, scale)
        if said is None or p is None:
            made.append(0.0)
        else:
            made.append(1.0 - (right - p) ** 2 + 2 * (right - p) * (said / (len(scale) - 1) - p))
    return made


def pairwise(query_id: list[str], label: list[float], p_true: list[float | None], **columns: Any) -> list[float]:
    """The share of the answers to the query's other passages of another label that this answer's P(true) is on the
    right side of, equal ones counting half; 0 without a verdict, one half where the step has no such passage.

    Source: the second part of Retro*'s reward (arXiv 2509.24869).
    """
    of_query: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for query, right, p in zip(query_id, label, p_true, strict=True):
        of_query[query].append((right, 0.0 if p is None else p))
    made = []
    for query, right, p in zip(query_id, label, p_true, strict=True):
        others = [(other, q) for other, q in of_query[query] if other != right]
        if p is None or not others:
            made.append(0.0 if p is None else 0.5)
            continue
        won = sum(0.5 if q == p else float((q < p) == (other < right)) for other, q in others)
        made.append(won / len(others))
    return made


def group_rank(query_id: list[str], label: list[float], p_true: list[float | None], **columns: Any) -> list[float]:
    """For a relevant passage (label of one half and more) the reciprocal of its answer's rank by P(true) among the
    query's answers for passages that are not relevant, equal ones before it; 0 for the others and without a verdict.

    Source: the listwise reward of ERank (arXiv 2509.00520), which ranks a query's rollouts together.
    """
    against: dict[str, list[float]] = defaultdict(list)
    for query, right, p in zip(query_id, label, p_true, strict=True):
        if right < 0.5 and p is not None:
            against[query].append(p)
    return [
        0.0 if right < 0.5 or p is None else 1 / (1 + sum(q >= p for q in against[query]))
        for query, right, p in zip(query_id, label, p_true, strict=True)
    ]
