"""Runs the Python files that a configuration names, with the modules next to them; called by `distill.plugins`."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import ClassVar

PREFIX = "_external_"  # of the module names of the files that are run


@lru_cache(maxsize=64)
def run_file(path: Path, content: str) -> ModuleType:
    """The module of a file, run once for each `content`, the hash of it and of what it imports from its folder.

    It is registered, since dataclasses and pydantic look it up. Raises what the file raises.
    """
    name = f"{PREFIX}{path.stem}_{hashlib.sha256(f'{path}{content}'.encode()).hexdigest()[:12]}"
    _HelperFinder.offer(helpers_of(path))
    loader = FreshLoader(name, str(path))
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def helpers_of(path: Path) -> dict[str, Path]:
    """{name: file} of the modules in a file's folder that it imports, and that these import in turn."""
    helpers: dict[str, Path] = {}
    waiting = [path]
    while waiting:
        for name in _imported(waiting.pop()) - set(helpers):
            for file in (path.parent / f"{name}.py", path.parent / name / "__init__.py"):
                if file.is_file() and file != path:
                    helpers[name] = file
                    waiting += files_of({name: file})
                    break
    return helpers


def _imported(path: Path) -> set[str]:
    """The top-level names of the modules that a file imports, wherever in it; none where it cannot be read."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


def files_of(helpers: Mapping[str, Path]) -> list[Path]:
    """The files of modules; of a package all that lie in it."""
    files = [sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file] for file in helpers.values()]
    return [file for several in files for file in several]


class FreshLoader(SourceFileLoader):
    """Compiles the file as it is: the bytecode cache knows a file by its second and size, and misses a quick edit."""

    files: ClassVar[set[str]] = set()
    """All that were run by one."""

    def get_code(self, fullname: str) -> CodeType:
        self.content = self.get_data(self.path)
        self.files.add(self.path)
        return self.source_to_code(self.content, self.path)


class _HelperFinder(MetaPathFinder):
    """Finds the modules next to an external file that it imports, as the last finder: installed ones come first."""

    helpers: ClassVar[dict[str, Path]] = {}

    @classmethod
    def offer(cls, helpers: Mapping[str, Path]) -> None:
        """Let these be imported; those of an earlier content, or of another folder, are forgotten."""
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.append(cls())
        cls.helpers.update(helpers)
        loaders = {name: vars(sys.modules[name]).get("__loader__") for name in helpers if name in sys.modules}
        own = {name: loader for name, loader in loaders.items() if isinstance(loader, FreshLoader)}
        if any(
            helpers[name] != Path(each.path) or helpers[name].read_bytes() != each.content for name, each in own.items()
        ):
            for name in [each for each in sys.modules if each.partition(".")[0] in own]:
                del sys.modules[name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module of that name next to the file that was run last, of those with one."""
        file = self.helpers.get(fullname)
        if file is None or not file.is_file():
            return None
        folder = [str(file.parent)] if file.name == "__init__.py" else None
        loader = FreshLoader(fullname, str(file))
        return importlib.util.spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=folder)
