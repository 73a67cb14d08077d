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
        self.files.add(self.path)
        return self.source_to_code(self.get_data(self.path), self.path)


def is_fresh(name: str) -> bool:
    """Whether the module of that name has been run from an external file, or one next to it."""
    return name in sys.modules and isinstance(vars(sys.modules[name]).get("__loader__"), FreshLoader)


class _HelperFinder(MetaPathFinder):
    """Finds the modules next to an external file that it imports, unless an installed one has the name."""

    files: ClassVar[dict[str, Path]] = {}
    hashes: ClassVar[dict[str, str]] = {}

    @classmethod
    def offer(cls, helpers: Mapping[str, Path]) -> None:
        """Let these be imported; where one has another content than before, all are run again."""
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.insert(0, cls())
        contents = {name: [path.read_bytes() for path in files_of({name: file})] for name, file in helpers.items()}
        hashes = {name: hashlib.sha256(b"".join(files)).hexdigest() for name, files in contents.items()}
        if any((cls.files.get(name), cls.hashes.get(name)) != (helpers[name], hashes[name]) for name in helpers):
            for name in [name for name in sys.modules if name.partition(".")[0] in helpers and is_fresh(name)]:
                del sys.modules[name]
        cls.files.update(helpers)
        cls.hashes.update(hashes)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module of that name next to the file that was run last, of those that import one of the name."""
        first, *rest = fullname.split(".")
        file = self.files.get(first)
        others = [finder for finder in sys.meta_path if finder is not self]
        if file is None or (rest and not is_fresh(first)):
            return None
        if not rest and any(finder.find_spec(fullname, None) for finder in others):
            return None
        inner = file.parent.joinpath(*rest)
        candidates = (inner.with_suffix(".py"), inner / "__init__.py") if rest else (file,)
        for found in filter(Path.is_file, candidates):
            return importlib.util.spec_from_file_location(
                fullname, found, loader=FreshLoader(fullname, str(found)),
                submodule_search_locations=[str(found.parent)] if found.name == "__init__.py" else None,
            )  # fmt: skip
        return None
