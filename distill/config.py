"""The configuration loader: YAML, `key.path=value` overrides, pydantic, and errors that name the key and the remedy.

Each package has its own settings model, and the pipeline joins them as `RunConfig`. Used by the command line.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import shlex
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from distill.errors import ConfigError


class Settings(BaseModel):
    """Base of every package's settings: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, and reads 1e-4 as a number."""


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise ConfigError(f"line {key.start_mark.line + 1}: the key {key.value!r} is given twice; keep one")
        seen.add(key.value)
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The YAML mapping in a file. Raises ConfigError with file and line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; name the YAML file in it") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    try:
        value = yaml.load(text, Loader=_Loader)
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(value, dict):
        kind = "empty" if value is None else type(value).__name__
        raise ConfigError(f"{path}: a configuration is a mapping of keys, this is {kind}")
    return value


def resolved(run: Path) -> dict[str, Any] | None:
    """The configuration that a run folder was made with, as its config.yaml says; None where that is no mapping."""
    try:
        value = yaml.safe_load((run / "config.yaml").read_bytes())
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


# In the config.yaml of a run, which lies elsewhere than the file it was made from:
RELATIVE_TO = "# Paths are relative to "


def folder_of(path: str | Path) -> Path:
    """The folder that a configuration's paths are relative to: the file's own, or what a run's config.yaml, or a copy
    of it, says. Raises ConfigError where that cannot be read."""
    return _made_in(Path(path)) or Path(path).resolve().parent


def is_of_run(path: Path) -> bool:
    """Whether a configuration is the config.yaml that a run wrote into its folder."""
    return path.name == "config.yaml" and _made_in(path) is not None


def _made_in(path: Path) -> Path | None:
    if not path.is_file():
        return None
    with open(path, encoding="utf-8", errors="replace") as lines:
        found = [line.removeprefix(RELATIVE_TO) for line in islice(lines, 2) if line.startswith(RELATIVE_TO)]
    try:
        return Path(json.loads(found[0])) if found else None
    except (ValueError, TypeError):
        kept = "without that line they are relative to the file's own"
        raise ConfigError(f"{path}: {RELATIVE_TO[2:]}{found[0].strip()}: not a folder in quotes; {kept}") from None


def made_of(run: Path) -> list[str]:
    """The words of the command that a run's config.yaml was made of: the file, and the settings on top of it."""
    path = run / "config.yaml"
    found = re.match(r"# Resolved from (.+); keys are", path.read_text("utf-8", "replace")) if path.is_file() else None
    try:
        name, *settings = shlex.split(found[1]) if found else ["CONFIG"]
    except ValueError:  # written by hand
        return ["CONFIG"]
    file = folder_of(path) / name
    return [os.path.relpath(file) if file.is_file() else name, *settings]


def apply_overrides(raw: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`key.path=value` on top of a mapping; the value is YAML, list items are addressed by number."""
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise ConfigError(f"{text!r}: an override is key.path=value, such as sft.training.max_steps=100")
        keys = path.split(".")
        node: Any = raw
        for depth, key in enumerate(keys):
            last = depth == len(keys) - 1
            if isinstance(node, list):
                if not key.isdigit() or int(key) >= len(node):
                    raise ConfigError(
                        f"{path}: {'.'.join(keys[:depth])} is a list of {len(node)}; name an item by number"
                    )
                slot: Any = int(key)
            elif isinstance(node, dict):
                slot = key
                if not last:
                    node[slot] = node.get(slot) if node.get(slot) is not None else {}
            else:
                raise ConfigError(f"{path}: {'.'.join(keys[:depth])} holds a single value, so it has no key {key!r}")
            if last:
                try:
                    node[slot] = yaml.load(value, Loader=_Loader)
                except yaml.YAMLError:
                    raise ConfigError(f"{path}: {value!r} is not YAML") from None
            else:
                node = node[slot]
    return raw


def validate(model: type[Model], raw: dict[str, Any], origin: str | Path) -> Model:
    """The checked configuration. Raises ConfigError that lists every fault, one a line, nearest valid name included."""
    try:
        return model.model_validate(raw, context={"base": folder_of(origin)})
    except ValidationError as error:
        lines = [f"{origin}: {_explain(model, fault)}" for fault in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def load(model: type[Model], path: str | Path, overrides: Iterable[str] = ()) -> Model:
    """Read, override and check a configuration file."""
    return validate(model, apply_overrides(read_yaml(path), overrides), path)


def _explain(model: type[BaseModel], fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "configuration"
    if fault["type"] == "extra_forbidden":
        names = _names_at(model, fault["loc"][:-1])
        near = _near(str(fault["loc"][-1]), names)
        meant = " or ".join(map(repr, near))
        hint = f"; did you mean {meant}?" if near else f"; known here: {', '.join(sorted(names))}" if names else ""
        return f"{where} is not a known key{hint}"
    if fault["type"] == "missing":
        return f"{where} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    shown = fault.get("input")
    plain = isinstance(shown, str | int | float | bool) or shown is None
    got = f" (got {shown!r})" if plain and not _may_hold_a_key(shown) else ""
    return f"{where}: {message[0].lower() + message[1:]}{got}"


def _near(name: str, names: list[str]) -> list[str]:
    """The names that begin with this one, then the one that is most like it."""
    begin = [known for known in names if len(name) > 3 and known.startswith(f"{name}_")]
    return list(dict.fromkeys([*begin, *difflib.get_close_matches(name, names, n=1, cutoff=0.5)]))


def _may_hold_a_key(value: Any) -> bool:
    """Whether a value is a URL with a user, a password or a query in it, which no message repeats."""
    return isinstance(value, str) and "://" in value and ("@" in value or "?" in value)


def _names_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Field names of the model at `loc`, looking through lists, unions and optionals."""
    models: list[type[BaseModel]] = [model]
    for part in loc:
        if not isinstance(part, str):
            continue
        inner: list[type[BaseModel]] = []
        for candidate in models:
            if part in candidate.model_fields:
                inner += _models_in(candidate.model_fields[part].annotation)
        models = inner or models
    return sorted({name for candidate in models for name in candidate.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in get_args(annotation) for m in _models_in(part)]


def resolve_path(base: Path, path: str) -> str:
    """A path of the configuration: URLs and absolute paths as they are, others relative to the file's folder."""
    path = path.removeprefix("file://")
    if "://" in path or os.path.isabs(path):
        return path
    return str(base / path)


def secret(variable: str, key: str) -> str:
    """The value of an environment variable that holds a key. Raises ConfigError naming both, never the value."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{key} names {variable}, which is not set in this environment; export {variable}=...")
    return value


def is_local(url: str) -> bool:
    """Whether a URL names this machine (localhost or a loopback address): no proxy of the environment can reach it."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
