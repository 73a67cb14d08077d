"""Runs Python in a terminal of its own, for the tests of what a person sees and types."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Sequence


def in_terminal(arguments: Sequence[str], typed: bytes = b"") -> str:
    """What `python ARGUMENTS` shows in a terminal where `typed` is typed; asserts that it ends with status 0."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, *arguments])
    os.write(terminal, typed)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown.decode()
    return shown.decode()
