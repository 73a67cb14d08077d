"""Finds built-in and external plug-ins; called by each package that has a kind of them (filters, sources, backends …).

A kind has one base class (or protocol), and one folder in which each module holds one built-in class. A built-in one is
known by its module's name and found by being in the folder; nothing is imported before it is used. An external one is
named `file.py:Class` in the configuration, the path relative to the configuration's folder.

    BACKENDS = Kind("backend", "distill.rerank.backends", Backend)
    BACKENDS.names()                                          # ("transformers", "vllm"), nothing imported
    BACKENDS.load("vllm")                                     # the class in distill/rerank/backends/vllm.py
    BACKENDS.load("my_backend.py:Mine", Path("configs"))      # the class Mine in configs/my_backend.py
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import keyword
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Generic, TypeVar, cast

from typing_extensions import get_protocol_members, is_protocol

from distill.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind of plug-in.

    `word` is what messages call one ("filter"); `package` holds the built-in ones, one a module, save its sub-packages,
    the modules `base` and `settings`, those in `besides` and those whose name begins with `_`. A class is one of the
    kind when it inherits from `base`; where `base` is a `Protocol`, when it has that protocol's members. `inherit` is
    what a message tells the author of an external one to inherit from, by default the base's full name; `relative_to`
    is what it calls the folder of an external one's path.
    """

    word: str
    package: str
    base: type[T]
    besides: tuple[str, ...] = ()
    inherit: str = ""
    relative_to: str = "the configuration's folder"

    def names(self) -> tuple[str, ...]:
        """The built-in ones' names, sorted: their modules' (`import` for `import_.py`). Imports none of them."""
        spec = importlib.util.find_spec(self.package)
        folders = spec.submodule_search_locations if spec else None
        modules = pkgutil.iter_modules(folders or [])
        others = {"base", "settings", *self.besides}
        own = [m.name for m in modules if not (m.ispkg or m.name in others or m.name.startswith("_"))]
        return tuple(sorted(name.rstrip("_") for name in own))

    def check_name(self, name: object) -> str:
        """The name, where it is a built-in's or has the form of an external one's; imports nothing.

        A hyphen counts as an underscore. Raises ConfigError with the nearest known name.
        """
        if isinstance(name, str) and is_external(name):
            return name
        known = self.names()
        if isinstance(name, str) and name.replace("-", "_") in known:
            return name.replace("-", "_")
        nearest = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}; or FILE.py:Class"
        raise ConfigError(f"{name!r} is no {self.word}; {hint}")

    def load(self, name: str, folder: Path = Path()) -> type[T]:
        """The class of a built-in or an external one; `folder` is what an external one's path is relative to.

        Raises ConfigError in one line that names the file and the remedy: an unknown name, a missing file or class, a
        file that does not run, or a class that is none of the kind. ImportError where a built-in one needs a package
        that is not installed.
        """
        name = self.check_name(name)
        if is_external(name):
            return self._external(name, folder)
        module = importlib.import_module(f"{self.package}.{name}{'_' if keyword.iskeyword(name) else ''}")
        classes = [made for made in _classes(module) if self._is_one(made) and not inspect.isabstract(made)]
        if len(classes) != 1:
            has = ", ".join(made.__name__ for made in classes) or "none"
            raise ConfigError(
                f"{module.__file__}: a {self.word}'s module holds one class that inherits from {self._inherit}; it has "
                f"{has}; let helpers begin with `_`"
            )
        return cast(type[T], classes[0])

    def _external(self, name: str, folder: Path) -> type[T]:
        path = external_file(name, folder)
        class_name = name.rpartition(":")[2]
        if not path.is_file():
            raise ConfigError(f"{name}: no such file {path}; the path is relative to {self.relative_to}")
        module = _run_file(name, path)
        made = getattr(module, class_name, None)
        if not isinstance(made, type):
            classes = ", ".join(each.__name__ for each in _classes(module))
            raise ConfigError(f"{name}: {path} has no class {class_name!r}; it has {classes or 'none'}")
        if not self._is_one(made):
            raise ConfigError(f"{name}: {class_name} is no {self.word}; {self._remedy(made)}")
        if missing := sorted(getattr(made, "__abstractmethods__", ())):
            raise ConfigError(f"{name}: {class_name} lacks {', '.join(f'`{member}`' for member in missing)}")
        return cast(type[T], made)

    @property
    def _inherit(self) -> str:
        return self.inherit or f"{self.base.__module__}.{self.base.__name__}"

    def _is_one(self, made: type) -> bool:
        return not _missing(made, self.base) if is_protocol(self.base) else issubclass(made, self.base)

    def _remedy(self, made: type) -> str:
        if is_protocol(self.base):
            return f"it lacks {', '.join(f'`{member}`' for member in _missing(made, self.base))} of {self._inherit}"
        return f"let it inherit from {self._inherit}"


def is_external(name: str) -> bool:
    """Whether a name of the configuration is an external one's, `file.py:Class`."""
    return ".py:" in name


def external_file(name: str, folder: Path) -> Path:
    """The file of an external one's name `file.py:Class`."""
    return folder / name.rpartition(":")[0]


def external_files(names: Iterable[str], folder: Path) -> list[Path]:
    """The files of those names that are external, each once: a changed file is a changed setting of a stage."""
    return list(dict.fromkeys(external_file(name, folder) for name in names if is_external(name)))


def _classes(module: ModuleType) -> list[type]:
    """The public classes that the module itself defines, in its order."""
    members = vars(module).items()
    return [
        made
        for name, made in members
        if isinstance(made, type) and made.__module__ == module.__name__ and not name.startswith("_")
    ]


def _missing(made: type, protocol: type) -> list[str]:
    annotated = {name for each in made.__mro__ for name in getattr(each, "__annotations__", ())}
    return sorted(name for name in get_protocol_members(protocol) if not hasattr(made, name) and name not in annotated)


def _run_file(name: str, path: Path) -> ModuleType:
    try:
        return _module(path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest())
    except (Exception, SystemExit) as error:
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = getattr(error, "lineno", None) or (frames[-1] if frames else None)
        place = f" (line {line})" if line else ""
        message = str(error).partition("\n")[0]
        raise ConfigError(f"{name}: {path} does not run: {type(error).__name__}: {message}{place}") from None


@lru_cache(maxsize=64)
def _module(path: Path, content: str) -> ModuleType:
    """The module of a file, run once for each content; registered, since dataclasses and pydantic look it up."""
    name = f"_external_{path.stem}_{hashlib.sha256(f'{path}{content}'.encode()).hexdigest()[:12]}"
    loader = _FreshLoader(name, str(path))
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _FreshLoader(SourceFileLoader):
    """Compiles the file as it is: the bytecode cache knows a file by its second and size, and misses a quick edit."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)
