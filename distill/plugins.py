"""Finds built-in and external plug-ins; called by each package that has a kind of them (filters, sources, backends …).

A kind has one base class, and one folder in which each module holds one built-in class. A built-in one is known by its
module's name and found by being in the folder; nothing is imported before it is used. An external one is named
`file.py:Class` in the configuration, the path relative to the configuration's folder; it may import modules that lie
next to its file, unless an installed one has the same name.

    BACKENDS = Kind("backend", "distill.rerank.backends", Backend)
    BACKENDS.names()                                          # ("transformers", "vllm"), nothing imported
    BACKENDS.load("vllm")                                     # the class in distill/rerank/backends/vllm.py
    BACKENDS.load("my_backend.py:Mine", Path("configs"))      # the class Mine in configs/my_backend.py

What is wrong with one is a PluginError, a single line with file and line: `load` raises it for a class that does not
fit its kind; `faulty` makes it for what a method has returned, `raised` for what its code has raised.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import keyword
import pkgutil
import traceback
from abc import ABCMeta
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Generic, TypeVar, cast

from distill.errors import ConfigError, DistillError, PluginError
from distill.plugin_files import FreshLoader, files_of, helpers_of, is_fresh, run_file

T = TypeVar("T")
# Errors of programming: never due to the data, never transient.
PROGRAMMING = NameError, TypeError, AttributeError, ImportError, SyntaxError, NotImplementedError


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind of plug-in.

    `word` is what messages call one ("filter"); `package` holds the built-in ones, one a module, save its sub-packages,
    the modules `base` and `settings`, those in `besides` and those whose name begins with `_`. A class is one of the
    kind when it inherits from `base`. `inherit` is what a message tells the author of an external one to inherit from,
    by default the base's full name; `relative_to` is what it calls the folder of an external one's path.
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

    def check_name(self, name: object, folder: Path | None = None) -> str:
        """The name, where it is a built-in's or has the form of an external one's.

        A hyphen counts as an underscore. A built-in one is not imported; an external one is loaded where `folder` is
        given. Raises ConfigError with the nearest known name, or as `load` does.
        """
        if isinstance(name, str) and is_external(name):
            if folder is not None:
                self.load(name, folder)
            return name
        known = self.names()
        if isinstance(name, str) and name.replace("-", "_") in known:
            return name.replace("-", "_")
        nearest = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}; or FILE.py:Class"
        raise ConfigError(f"{name!r} is no {self.word}; {hint}")

    def resolved(self, name: object, base: Path | None) -> str:
        """The checked name; an external one's path as seen from `base`, the configuration's folder, and loaded."""
        checked = self.check_name(name, base)
        return str(base / checked) if base and is_external(checked) else checked

    def load(self, name: str, folder: Path = Path()) -> type[T]:
        """The class of a built-in or an external one; `folder` is what an external one's path is relative to.

        Raises ConfigError in one line that names the file and the remedy: an unknown name, a missing file or class, a
        file that does not run, a class that is none of the kind, or whose methods do not fit it. ImportError where a
        built-in one needs a package that is not installed.
        """
        name = self.check_name(name)
        return self._external(name, folder) if is_external(name) else self._built_in(name)

    def _built_in(self, name: str) -> type[T]:
        module_name = f"{self.package}.{name}{'_' if keyword.iskeyword(name) else ''}"
        try:
            module = importlib.import_module(module_name)
        except (ImportError, DistillError):
            raise
        except Exception as error:
            spec = importlib.util.find_spec(module_name)
            raise _does_not_run(name, Path(str(spec.origin if spec else module_name)), error) from None
        classes = [made for made in _classes(module) if issubclass(made, self.base)]
        whole = [made for made in classes if not inspect.isabstract(made)]
        if len(whole) != 1 and len(classes) != 1:
            has = ", ".join(made.__name__ for made in whole or classes) or "none"
            raise PluginError(
                f"{module.__file__}: a {self.word}'s module holds one class that inherits from {self._inherit}; it has "
                f"{has}; let helpers begin with `_`"
            )
        return self._fitting((whole or classes)[0], name)

    def _external(self, name: str, folder: Path) -> type[T]:
        path, class_name = external_file(name, folder), name.rpartition(":")[2]
        if not path.is_file():
            raise PluginError(f"{name}: no such file {path}; the path is relative to {self.relative_to}")
        module = _run_file(name, path)
        made = vars(module).get(class_name)
        if not isinstance(made, type):
            classes = ", ".join(each.__name__ for each in _classes(module))
            raise PluginError(f"{name}: {path} has no class {class_name!r}; it has {classes or 'none'}")
        if not issubclass(made, self.base):
            raise PluginError(
                f"{name}: {class_name} is no {self.word}; let it inherit from {self._inherit}{_line_of(made)}"
            )
        return self._fitting(made, name)

    @property
    def _inherit(self) -> str:
        return self.inherit or f"{self.base.__module__}.{self.base.__name__}"

    def _fitting(self, made: type, name: str) -> type[T]:
        """The class. Raises PluginError for a member that is missing or misspelt, or has not the form of the base's."""
        bases = [each for each in made.__mro__ if each.__module__ == self.base.__module__]
        members = {member: value for base in reversed(bases) for member, value in vars(base).items()}
        members.setdefault("__init__", lambda self: None)
        makes_itself = any(
            isinstance(value, classmethod) and inspect.getattr_static(made, member) is not value
            for member, value in members.items()
        )
        for member, theirs in members.items():
            own = inspect.getattr_static(made, member)
            if own is theirs or (member.startswith("_") and member not in ("__call__", "__init__")):
                continue
            if member == "__init__" and (makes_itself or own is object.__init__):
                continue
            if fault := _misfit(member, own, theirs):
                raise PluginError(f"{name}: {fault}{_line_of(own) or _line_of(made)}")
        if missing := sorted(made.__abstractmethods__ if isinstance(made, ABCMeta) else ()):
            wanted = ", ".join(f"`{_written(member, members.get(member))}`" for member in missing)
            lacks = ", ".join(f"`{member}`" for member in missing)
            raise PluginError(f"{name}: {made.__name__} lacks {lacks}; write {wanted}{_line_of(made)}")
        left = [member for member, theirs in members.items() if inspect.getattr_static(made, member) is theirs]
        for each in filter(is_own, made.__mro__):
            for helper, own in vars(each).items():
                method = callable(_function(own)) or isinstance(own, property | cached_property)
                nearest = difflib.get_close_matches(helper, left, n=1, cutoff=0.8) if helper not in members else []
                if method and nearest and not helper.startswith("_"):
                    raise PluginError(
                        f"{name}: a {self.word} has no `{helper}`; did you mean `{nearest[0]}`? Let the name of a "
                        f"method of your own begin with `_`{_line_of(own) or _line_of(made)}"
                    )
        return cast(type[T], made)


def load_function(word: str, name: str, folder: Path = Path()) -> FunctionType:
    """The function of an external name `file.py:function`; `word` is what messages call one ("reward").

    Raises PluginError for a missing file or function, and for a file that does not run.
    """
    path, function_name = external_file(name, folder), name.rpartition(":")[2]
    if not path.is_file():
        raise PluginError(f"{name}: no such file {path}; the path is relative to the configuration's folder")
    members = vars(_run_file(name, path))
    made = members.get(function_name)
    if not isinstance(made, FunctionType):
        known = ", ".join(key for key, each in members.items() if isinstance(each, FunctionType)) or "none"
        raise PluginError(f"{name}: {path} has no function {function_name!r} for a {word}; it has {known}")
    return made


def is_external(name: str) -> bool:
    """Whether a name of the configuration is an external one's, `file.py:Class`."""
    return ".py:" in name


def is_own(made: type) -> bool:
    """Whether a class comes from an external file, or from a module next to one."""
    return is_fresh(made.__module__)


def external_file(name: str, folder: Path) -> Path:
    """The file of an external one's name `file.py:Class`."""
    return folder / name.rpartition(":")[0]


def external_files(names: Iterable[str], folder: Path) -> list[Path]:
    """The files of those names that are external, each once, and the modules next to them that they import.

    A changed file is a changed setting of a stage.
    """
    files = (external_file(name, folder) for name in names if is_external(name))
    return list(dict.fromkeys(each for file in files for each in (file, *files_of(helpers_of(file)))))


def external_hash(name: str, folder: Path) -> str:
    """The SHA-256 of an external one's file; of the modules next to it that it imports, too, where there are any."""
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in external_files([name], folder)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def raised(error: BaseException, name: str = "", place: str = "") -> PluginError | None:
    """The error for what the code of an external file has raised; None for an error of other code, or of this project.

    `name` is what the message begins with, by default `file.py:Class`; `place` is the row, such as " for pair 7".
    """
    trace = [(frame.f_code, frame.f_globals, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(code, names, line) for code, names, line in trace if code.co_filename in FreshLoader.files]
    if isinstance(error, DistillError) or not own:
        return None
    code, _, line = own[-1]
    heads = [(code.co_filename, code.co_qualname.partition(".")[0], names) for code, names, _ in own]
    classes = [f"{Path(file).name}:{head}" for file, head, names in heads if isinstance(names.get(head), type)]
    cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    name = name or (classes[-1] if classes else Path(code.co_filename).name)
    return PluginError(f"{name}: {code.co_filename}, line {line} raised {cause}{place}; mend it and run again")


@contextmanager
def own_faults() -> Iterator[None]:
    """What the code of an external file raises within becomes a PluginError, which can go to another process."""
    try:
        yield
    except Exception as error:
        if fault := raised(error):
            raise fault from None
        raise


def faulty(owner: object, method: str, fault: str, remedy: str, name: str = "") -> PluginError:
    """The error for what a method of a plug-in has returned: `fault` says what came, `remedy` what is wanted.

    `name` is what the message begins with, by default `file.py:Class`.
    """
    made = type(owner)
    name = name or f"{Path(inspect.getfile(made)).name}:{made.__name__}"
    own = (vars(each)[method] for each in made.__mro__ if method in vars(each) and is_own(each) == is_own(made))
    return PluginError(f"{name}: {fault}; {remedy}{_line_of(next(own, made)) or _line_of(made)}")


def class_and_place(owner: object) -> str:
    """The name of an object's class, with its file and line."""
    return f"{type(owner).__name__}{_line_of(type(owner))}"


def shown(value: object) -> str:
    """A value of the wrong type, for a message."""
    return "None" if value is None else f"a {type(value).__name__}"


def _misfit(member: str, own: object, theirs: object) -> str:
    """What is wrong with a member of a class, given the base's of that name; "" where it fits."""
    function, own_function = _function(theirs), _function(own)
    if isinstance(theirs, property | cached_property):
        return f"`{member}` is a method; write `@property` above it" if inspect.isroutine(own) else ""
    if not callable(function):
        fits = isinstance(own, (type(theirs), property, cached_property))
        return "" if fits else f"`{member}` is {shown(own)}; it is a {type(theirs).__name__}, such as {theirs!r}"
    written = _written(member, theirs)
    if not callable(own_function):
        return f"`{member}` is {shown(own)}; write `{written}`"
    if isinstance(theirs, classmethod) and not isinstance(own, classmethod):
        return f"`{member}` is no class method; write `@classmethod` above `{written}`"
    is_async = inspect.iscoroutinefunction(function)
    if is_async != inspect.iscoroutinefunction(inspect.unwrap(own_function)):
        return f"`{member}` is {'not async' if is_async else 'async'}; write `{written}`"
    parameters = list(inspect.signature(function).parameters.values())
    values = [None for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    signature = inspect.signature(own_function)
    try:
        signature.bind(*values[isinstance(own, staticmethod) :])
    except TypeError:
        return f"`{member}` takes ({', '.join(signature.parameters)}); write `{written}`"
    return ""


def _function(member: object) -> object:
    return member.__func__ if isinstance(member, classmethod | staticmethod) else member


def _written(member: str, theirs: object) -> str:
    """How the beginning of a member is written."""
    function = _function(theirs)
    if not callable(function):
        return f"@property def {member}(self)" if isinstance(theirs, property | cached_property) else member
    before = "async def" if inspect.iscoroutinefunction(function) else "def"
    return f"{before} {member}({', '.join(inspect.signature(function).parameters)})"


def _line_of(member: object) -> str:
    """ " (FILE, line N)" of a class or a function, "" of anything else."""
    function = _function(member)
    if isinstance(function, type):
        return f" ({inspect.getfile(function)}, line {inspect.getsourcelines(function)[1]})"
    function = inspect.unwrap(function) if callable(function) else function
    place = function.__code__ if isinstance(function, FunctionType) else None
    return f" ({place.co_filename}, line {place.co_firstlineno})" if place else ""


def _classes(module: ModuleType) -> list[type]:
    """The public classes that the module itself defines, in its order."""
    members = vars(module).items()
    return [
        made
        for name, made in members
        if isinstance(made, type) and made.__module__ == module.__name__ and not name.startswith("_")
    ]


def _run_file(name: str, path: Path) -> ModuleType:
    try:
        return run_file(path.resolve(), external_hash(f"{path.name}:", path.parent))
    except (Exception, SystemExit) as error:
        raise _does_not_run(name, path, error) from None


def _does_not_run(name: str, path: Path, error: BaseException) -> PluginError:
    """The error for a file that raises while it is run, with the line of it, or of a module that it imports."""
    own = {str(path), str(path.resolve()), *FreshLoader.files}
    frames = [(each.filename, each.lineno) for each in traceback.extract_tb(error.__traceback__)]
    lines = [(file, line) for file, line in frames if file in own]
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append((error.filename or str(path), error.lineno))
    file, line = lines[-1] if lines else (str(path), 0)
    where = "" if file in (str(path), str(path.resolve())) else f"{file}, "
    message = error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]
    place = f" ({where}line {line})" if line else ""
    return PluginError(f"{name}: {path} does not run: {type(error).__name__}: {message}{place}")
