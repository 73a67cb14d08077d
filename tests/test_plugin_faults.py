"""Faults of one's own filters, sources, teachers, targets, sets and backends: one line with file and line each.

The classes are those of docs/architecture.md, each with one thing made wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from tests.architecture_page import BLOCKS, named, reranked

COMMANDS = {"faq.py": "pairs", "mine.py": "trace", "short.py": "filter", "brief.py": "dataset", "titled.py": "evaluate"}
SUITE = "import dataclasses; return dataclasses.replace(plain('titled', texts), {})"
# (fault, a field of the Suite, a part of the message)
SUITES = [
    ("extra without units", "extra=lambda run: {'words@1': 3.0}", "`extra` returned {'words@1': 3.0}"),
    ("extra of text", "extra=lambda run: {'words@1': {'q1': 'x'}}",
        "`extra` returned 'x' for 'words@1' of 'q1'"),
    ("extra no function", "extra={}", "the Suite's extra is a dict"),
    ("grade", "qrels={'q1': {'d1': '1'}}", "the Suite's qrels has 'd1': '1' for query 'q1'"),
    ("query", "qrels={'x': {'d1': 1}}", "the Suite's qrels has the query 'x', which its queries lack"),
    ("candidate", "candidates={f'q{n}': ['d0', 'x'] for n in range(4)}",
        "the Suite's candidates names the passage 'x' for query 'q0', which its passages lack"),
    ("candidates", "candidates={'q1': ['d0']}", "the Suite's candidates has no list for query 'q0'"),
    ("excluded", "excluded={'q1': frozenset({'x'})}",
        "the Suite's excluded names the passage 'x' for query 'q1'"),
    ("excluded text", "excluded={'q1': 'd1'}", "the Suite's excluded has 'd1' for query 'q1'"),
    ("text", "queries={'q1': None}", "the Suite's queries has 'q1': None"),
]  # fmt: skip
# {file: {fault: (what is replaced, by what, a part of the message)}}
FAULTS: dict[str, dict[str, tuple[str, str, str]]] = {
    "short.py": {
        "parameter": ("(self, pair, trace)", "(self, trace)",
            "`__call__` takes (self, trace); write `def __call__(self, pair, trace)`"),
        "missing": ("def __call__", "def call", "UnderWords lacks `__call__`; write `def __call__(self, pair, trace)`"),
        "unknown tool": ("    most:", "    def uses(self):\n        return ('scores',)\n    most:",
            "`uses` returned ('scores',); return a tuple of score, ask, row_tokens, held_out"),
        "reads a text": ("    most:", "    def reads(self):\n        return 'words.txt'\n    most:",
            "`reads` returned 'words.txt'; return a tuple of paths"),
        "prefilter": ("    most:", "    def prefilter(self, reasoning):\n        return [True] * 3\n    most:",
            "`prefilter` returned [True, True, True] for 1 text; return a bool for each of them"),
        "misspelt": ("    most:", "    def prefilters(self, reasoning):\n        return None\n    most:",
            "a filter has no `prefilters`; did you mean `prefilter`?"),
        "exit": ("return f", "raise SystemExit(4)  # ", "raised SystemExit: 4; mend it"),
        "exception": ("if len(", "if lenn(", "raised NameError: name 'lenn' is not defined"),
        "return": ("return f", "return True  # ", "filters.UnderWords: returned True for pair"),
    },
    "faq.py": {
        "parameter": ("labels(self, split)", "labels(self)", "`labels` takes (self); write `def labels(self, split)`"),
        "constructor": ("    def lines", "    def __init__(self): ...\n    def lines",
            "write `def __init__(self, path)`"),
        "missing": ("def labels", "def label", "faq.py:Faq: Faq lacks `labels`; write `def labels(self, split)`"),
        "exception": ("key, answer) for", "kez, answer) for", "raised NameError: name 'kez' is not defined"),
        "return": ("key, answer) for", "int(key), answer) for", "`passages` yielded ("),
        "return a text": ("return ((place, key, key, 1)", 'return "x" or (((place, key, key, 1),)',
            "`labels` yielded 'x'"),
        "return nothing": ("return ((place, key, question", "((place, key, question", "`queries` returned None; yield"),
    },
    "mine.py": {
        "parameter": ("messages, sampling", "messages",
            "`ask` takes (self, messages); write `async def ask(self, mess"),
        "missing": ("def ask", "def aks",
            "mine.py:Mine: Mine lacks `ask`; write `async def ask(self, messages, sampling)`"),
        "exception": ("return Reply(", "return Replyy(", "raised NameError: name 'Replyy' is not defined"),
        "no base": ("class Mine(WorkerSource)", "class Mine",
            "Mine is no teacher source; let it inherit from teacher.sources.base.WorkerSource, and define `ask`"),
        "wrong base": ("class Mine(WorkerSource)", "class Mine(WorkerSource.__base__)",
            "Mine cannot be asked; let it inherit from teacher.sources.base.WorkerSource"),
        "later exception": ("return Reply(",
            "self.n = getattr(self, 'n', 0) + 1\n        assert self.n < 5, 'worn out'\n        return Reply(",
            "raised AssertionError: worn out; mend it"),
        "return": ('content="true"', "content=True", "the Reply's content is a bool; return Reply(reasoning, content)"),
        "finish": ('content="true"', 'content="true", finish_reason="done"',
            "finish_reason is 'done'; it is one of stop"),
    },
    "brief.py": {
        "parameter": ("(self, reasoning, grade, prompt)", "(self, reasoning)",
            "takes (self, reasoning); write `def compl"),
        "constructor": ("    modes", "    def __init__(self, x): ...\n    modes", "`__init__` takes (self, x); write"),
        "missing": ("def completions", "def completion_",
            "Brief lacks `completions`; write `def completions(self, reas"),
        "exception": ("reasoning[:60]", "reasonin[:60]", "raised NameError: name 'reasonin' is not defined"),
        "no verdict": ('completion("think", reasoning[:60], grade, prompt)', "reasoning",
            "a text without '</think> false'"),
        "turned round": ("grade, prompt))]", "1 - grade, prompt))]", "a text without '</think> false'"),
        "return": ("return [", "return True  # [", "`completions` returned a bool; return [(kind of row, text)]"),
        "second end": ("grade, prompt))]", 'grade, prompt) + completion("direct", "", 1 - grade, prompt))]',
            "a text with more than one '</think>' or verdict"),
        "wrong verdict first": ('completion("think"',
            'completion("direct", "", 1 - grade, prompt) + completion("think"',
            "a text without '</think> false' right after the first of them"),
        "both verdicts": ("grade, prompt))]", 'grade, prompt) + [" true", " false"][1 - grade])]',
            "a text with more than one '</think>' or verdict"),
        "end of text": ("grade, prompt))]", 'grade, prompt) + "<|im_end|>")]', "a text with a control token"),
        "unknown form": ('completion("think"', 'completion("thought"',
            "no completion for target 'thought'; known: think, direct, verdict_first"),
        "index": ("reasoning[:60]", 'reasoning.split(". ")[7]',
            "IndexError: list index out of range; mend it and run again; seen with a made-up trace"),
        "misspelt modes": ("modes =", "mode =", "Brief lacks `modes`; write a tuple of think, direct"),
        "modes": ('("think",)', '("thik",)', "Brief.modes is ('thik',); write a tuple of think, direct"),
    },
    "titled.py": {
        "parameter": ("(self, folder, split, texts, gaps)", "(self, folder)",
            "`read` takes (self, folder); write `def read("),
        "missing": ("def read", "def reed", "Titled lacks `read`; write `def read(self, folder, split, texts, gaps)`"),
        "exception": ("return plain", "return plane", "raised NameError: name 'plane' is not defined"),
        "return": ("return plain", "plain", "`read` returned None; return a Suite, such as plain(NAME, texts)"),
        "no such file": ("names = ()", 'names = ("lists.tsv",)', "no such file "),
        **{fault: ('return plain("titled", texts)', SUITE.format(given), said) for fault, given, said in SUITES},
        "attribute": ("names = ()", 'names = "x"', "`names` is a str; it is a tuple, such as ("),
    },
    "engine.py": {
        "parameter": ("add(self, task)", "add(self)", "`add` takes (self); write `def add(self, task)`"),
        "constructor": ("(self, form)", "(self)", "`__init__` takes (self); write `def __init__(self, form)`"),
        "no super": ("super().__init__(form)", "pass", "has no `form`; call super().__init__(form) in `__init__`"),
        "missing": ("free =", "fre =", "Overlap lacks `free`; write `@property def free(self)`"),
        "exception": ("words = set(", "words = sett(", "raised NameError: name 'sett' is not defined"),
        "return": ("return [(task,", "[(task,", "`step` returned None; return [(task, Result(ids, finish, logprobs))]"),
        "probabilities": ("math.log(share), math.log(1 - share)", "share, 1 - share",
            "are no logarithms of probabilities"),
        "number": ("[math.log(share), ", "[math.nan, ", "which are no logarithms of probabilities"),
        "too few": (", math.log(1 - share)", "", "`step` returned logprobs [-"),
        "finish": ('"read"', '"done"', "`step` returned finish 'done' for a task with max_new 0"),
        "no ids": ("Result([],", "Result(None,", "`step` returned ids that are None"),
        "foreign task": ("[(task, R", "[(__import__('copy').copy(task), R",
            "a task that it was not given, or twice the same"),
        "no result": ("return [(task,", "return []  # ", "nothing 1,000,000 times in a row, for 12 tasks"),
        "no room": ("free = 64", "free = 0", "`free` is 0 while it has no task"),
    },
}  # fmt: skip
CASES = [(file, fault) for file, faults in FAULTS.items() for fault in faults]
WHEN_READ = [
    (file, fault)
    for file, fault in CASES
    if fault in ("parameter", "constructor", "missing", "attribute", "no base", "wrong base")
]
WHEN_READ += [("brief.py", fault) for fault in FAULTS["brief.py"]] + [
    ("short.py", fault) for fault in FAULTS["short.py"]
]


@pytest.fixture
def folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The finished run's folder, its files afterwards as they were."""
    monkeypatch.chdir(finished)
    yield finished
    for file, code in BLOCKS.items():
        (finished / file).write_text(code)


def spoil(folder: Path, file: str, fault: str) -> str:
    """Put the fault into the file; what the message says of it."""
    old, new, said = FAULTS[file][fault]
    assert BLOCKS[file].count(old) == 1, (old, BLOCKS[file])
    (folder / file).write_text(BLOCKS[file].replace(old, new))
    return said


def check_line(printed: str, file: str, said: str) -> None:
    lines = [line for line in printed.splitlines() if line.startswith("distill: ") and "warning" not in line]
    assert len(lines) == 1 and "Traceback" not in printed, printed
    assert said in lines[0] and re.search(rf"{file}, line \d+|{file} does not run.*line \d+", lines[0]), lines[0]


@pytest.mark.parametrize(("file", "fault"), CASES)
def test_a_fault_is_one_line(folder: Path, file: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = FAULTS[file][fault][2]
    if file == "mine.py":  # another test's source may have undone its pairs; another name asks anew
        assert main(["pairs", "run.yaml", "--out", "run"]) == 0
        capsys.readouterr()
    spoil(folder, file, fault)
    if file == "engine.py":
        code = reranked(folder, "--backend", named(file), "--mode", "direct", "--out", f"{fault}.trec")
    else:
        code = main(
            [COMMANDS[file], "run.yaml", "--out", "run", f"teacher.name={fault if file == 'mine.py' else 'Mine'}"]
        )
    assert code == 2
    check_line(capsys.readouterr().err, file, said)


@pytest.mark.parametrize(("file", "fault"), WHEN_READ)
def test_what_can_be_seen_without_running_is_refused_by_the_dry_run(
    folder: Path, file: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = spoil(folder, file, fault)
    assert main(["run", "run.yaml", "--out", "run", "--dry-run", f"scoring.backend={named('engine.py')}"]) == 2
    check_line(capsys.readouterr().err, file, said)


@pytest.mark.parametrize("file", list(BLOCKS))
def test_a_file_that_is_not_there_is_refused_by_the_dry_run(
    folder: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / file).unlink()
    assert main(["run", "run.yaml", "--out", "run", "--dry-run", f"scoring.backend={named('engine.py')}"]) == 2
    assert f"{named(file)}: no such file" in capsys.readouterr().err


def test_a_set_of_ones_own_is_read_again_when_any_file_of_its_folder_changes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "run.yaml", "--out", "run"]
    assert main(command) == 0
    (folder / "set" / "banned.tsv").write_text("q1\td2\n")
    capsys.readouterr()
    assert main(command) == 0
    assert "evaluate: made again" in capsys.readouterr().err
    assert main(command) == 0
    assert "evaluate: unchanged" in capsys.readouterr().err


def traced(folder: Path, *more: str) -> dict[str, Any]:
    """What `trace` counts, once its pairs are the page's."""
    for stage in ("pairs", "trace"):
        assert main([stage, "run.yaml", "--out", "run", *more]) == 0
    counts: dict[str, Any] = json.loads((folder / "run" / "metrics.json").read_text())["stages"]["trace"]
    return counts


def test_a_teacher_that_hangs_fails_the_request_after_its_deadline(folder: Path) -> None:
    hang = (
        'import asyncio\n        await asyncio.sleep(99 * ("mayor of Holm is" in str(messages)))\n        return Reply('
    )
    (folder / "mine.py").write_text(BLOCKS["mine.py"].replace("return Reply(", hang))
    counts = traced(folder, "teacher.name=slow", "teacher.deadline_s=0.3", "teacher.attempts=1")
    assert counts["failures"] == {"deadline": counts["failed"]} and 0 < counts["failed"] < 5 < counts["answered"]


def test_changed_options_of_a_teacher_ask_anew(folder: Path) -> None:
    asked = [traced(folder, "teacher.name=fond", *options)["asked_now"] for options in (
        [], ["teacher.options={letters: 5}"], ["teacher.options={letters: 3}"], ["teacher.options={letters: 5}"], [],
    )]  # fmt: skip
    assert asked[0] == asked[1] == asked[2] > 0 == asked[3] == asked[4]


def test_ids_of_a_source_that_do_not_fit_are_shown_with_their_places(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "faq.py").write_text(BLOCKS["faq.py"].replace("((place, key, question", "((key, place, question"))
    (folder / "other.txt").write_text("who wrote the song = Anna Holm did.\n")
    entry = f"evaluation.sets=[{{name: own, source: '{named('faq.py')}', path: other.txt, split: test}}]"
    assert main(["evaluate", "run.yaml", "--out", "run", entry]) == 2
    printed = capsys.readouterr().err
    assert "judges has a text, such as '1' (" in printed and "other.txt:1); the queries of Faq (" in printed, printed
