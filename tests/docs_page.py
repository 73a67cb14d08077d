"""The code blocks of the docs' pages, and what runs them in their order. For the tests of single pages and of all.

A block that cannot be run has a comment above it, `<!-- not run: REASON -->`; output is a block of `text`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(?:<!-- not run: ([^>]+?) -->\n+)?^```(\w*)\n(.*?)^```$", re.M | re.S)
SERVERS = ("serve", "example-teacher")  # these run until they are ended; `view` too, without --page


@dataclass(frozen=True, slots=True)
class Block:
    """A code block; `reason` is why it is not run, "" where it is. `line` is its first, for messages."""

    language: str
    text: str
    reason: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[2], match[3], " ".join((match[1] or "").split()), text.count("\n", 0, match.start(2)) + 1)
        for match in BLOCK.finditer(text)
    ]


@dataclass
class PageRun:
    """Runs a page's blocks in a folder. `replace` changes texts of the page: an address, to that of a test's server.

    A YAML block whose first line is `# NAME.yaml` is written to that file. A server gets a free port, and its address
    takes the place of the page's one from there on. Leave with `close`, which ends the servers.
    """

    folder: Path
    replace: dict[str, str] = field(default_factory=dict)
    _servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, page: Path) -> Iterator[tuple[str, str]]:
        """(command or language, what it printed) of each command and each block of Python.

        Raises AssertionError with the end of its output where one fails.
        """
        for block in blocks(page):
            if block.reason or block.language in ("text", ""):
                continue
            if block.language == "yaml":
                if name := re.match(r"# (\S+\.yaml)", block.text):
                    (self.folder / name[1]).write_text(self._replaced(block.text), encoding="utf-8")
            elif block.language == "python":
                yield "python", self._finished([sys.executable, "-c", self._replaced(block.text)], block.text)
            elif block.language == "bash":
                for line in block.text.replace("\\\n", " ").splitlines():
                    if line.strip() and not line.startswith("#"):
                        yield line, self._command(line)
            else:
                raise AssertionError(f"{page.name}:{block.line}: a block of {block.language!r} that nobody runs")

    def close(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.terminate()
            server.wait(60)

    def _replaced(self, text: str) -> str:
        for old, new in self.replace.items():
            text = text.replace(old, new)
        return text

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT)}

    def _command(self, line: str) -> str:
        program, *words = shlex.split(self._replaced(line), comments=True)
        assert program == "distill", f"{line}: only distill's commands are run"
        command = [sys.executable, "-m", "distill.cli", *words]
        if words[0] in SERVERS or (words[0] == "view" and "--page" not in words):
            return self._served(command)
        return self._finished(command, line)

    def _finished(self, command: list[str], line: str) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self._environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def _served(self, command: list[str]) -> str:
        """The page of a server that is started; of one that has none, its address."""
        port = command.index("--port") + 1 if "--port" in command else None
        documented = f"http://127.0.0.1:{command[port]}" if port else ""
        if port:
            command[port] = "0"
        server = subprocess.Popen(command, cwd=self.folder, env=self._environment(), stdout=subprocess.PIPE, text=True)
        self._servers.append(server)
        assert server.stdout is not None
        address = re.search(r"(http://127\.0\.0\.1:\d+)\S*", server.stdout.readline())
        assert address is not None, f"{command} has printed no address"
        if documented:
            self.replace[documented] = address[1]
        if command[3] == "example-teacher":
            return address[0]
        with urllib.request.urlopen(address[0]) as page:
            return str(page.read().decode())
