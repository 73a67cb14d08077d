"""One's own filters: written in a few lines, and every fault of theirs is one line with the filter, pair and cause."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filter_rows import TEXT, in_folder, pair, reasons, trace

from distill.config import validate
from distill.errors import ConfigError
from filters.base import Tools
from filters.settings import FilterSettings

UNDER_100_WORDS = '''from filters.base import RowFilter


class UnderWords(RowFilter):
    """Keeps only traces under so many words."""

    most: int = 100

    def __call__(self, pair, trace):
        return f"{self.most} words or more" if len(trace.reasoning.split()) >= self.most else None
'''  # fmt: skip
assert len([line for line in UNDER_100_WORDS.splitlines() if line]) <= 10
ONE, TWO = sorted((pair(1), pair(2)), key=lambda p: p.pair_id)


def run(folder: Path, code: str, *names: Any, tools: Tools | None = None, **how: Any) -> dict[tuple[str, int], str]:
    """The reasons of the filters in `code`, over two pairs with a short and a long trace each."""
    (folder / "own.py").write_text(code)
    settings = validate(FilterSettings, list(names), folder / "run.yaml")  # type: ignore[arg-type]
    traces = [trace(p, n, reasoning="word " * words) for p in (ONE, TWO) for n, words in enumerate((99, 100))]
    return reasons(in_folder(folder, [ONE, TWO], traces, settings, tools or Tools(base=folder), **how))


def test_a_filter_of_ten_lines(tmp_path: Path) -> None:
    found = run(tmp_path, UNDER_100_WORDS, "own.py:UnderWords")
    assert found == {(p.pair_id, 1): "100 words or more" for p in (ONE, TWO)}
    assert len(run(tmp_path, UNDER_100_WORDS, {"own.py:UnderWords": {"most": 50}})) == 4


def test_the_same_file_in_the_folder_is_a_built_in_filter(tmp_path: Path) -> None:
    """A copy of the package with one more file: known by the file's name, with its threshold checked."""
    import filters

    shutil.copytree(Path(filters.__file__).parent, tmp_path / "filters")
    (tmp_path / "filters" / "under_words.py").write_text(UNDER_100_WORDS)
    code = """
from filters.base import Tools
from filters.engine.build import build
from filters.settings import FilterSettings
(made,) = build(FilterSettings.model_validate([{"under_words": {"most": 3}}]), Tools())
print(made.name, made.most)
try:
    FilterSettings.model_validate(["under_word"])
except ValueError as error:
    print(error)
"""
    path = f"{tmp_path}:{Path(filters.__file__).parent.parent}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}, cwd=tmp_path
    )
    assert done.stdout.splitlines()[0] == "under_words 3", done.stderr
    assert "'under_word' is no filter; did you mean 'under_words'?" in done.stdout


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return len(trace.reasoning) < 9", r"filters.Mine: returned False for pair \w{32}, sample 0; return None to"),
        ("return True", r"filters.Mine: returned True for pair .*or a sentence that says why to reject it"),
        ("return ''", r"filters.Mine: returned '' for pair"),
        ("return 1 / (trace.sample - 1)", r"filters.Mine: returned -1.0 for pair"),
        ("return None if trace.sample == 0 else 1 / 0",
         rf"Mine: .*own.py, line 4 raised ZeroDivisionError: division by zero for pair {ONE.pair_id}, sample 1"),
        ("raise ValueError('two\\nlines')", r"raised ValueError: two lines for pair"),
        ("return trace.no_such_field", r"raised AttributeError: 'Trace' object has no attribute 'no_such_field' for"),
    ],
)  # fmt: skip
def test_faults_of_a_row_filter(tmp_path: Path, body: str, message: str) -> None:
    code = (
        f"from filters.base import RowFilter\nclass Mine(RowFilter):\n  def __call__(self, pair, trace):\n    {body}\n"
    )
    for later in ([], ["near_duplicate"]):
        with pytest.raises(ConfigError, match=message) as raised:
            run(tmp_path, code, "own.py:Mine", *later)
        assert "\n" not in str(raised.value) and raised.value.exit_code == 2


def test_a_fault_in_another_process_is_the_same_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filters.engine.run.WORTH_A_PROCESS", 1)
    monkeypatch.setattr("distill.store.SHARD_ROWS", 2)
    code = "from filters.base import RowFilter\nclass Mine(RowFilter):\n  def __call__(self, pair, trace):\n    1 / 0\n"
    with pytest.raises(ConfigError, match=r"filters.Mine: .*own.py, line 4 raised ZeroDivisionError"):
        run(tmp_path, code, "own.py:Mine", processes=2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [True for _ in rows]", r"filters.Mine: returned list; return a dict with \(pair_id, sample\)"),
        ("return None", "filters.Mine: returned NoneType; return a dict"),
        ("return {(t.pair_id, t.sample): None for p, t in rows}", r"None for pair .*; leave out what is kept, or"),
        ("return {(t.pair_id, t.sample): True for p, t in rows}", "filters.Mine: returned True for pair"),
        ("return {t.pair_id: 'no' for p, t in rows}", r"filters.Mine: returned the key '\w{32}', which no trace of"),
        ("return {(t.pair_id, t.sample): 1 / t.sample for p, t in rows}",
         rf"own.py, line 4 raised ZeroDivisionError: division by zero for pair {ONE.pair_id}, sample 0"),
        ("rows = list(rows)\n    return {(rows[0][1].pair_id, 0): rows[-1][0]}", "Mine: returned another pair for"),
    ],
)  # fmt: skip
def test_faults_of_a_group_filter(tmp_path: Path, body: str, message: str) -> None:
    code = f"from filters.base import GroupFilter\nclass Mine(GroupFilter):\n  def __call__(self, rows):\n    {body}\n"
    with pytest.raises(ConfigError, match=message) as raised:
        run(tmp_path, code, "own.py:Mine")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "most = 3",
            "own.py:Mine: .*own.py does not run: PydanticUserError: .*`most = 3`.* requires? a type annotation",
        ),
        ("def __init__(self, most=3):\n    self.most = most", "Mine has an __init__; declare thresholds as fields"),
        ("def prepare(self, tools):\n    pass", "filters.Mine: prepare returned None; end it with `return self`"),
        ("def prepare(self, tools):\n    return tools.out / 3", r"filters.Mine: .*own.py, line 4 raised TypeError"),
        ("def called(self, pair, trace): return None", "own.py:Mine: Mine lacks `__call__`"),
    ],
)
def test_faults_of_a_class(tmp_path: Path, body: str, message: str) -> None:
    call = "" if "called" in body else "  def __call__(self, pair, trace): return None\n"
    with pytest.raises(ConfigError, match=message) as raised:
        run(tmp_path, f"from filters.base import RowFilter\nclass Mine(RowFilter):\n  {body}\n{call}", "own.py:Mine")
    assert "\n" not in str(raised.value)


def test_a_filter_gets_the_tools_that_it_names(tmp_path: Path) -> None:
    code = """
from filters.base import RowFilter
class Asks(RowFilter):
    def uses(self):
        return ("row_tokens",)
    def prepare(self, tools):
        self._tokens, self._ask = tools.row_tokens, tools.ask
        return self
    def __call__(self, pair, trace):
        return "long" if self._tokens(pair, trace) > 99 and self._ask is None else None
"""
    tools = Tools(row_tokens=lambda p, t: len(t.reasoning.split()), ask=object(), base=tmp_path)  # type: ignore[arg-type]
    assert set(run(tmp_path, code, "own.py:Asks", tools=tools).values()) == {"long"}


def test_what_an_external_filter_says_is_in_the_explanation(tmp_path: Path) -> None:
    from distill import store
    from distill.records import Pair, Trace
    from filters.engine.explain import explain

    (tmp_path / "own.py").write_text(UNDER_100_WORDS)
    store.write_rows(tmp_path / "pairs", [ONE], Pair)
    store.write_rows(tmp_path / "traces", [trace(ONE, reasoning=TEXT * 30)], Trace)
    settings = validate(FilterSettings, ["own.py:UnderWords", "consensus"], tmp_path / "x.yaml")  # type: ignore[arg-type]
    said = explain(ONE.pair_id, str(tmp_path / "pairs"), str(tmp_path / "traces"), settings, Tools(base=tmp_path))
    assert said == [(0, "UnderWords", "100 words or more"), (0, "consensus", "did not see it (UnderWords)")]


def test_a_filter_may_need_an_instruction_or_need_none(tmp_path: Path) -> None:
    for need in ("pair.instruction.split()", "{None: 1}[pair.instruction]", "[][0] if pair.instruction is None else 1"):
        code = (
            f"from filters.base import RowFilter\nclass Mine(RowFilter):\n  def __call__(self, pair, trace): {need}\n"
        )
        (tmp_path / "own.py").write_text(code)
        assert validate(FilterSettings, ["own.py:Mine"], tmp_path / "run.yaml")  # type: ignore[arg-type]
    (tmp_path / "own.py").write_text(code.replace("[][0]", "pair.non").replace("else 1", "else pair.non"))
    with pytest.raises(ConfigError, match="no attribute 'non'.*; seen with a made-up trace"):
        validate(FilterSettings, ["own.py:Mine"], tmp_path / "run.yaml")  # type: ignore[arg-type]
