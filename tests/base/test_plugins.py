"""Plug-ins: built-in ones are found by being there, external ones by `file.py:Class`, and faults are one line."""

from __future__ import annotations

import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from distill.errors import ConfigError, PluginError
from distill.plugins import Kind, external_files, external_hash, own_faults


class Shape(ABC):
    """What the tests' plug-ins are."""

    @abstractmethod
    def area(self) -> float: ...


SHAPES = Kind("shape", "shapes_of_a_test", Shape)
SQUARE = f"""
from __future__ import annotations
from dataclasses import dataclass
from {__name__} import Shape

class _Helper(Shape):
    pass

@dataclass
class Square(Shape):
    side: int = 2
    def area(self):
        return self.side ** 2
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two shapes, one of which cannot be imported, and modules that are no shapes."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Shape.__module__])
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "shapes_of_a_test"
    folder.mkdir()
    for name in ("__init__", "base", "settings", "_inner"):
        (folder / f"{name}.py").write_text("")
    (folder / "machinery").mkdir()
    (folder / "machinery" / "__init__.py").write_text("")
    (folder / "big_square.py").write_text(SQUARE)
    (folder / "costly.py").write_text("import no_such_package")
    yield folder
    for name in [name for name in sys.modules if name.startswith("shapes_of_a_test")]:
        del sys.modules[name]


def test_built_in_ones_are_found_by_being_there_and_imported_when_used(package: Path) -> None:
    assert SHAPES.names() == ("big_square", "costly")
    made = SHAPES.load("big-square")
    assert made(side=3).area() == 9  # type: ignore[call-arg]
    assert "shapes_of_a_test.costly" not in sys.modules
    with pytest.raises(ImportError, match="no_such_package"):
        SHAPES.load("costly")
    (package / "round.py").write_text(SQUARE.replace("Square", "Circle"))
    assert SHAPES.load("round").__name__ == "Circle"


def test_a_module_without_its_class_and_an_unknown_name_say_so(package: Path) -> None:
    (package / "empty.py").write_text("")
    with pytest.raises(ConfigError, match=r"empty.py: a shape's module holds one class .*Shape; it has none"):
        SHAPES.load("empty")
    (package / "both.py").write_text(SQUARE + "class Other(Square):\n    pass\n")
    with pytest.raises(ConfigError, match=r"both.py: .* it has Square, Other"):
        SHAPES.load("both")
    with pytest.raises(ConfigError, match="'big_sqare' is no shape; did you mean 'big_square'?"):
        SHAPES.load("big_sqare")
    with pytest.raises(ConfigError, match="7 is no shape; known: big_square, both, costly, empty; or FILE.py:Class"):
        SHAPES.check_name(7)


def test_an_external_one_is_run_as_it_is_now(package: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SQUARE)
    assert SHAPES.load("own.py:Square", tmp_path)().area() == 4
    assert SHAPES.load("own.py:Square", tmp_path) is SHAPES.load("own.py:Square", tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "own.py").write_text(SQUARE)
    assert SHAPES.load("below/own.py:Square", tmp_path)().area() == 4
    (tmp_path / "own.py").write_text(SQUARE.replace("= 2", "= 5"))  # the same size within the same second
    assert SHAPES.load("own.py:Square", tmp_path)().area() == 25
    assert external_files(["big_square", "own.py:Square", "own.py:Other"], tmp_path) == [tmp_path / "own.py"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"own.py:Mine: no such file .*own.py; the path is relative"),
        ("class Other: pass\nMine = 3", r"own.py:Mine: .*own.py has no class 'Mine'; it has Other"),
        ("class Mine: pass", r"own.py:Mine: Mine is no shape; let it inherit from .*Shape"),
        (SQUARE.replace("Square", "Mine").replace("def area", "def are"), "own.py:Mine: Mine lacks `area`"),
        ("a = 1\n1 / 0", r"own.py:Mine: .*own.py does not run: ZeroDivisionError: division by zero \(line 2\)"),
        ("import sys\nsys.exit(0)", r"own.py:Mine: .*own.py does not run: SystemExit: 0 \(line 2\)"),
        ("def x(:\n pass", r"own.py:Mine: .*own.py does not run: SyntaxError: .*\(line 1\)"),
        ("\xe9".encode("latin-1"), r"own.py:Mine: .*own.py does not run: SyntaxError"),
    ],
)
def test_faults_of_an_external_one_are_one_line(
    package: Path, tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "own.py").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError, match=message) as raised:
        SHAPES.load("own.py:Mine", tmp_path)
    assert "\n" not in str(raised.value)


def test_a_module_next_to_the_file_is_imported_as_it_is_now(package: Path, tmp_path: Path) -> None:
    own = f"from {__name__} import Shape\nimport sides\nclass Mine(Shape):\n def area(self):\n  import late\n  return "
    before = [*sys.path]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(own + "sides.inner.SIDE ** late.POWER")
        (tmp_path / folder / "sides.py").write_text("import inner, json\n")
        (tmp_path / folder / "json.py").write_text("1 / 0")  # an installed module comes first
        (tmp_path / folder / "inner").mkdir()
        (tmp_path / folder / "inner" / "__init__.py").write_text("from .side import SIDE\n")
        (tmp_path / folder / "inner" / "side.py").write_text(f"SIDE = {2 if folder == 'one' else 3}\n")
        (tmp_path / folder / "late.py").write_text("POWER = 2\n")
        assert SHAPES.load("own.py:Mine", tmp_path / folder)().area() == (4 if folder == "one" else 9)
    assert {path.name for path in external_files(["own.py:Mine"], tmp_path / "one")} == {
        "own.py", "sides.py", "json.py", "late.py", "__init__.py", "side.py"
    }  # fmt: skip
    assert external_hash("own.py:Mine", tmp_path / "one") != external_hash("own.py:Mine", tmp_path / "two")
    (tmp_path / "two" / "inner" / "side.py").write_text("SIDE = 5\n")
    assert SHAPES.load("own.py:Mine", tmp_path / "two")().area() == 25
    assert sys.path == before
    (tmp_path / "two" / "sides.py").write_text("import inner\n1 / 0\n")
    with pytest.raises(PluginError, match=r"own.py does not run: ZeroDivisionError: .*two/sides.py, line 2\)"):
        SHAPES.load("own.py:Mine", tmp_path / "two")


def test_what_a_module_next_to_the_file_raises_is_named_with_its_line(package: Path, tmp_path: Path) -> None:
    own = f"from {__name__} import Shape\nimport roots\nclass Mine(Shape):\n def area(self):\n  return roots.root()\n"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.py").write_text(own)
    (tmp_path / "own" / "roots.py").write_text("def root():\n return 1 / 0\n")
    mine = SHAPES.load("own.py:Mine", tmp_path / "own")()
    said = r"^own.py:Mine: .*roots.py, line 2 raised ZeroDivisionError: division by zero; mend"
    with pytest.raises(PluginError, match=said), own_faults():
        mine.area()
    with pytest.raises(ZeroDivisionError, match="of other code"), own_faults():
        raise ZeroDivisionError("of other code")


def test_the_module_is_light() -> None:
    code = (
        "import distill.plugins, sys; print([m for m in ('torch', 'ray', 'pydantic', 'pyarrow') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
