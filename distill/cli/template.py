"""The configuration that `distill init` writes: what was found and answered, as commented YAML. Called by cli/init."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from distill.pairs.detect import DataFound
from distill.tables import counted
from filters.settings import DEFAULT

_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")  # of YAML, none of them a text
SMALL = 400  # million parameters, below which a model learns short reasoning alone
FILES = 5  # that are not read are named, at most
EVALUATED = 200  # queries of the evaluation set, at most


@dataclass(frozen=True, slots=True)
class Teacher:
    """An endpoint; `price` is (input, cached input, output) in dollars per million tokens, None where unknown.

    `reasoning` says that its host is asked to think: there one model does both.
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    price: tuple[float, float, float] | None = None
    reasoning: bool = False


TEACHERS: dict[str, Teacher | None] = {  # names that --teacher knows
    "deepseek": Teacher("https://api.deepseek.com/v1", "deepseek-flash", "DEEPSEEK_API_KEY", reasoning=True),
    "ollama": Teacher("http://127.0.0.1:11434/v1", "deepseek-r1:8b", None, (0, 0, 0)),
    "labels": None,  # nobody is asked
}


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked: columns by what they hold, the teacher, the students' base, dollars or None for no budget.

    Without a teacher the labels alone are learnt.
    """

    columns: dict[str, str]
    teacher: Teacher | None
    base: str
    budget: float | None


def configuration(name: str, data: Path, out: Path, found: DataFound, answers: Answers, gpu: bool) -> str:
    """The YAML text, at most 40 lines; `data` is written relative to the folder of `out`."""
    path = os.path.relpath(data.resolve(), out.resolve().parent)
    lines = [
        f"# {name}: made by `distill init`. What each key means: docs/. Try it: distill doctor {out.name}",
        f"name: {name}",
        "seed: 0",
        "pairs:",
        f"  source: {found.source}",
        f"  path: {_text(path)}",
        *_pairs(found, answers),
        "teacher:",
        *_teacher(answers.teacher, answers.budget),
        *_filters(answers),
        *_training(answers.base, gpu, answers.teacher is None),
        "evaluation:",
        "  sets:",
        f"    - {_evaluation(found, path, gpu)}",
    ]
    return "\n".join(lines) + "\n"


def _pairs(found: DataFound, answers: Answers) -> list[str]:
    lines = []
    if found.files:
        lines.append(f"  files: {_flow(found.files)}")
    if answers.columns:
        lines.append(f"  columns: {_flow(answers.columns)}")
    if found.train and found.test_split:
        lines.append(f"  split: {_text(found.train)}")
    else:
        lines.append("  split: {train: 0.8, test: 0.2}        # by query; only train is asked about and trained on")
        if found.train:
            lines.append(f"  qrels: {_text(found.train)}")
    if found.relevant_from > 1 or len(found.grades) > 2:
        lines.append(
            f"  relevant_from: {found.relevant_from}                      # from this grade on relevant; there are "
            f"{grades_text(found.grades)}"
        )
    if found.labels and found.unlabelled:
        lines.append(
            f"  unlabelled: drop                      # {found.unlabelled:,} of {found.pairs:,} pairs have no label; "
            "ask: ask and train on them, too"
        )
    if found.source == "texts":
        lines += [
            "  relevant_from: 2                      # of the teacher's grades 0 to 3",
            "  synthesize: {passages: 500, per_passage: 2}   # the teacher writes queries for so many passages",
            "  judge: {samples: 1}                   # and grades what is mined",
        ]
    elif not found.labels:
        lines += [
            "  relevant_from: 2                      # of the teacher's grades 0 to 3: nobody has judged these pairs",
            "  judge: {samples: 1}",
        ]
        lines.append("  ask: [train, test]                    # the test is of pairs that the teacher grades, too")
    elif found.source == "tevatron":
        lines.append("  ask: [train, test]                    # the test is of pairs that the run makes")
    if found.relevant == found.labels and not found.listed:
        lines.append(
            "  negatives: {miner: bm25, per_query: 4, first: 5}   # the first few are often relevant, unjudged"
        )
    return lines


def _teacher(teacher: Teacher | None, budget: float | None) -> list[str]:
    if teacher is None:
        return ["  source: labels                        # the judgements alone are learnt: nobody is asked"]
    key = f", api_key_env: {teacher.api_key_env}" if teacher.api_key_env else ""
    lines = [
        "  source: endpoints",
        "  endpoints:",
        f"    - {{base_url: {_text(teacher.base_url)}, model: {_text(teacher.model)}{key}",
    ]
    if teacher.price is None:
        lines[-1] += "}"
        lines.append("    # add price: {input: ..., output: ...}, dollars per million tokens, for costs and a budget")
    else:
        given, cached, written = teacher.price
        lines[-1] += f",\n       price: {{input: {given:g}, cached_input: {cached:g}, output: {written:g}}}}}"
        lines[-1] += "   # dollars per million tokens; check the provider's page" if written else ""
    if not key:
        lines.append(
            "    # if the server asks for a key: add api_key_env: NAME, its environment variable, to the braces"
        )
    if teacher.reasoning:
        lines.append("  reasoning: on                         # the model can answer without thinking, too")
    lines.append("  max_tokens: 4096                      # reasoning and answer together")
    if budget is not None:
        lines.append(f"  budget_usd: {budget:g}                        # asking stops there; nothing is lost")
    return lines


def _filters(answers: Answers) -> list[str]:
    """The documented defaults; a bound on the length for a model too small to learn long reasoning."""
    if answers.teacher is None:
        return ["filters: [finished, parses]             # labels have no reasoning to filter"]
    names = ", ".join(DEFAULT)
    size = re.search(r"(\d+)m\b", answers.base.lower())
    if answers.base != "scratch" and not (size and int(size[1]) < SMALL):
        return [f"filters: [{names}]"]
    return [
        f"filters: [{names},",
        "  {length: {max_tokens: 600}}]          # so small a model learns no longer reasoning; else leave length out",
    ]


def _training(base: str, gpu: bool, labels: bool) -> list[str]:
    """`labels` says that there is no reasoning to train on."""
    lines = ["sft:", f"  base: {_text(base)}"]
    targets, which = "[think, direct]", "two students from the same traces: which is better for you?"
    if labels:
        targets, which = "[direct]", "labels have no reasoning to learn"
    if base == "scratch":
        return [
            *lines,
            f"  targets: {targets:<29}# small models of random weights: how it works, not how well",
            "  max_length: 600",
            "  optimizer: muon",
            "  training: {max_steps: 200, per_device_train_batch_size: 16, learning_rate: 3.0e-3, warmup_steps: 0.1}",
        ]
    if gpu:
        return [
            *lines,
            f"  targets: {targets:<29}# {which}",
            "  max_length: 2500",
            "  lora: {r: 32, alpha: 64}",
            "  training: {learning_rate: 1.0e-4, num_train_epochs: 2, bf16: true, packing: true,",
            "    per_device_train_batch_size: 1, gradient_accumulation_steps: 5, gradient_checkpointing: true}",
        ]
    return [
        *lines,
        "  targets: [direct]                     # no GPU here: thinking trains and writes many times the tokens",
        "  max_length: 1200",
        "  lora: {r: 16, alpha: 32}",
        "  think_tokens: text",
        "  training: {learning_rate: 2.0e-4, num_train_epochs: 2, per_device_train_batch_size: 4,",
        "    gradient_accumulation_steps: 4, gradient_checkpointing: false}",
    ]


def _evaluation(found: DataFound, path: str, gpu: bool) -> str:
    depth = 100 if gpu else 20
    if found.source in ("texts", "tevatron") or not found.labels:
        return f"{{name: test, source: pairs, split: test, first_stage: bm25, depth: {depth}}}"
    first = _text(os.path.join(path, found.run.name)) if found.run else "bm25"
    return (
        f"{{name: test, source: {found.source}, path: {_text(path)}, split: {_text(found.test_split or 'test')}, "
        f"first_stage: {first},\n       depth: {depth}, queries: {EVALUATED}}}"
    )


def not_read(found: DataFound) -> list[str]:
    """What the configuration leaves out: judgements of other splits, and files."""
    splits = [split for split in found.splits if split not in (found.train, found.test_split)]
    more = [f"{len(found.others) - FILES:,} more"] if len(found.others) > FILES else []
    judgements = [f"the judgements of {', '.join(splits)}"] if splits else []
    return [*judgements, *found.others[:FILES], *more]


def grades_text(grades: dict[int, int]) -> str:
    """Such as `0: 40 pairs, 1: 20 pairs`."""
    return ", ".join(f"{grade}: {counted(count, 'pair')}" for grade, count in grades.items())


def _flow(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {_text(value)}" for key, value in values.items()) + "}"


def _text(value: str) -> str:
    """A text as YAML, quoted where it has to be."""
    plain = value[:1].isalpha() and all(char.isalnum() or char in "._-/" for char in value)
    return value if plain and value.lower() not in _WORDS else json.dumps(value, ensure_ascii=False)
