"""The one error hierarchy. What a user can mend is an `InputError` and is shown as one line, never as a traceback.

Every class takes a single message, so that errors survive pickling between processes.
"""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, at most 300 characters; its type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def last_line(text: str) -> str:
    """The last line that says something, at most 300 characters; "" where there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


class DistillError(Exception):
    """Base of all errors that this project raises on purpose; `exit_code` is what the command returns."""

    exit_code = 1


class InputError(DistillError, ValueError):
    """The user's input is wrong: the message names the file, line or key, and the remedy."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration that cannot be right; the message starts with the key's path."""


class PluginError(ConfigError):
    """A filter, source, teacher, target, backend or kind of set (`distill.plugins`) that does not do what it must."""


class DataError(InputError):
    """A data file that cannot be read as it is; the message starts with the file and the line."""


class EndpointError(InputError):
    """The teacher refuses before the first paid request: connection, key or model name."""


class RunFolderError(InputError):
    """The output folder holds something else, another run, or is in use."""


class DiskRefused(InputError):
    """A path that cannot be read or written: no permission, read-only, a link to nothing."""


class Stopped(DistillError):
    """Work is left, nothing is lost, and a second call takes it up (budget reached, interrupt, teacher away)."""

    exit_code = 3


class DiskFull(Stopped):
    """The disk takes no more (no space, a quota, a limit on the size of files) or fails; what is written stays."""


def of_exit_code(exit_code: int, message: str) -> DistillError:
    """The error that another process ended with, by its exit status and its message."""
    return {2: InputError, 3: Stopped}.get(exit_code, DistillError)(message)
