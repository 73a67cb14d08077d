"""`distill init`: a configuration from a user's own data, or a copy of a recipe. Added to the group by distill.cli."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from distill.cli.schema import write_configuration
from distill.commands import FILE, Command, writes_to
from distill.errors import ConfigError, DataError
from distill.tables import counted, counted_phrase

if TYPE_CHECKING:
    from distill.cli.template import Answers, Teacher
    from distill.pairs.detect import Data, DataFound

RECIPES = Path(__file__).parents[1] / "recipes"  # the project's configs/, in the wheel as well
TRIES = 3  # how often columns are asked for
SHOWN = 70  # characters of a text
T = TypeVar("T")


@click.command("init", cls=Command)
@click.argument("data", type=FILE, required=False, metavar="[DATA]", help="a table, or a folder of data")
@click.option("--recipe", metavar="NAME", help="copy a recipe of the project instead: a name, or `list`")
@click.option("--out", type=FILE, metavar="FILE", help="the configuration (default: NAME.yaml here)")
@click.option("--columns", metavar="WHAT=NAME,...", help="such as query=term,passage=snippet,label=rating")
@click.option("--split", metavar="NAME", help="which split, or file of judgements, is trained on (default: train)")
@click.option(
    "--teacher",
    metavar="NAME",
    help="deepseek, ollama, the URL of any OpenAI-compatible endpoint, or labels: train from the judgements alone",
)
@click.option("--teacher-model", metavar="NAME", help="the model that the endpoint serves")
@click.option("--base", metavar="MODEL", help="what students are trained from: a folder or hub name")
@click.option("--budget", type=float, metavar="USD", help="where asking stops; 0 for none")
@click.option("--yes", is_flag=True, help="ask nothing: take the defaults for what is not given")
@click.option("--force", is_flag=True, help="overwrite the file")
def init(
    data: Path | None,
    recipe: str | None,
    out: Path | None,
    columns: str | None,
    split: str | None,
    teacher: str | None,
    teacher_model: str | None,
    base: str | None,
    budget: float | None,
    yes: bool,
    force: bool,
) -> int:
    """Write a configuration for your own data: finds format and columns, shows three rows, asks for what it needs."""
    if (recipe is None) == (data is None):
        raise ConfigError("init needs DATA, a file or folder of your own, or --recipe NAME")
    if recipe is not None:
        return _copy(recipe, out, force)
    assert data is not None
    if teacher is not None:
        _teacher_of(teacher)  # an unknown one is refused before the data are read
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", (out or data.resolve()).name.split(".")[0]).strip("-_") or "mine"
    out = _free(out or Path(f"{name}.yaml"), force)
    given = Flags(split, teacher, teacher_model, base, budget)
    return _from_data(data, name, out, columns, given, Questions(yes))


@dataclass(frozen=True, slots=True)
class Flags:
    """What the flags say in place of an answer."""

    split: str | None
    teacher: str | None
    model: str | None
    base: str | None
    budget: float | None


class Questions:
    """What is asked on the terminal; with --yes the defaults, and without a terminal only what the flags say."""

    def __init__(self, yes: bool) -> None:
        self._yes = yes
        self.asks = not yes and sys.stdin.isatty()

    def refuse_unasked(self, flags: list[str]) -> None:
        """Raise ConfigError where there is no terminal to ask for these in."""
        if flags and not self._yes and not self.asks:
            raise ConfigError(
                f"no terminal to ask in: give {', '.join(f'--{flag}' for flag in flags)}, or --yes for the defaults"
            )

    def answer(self, given: T | None, question: str, default: T) -> T:
        """The flag's value, else what is answered, else the default."""
        if given is not None:
            return given
        answer: T = click.prompt(question, default=default) if self.asks else default
        return answer


def _from_data(data: Path, name: str, out: Path, columns: str | None, given: Flags, questions: Questions) -> int:
    import yaml

    from distill import config
    from distill.cli.template import configuration
    from distill.pipeline.check import check_sets
    from distill.pipeline.config import RunConfig
    from distill.pipeline.run import Run
    from sft.estimate.shapes import device_of

    found, named = _look(data, _columns(columns), given.split, questions)
    for line in _description(data, found):
        print(line)
    gpu = device_of(None).name != "cpu"
    answers = replace(_answers(given, gpu, questions), columns=named)
    if answers.teacher is None and not found.labels:
        raise ConfigError(
            f"teacher labels trains from judgements, and {data} has none: name a teacher that is asked, or the column "
            "that holds them (--columns label=NAME)"
        )
    text = configuration(name, data, out, found, answers, gpu)
    writes_to(out.parent).mkdir(parents=True, exist_ok=True)  # paths are relative to it, so it has to be there
    check_sets(Run(config.validate(RunConfig, yaml.safe_load(text), out), out.parent / name, out))
    write_configuration(out, text)
    print(f"\n{out} is written. Read it, then:")
    if answers.teacher and answers.teacher.api_key_env:
        print(f"  export {answers.teacher.api_key_env}=...")
    print(f"  distill doctor {out}              what is missing on this machine\n"
          f"  distill run {out} --dry-run       what it would cost\n"
          f"  distill run {out}")  # fmt: skip
    return 0


def _look(
    path: Path, columns: dict[str, str], split: str | None, questions: Questions
) -> tuple[DataFound, dict[str, str]]:
    """What lies there, and the columns that had to be named.

    Asks for columns and split where that is needed, each up to `TRIES` times. Raises DataError, with the flag, where
    there is no terminal to ask in or no answer fits.
    """
    from distill.pairs.detect import look, open_data

    for tries_left in range(TRIES if questions.asks else 0, -1, -1):
        try:
            data = open_data(path, columns)
            split = split or _split(data, questions)
            return look(data, split), columns
        except (DataError, ConfigError) as error:
            if "columns." not in str(error):
                raise
            text = str(error).replace("columns.passage=", "--columns passage=")
            wanted = "label=NAME" if "columns.label" in text else "query=NAME,passage=NAME[,label=NAME]"
            if not tries_left:
                raise DataError(text if "--columns" in text else f"{text}; --columns {wanted}") from None
            columns = _asked_columns(text, columns)
    raise AssertionError("the last try returns or raises")


def _asked_columns(why: str, columns: dict[str, str]) -> dict[str, str]:
    """The columns with those that are named on the terminal."""
    print(why)
    answer = click.prompt("Which columns? (query=NAME,passage=NAME,label=NAME or clicks=NAME)")
    try:
        return {**columns, **_columns(answer)}
    except ConfigError as error:
        return _asked_columns(str(error), columns)


def _split(data: Data, questions: Questions) -> str | None:
    """The split to train on: train, the only one, or the one that is named on the terminal; None of data in one piece.

    Raises DataError where one has to be named and there is no terminal.
    """
    if len(data.splits) < 2 or "train" in data.splits:
        return "train" if "train" in data.splits else next(iter(data.splits), None)
    names = ", ".join(data.splits)
    if not questions.asks:
        raise DataError(
            f"{data.path}: has judgements of {names}, none called train; say with --split which is trained on"
        )
    print(f"{data.path} has judgements of {names}, none called train")
    answer: str = click.prompt("Which one is trained on?", type=click.Choice(data.splits))
    return answer


def _columns(text: str | None) -> dict[str, str]:
    """`query=term,passage=snippet` as a dictionary. Raises ConfigError for anything else."""
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if not all(equals and what.strip() and name.strip() for what, equals, name in pairs):
        raise ConfigError(f"--columns {text}: is WHAT=NAME,WHAT=NAME, such as query=term,passage=snippet")
    return {what.strip(): name.strip() for what, _, name in pairs}


def _answers(given: Flags, gpu: bool, questions: Questions) -> Answers:
    """The flags' values and what is asked for the rest."""
    from distill.cli.template import Answers

    needed = [flag for flag, value in (("teacher", given.teacher), ("base", given.base)) if value is None]
    if given.model is None and (given.teacher is None or _is_url(given.teacher)):
        needed.append("teacher-model")
    questions.refuse_unasked(needed)
    word = questions.answer(given.teacher, "Teacher (deepseek, ollama, a URL, or labels: nobody is asked)", "deepseek")
    teacher = _teacher_of(word)
    if teacher is None and given.model is not None:
        raise ConfigError("--teacher-model is of a teacher that is asked; leave it out with --teacher labels")
    if teacher is not None:
        if given.model is None and not teacher.model and not questions.asks:
            raise ConfigError("--teacher-model NAME is needed with a URL: the model that the endpoint serves")
        teacher = replace(teacher, model=questions.answer(given.model, "Its model", teacher.model or None) or "")
        teacher = replace(teacher, price=teacher.price or _listed_price(teacher))
    default = "Qwen/Qwen2.5-1.5B" if gpu else "Qwen/Qwen2.5-0.5B"
    base = questions.answer(given.base, "Base of the students (a folder or hub name)", default)
    budget = 0.0
    if teacher and teacher.price is not None and any(teacher.price):
        budget = questions.answer(given.budget, "Budget in USD (0: none)", 20.0)
    elif given.budget:
        raise ConfigError("--budget needs the teacher's price, which is in no list of docs/teacher.md; add price and "
                          "budget_usd to the file")  # fmt: skip
    return Answers({}, teacher, base, budget or None)


def _is_url(word: str) -> bool:
    return word.startswith(("http://", "https://"))


def _teacher_of(word: str) -> Teacher | None:
    """The teacher of a name or URL, None of `labels`. Raises ConfigError for another word."""
    from distill.cli.template import TEACHERS, Teacher
    from distill.config import is_local

    if word in TEACHERS:
        return TEACHERS[word]
    if not _is_url(word):
        raise ConfigError(
            f"--teacher {word}: is none of {', '.join(TEACHERS)}, and no URL such as http://127.0.0.1:8000/v1"
        )
    return Teacher(word, "", None, (0, 0, 0)) if is_local(word) else Teacher(word, "", "TEACHER_API_KEY")


def _listed_price(teacher: Teacher) -> tuple[float, float, float] | None:
    """What the lists of `teacher.prices` say of its model at its host."""
    from teacher.endpoint import Endpoint
    from teacher.prices import price_of

    price = price_of(Endpoint(base_url=teacher.base_url, model=teacher.model), {})
    if price is None:
        return None
    return price.input, price.input if price.cached_input is None else price.cached_input, price.output


def _description(data: Path, found: DataFound) -> list[str]:
    """What was found, and three rows as they are read."""
    from distill.cli.template import grades_text, not_read

    if found.source == "texts":
        lines = [f"{data}: a folder of texts; the teacher would write the queries"]
    else:
        split = f" in split {found.train}" if found.train else ""
        graded = f"{found.relevant:,} relevant, {found.labels - found.relevant:,} not" if found.labels else "no label"
        pairs = f"{counted(found.pairs, 'pair')} of {counted(found.queries, 'query')}"
        lines = [f"{data}: read as {found.source}; {pairs}{split}: {graded}"]
    if found.columns:
        lines.append("columns: " + ", ".join(f"{what} = {name}" for what, name in found.columns.items()))
    if "clicks" in found.columns and "label" not in found.columns:
        lines.append("labels are made of the clicks, by their lift (docs/pairs.md)")
    if found.relevant_from > 1 or len(found.grades) > 2:
        lines.append(
            f"grades: {grades_text(found.grades)}; relevant from {found.relevant_from} on (pairs.relevant_from)"
        )
    if found.labels and found.unlabelled:
        lines.append(f"{counted(found.unlabelled, 'pair')} without a label: left out (pairs.unlabelled: drop)")
    elif found.source != "texts" and not found.labels:
        lines.append("no pair has a label: the teacher grades each first (pairs.judge)")
    if found.labels and not found.relevant:
        lines.append("none of the labels is relevant: nothing can be learnt or measured; mend them")
    elif found.relevant == found.labels and found.labels and not found.listed:
        lines.append("all labels are relevant: what is not relevant is mined by BM25 (pairs.negatives)")
    lines += found.left_out
    if left_out := not_read(found):
        lines.append(f"not read: {', '.join(left_out)}")
    if found.run:
        lines.append(
            f"first stage of the evaluation: {found.run.name}, a TREC run of {found.run.ranked:,} of "
            f"{counted_phrase(found.run.judged, 'judged queries')} (first_stage: bm25 ranks anew)"
        )
    lines += [f"note: {counted_phrase(count, what)}" for what, count in found.notes.items()]
    for row in found.rows:
        grade = "no label" if row.grade is None else f"grade {row.grade:g}"
        lines += [f"  {grade:<9}  query    {_cut(row.query)}"] if row.query else []
        lines.append(f"  {'':<9}  passage  {_cut(row.passage)}")
    return lines


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."


def _free(out: Path, force: bool) -> Path:
    """The file's path. Raises ConfigError where it exists and may not be overwritten."""
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file, such as {out / 'mine.yaml'}")
    if out.exists() and not force:
        raise ConfigError(f"{out}: exists; name another with --out, or overwrite it with --force")
    return out


def _says(recipe: Path) -> str:
    """The first sentence of the comment that a recipe begins with."""
    comment = "\n".join(
        takewhile(lambda line: re.match("# [^ ]", line), recipe.read_text(encoding="utf-8").splitlines())
    )
    return re.split(r"[.:]? *$|\. ", comment.replace("\n# ", " ").removeprefix("# "), maxsplit=1)[0]


def _copy(name: str, out: Path | None, force: bool) -> int:
    """Copy a recipe. Raises ConfigError for an unknown one, naming those there are."""
    there = {path.relative_to(RECIPES).with_suffix("").as_posix(): path for path in sorted(RECIPES.rglob("*.yaml"))}
    if name == "list":
        width = max(80, shutil.get_terminal_size().columns)
        for recipe, path in there.items():
            print(textwrap.fill(f"{recipe:<16} {_says(path)}", width, subsequent_indent=" " * 17))
        return 0
    wanted = name.removeprefix("configs/").removesuffix(".yaml")
    if wanted not in there:
        from distill.files.values import nearest

        raise ConfigError(f"--recipe {name}: no such recipe{nearest(wanted, there)}; there are {', '.join(there)}")
    path = _free(out or Path(f"{Path(wanted).name}.yaml"), force)
    text = there[wanted].read_text(encoding="utf-8").replace(f"configs/{wanted}.yaml", str(path))
    writes_to(path.parent).mkdir(parents=True, exist_ok=True)
    write_configuration(path, text)
    print(f"{path} is written, a copy of the recipe {wanted}; its paths are relative to it")
    return 0
