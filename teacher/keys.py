"""Keys that expire: a command gives a new one where a worker's key is refused, and only then. For the session.

The command runs in the driver alone; workers get the key, as they got the first one, and never the command's rights.
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import SecretStr

from distill.errors import ConfigError, last_line

if TYPE_CHECKING:
    from teacher.endpoint import Endpoint
    from teacher.messages import WorkerReport

COMMAND_S = 120.0


def key_of_command(command: str, name: str) -> SecretStr:
    """The key that a command prints. `name` is the setting's. Raises ConfigError, never with what it printed."""
    try:
        words = shlex.split(command)
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=COMMAND_S, stdin=subprocess.DEVNULL
        )
    except (ValueError, IndexError, OSError) as error:
        raise ConfigError(f"{name}: {command!r} cannot be run ({error})") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{name}: {command!r} gave no key within {COMMAND_S:g} s") from None
    key = done.stdout.strip()
    if done.returncode:
        raise ConfigError(f"{name}: {command!r} ended with status {done.returncode}: {last_line(done.stderr)}")
    if not key or len(key.split()) > 1 or not key.isascii():
        raise ConfigError(f"{name}: {command!r} has to print the key and nothing else")
    return SecretStr(key)


def digest_of(key: str) -> str:
    """By what a key is known where it must not be written."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class Keys:
    """The keys of a session's endpoints; `current` is what new workers start with."""

    def __init__(self, endpoints: Sequence[Endpoint], say: Callable[[str], None]) -> None:
        self._endpoints, self._say = endpoints, say
        self.current = [endpoint.secret(number) for number, endpoint in enumerate(endpoints)]
        self._accepted: set[str] = set()
        self.gone: dict[int, str] = {}  # endpoints without a key, and why

    def renewed(self, report: WorkerReport) -> dict[int, SecretStr | None]:
        """What a worker needs whose report says that keys were refused which had worked before."""
        self._accepted |= report.accepted
        for number, digest in report.expired.items():
            if number not in self.gone and digest == digest_of(self.current[number].get_secret_value()):
                self._renew(number, digest)
        return {n: None if n in self.gone else self.current[n] for n in report.expired}

    def _renew(self, number: int, refused: str) -> None:
        endpoint, place = self._endpoints[number], f"teacher.endpoints.{number}"
        try:
            if refused not in self._accepted:
                raise ConfigError(f"{place}: the key of api_key_command is refused as soon as it is used")
            key = endpoint.secret(number)
            if digest_of(key.get_secret_value()) == refused:
                raise ConfigError(f"{place}: api_key_command gives the same key again, which is refused")
        except ConfigError as error:
            self.gone[number] = str(error)
            self._say(f"  {error}")
        else:
            self.current[number] = key
            self._say(f"  {place} ({endpoint.host}): its key has expired; api_key_command gave another")
