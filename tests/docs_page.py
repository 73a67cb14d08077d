"""The code blocks of the docs' pages, what is wrong with them, and what runs them in their order. For the docs' tests.

A block that cannot be run has a comment above it, `<!-- not run: REASON -->`; output is a block of `text`, a message
one of `json`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[1]
DATA = ("text", "json")  # languages of what is shown and not run
INDEX = re.compile(r"pip install [\"']?rerank-distill\b.*")
INDENTED = re.compile(r"(?<=\n\n) {4,}\S.*")  # Markdown's other way to write a block
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


def faults(page: Path, run: bool, schema: Draft202012Validator) -> list[str]:
    """What is wrong with a page's blocks. `run`: a test runs them; `schema` is that of a part of a configuration."""
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    wrong = [f"{match[0].strip()}: write it between ```" for match in INDENTED.finditer(prose)]
    wrong += [f"{match[0]}: no index has the package; pip install -e '.[EXTRA]'" for match in INDEX.finditer(text)]
    for block in blocks(page):
        if not block.language:
            wrong.append(f"{block.line}: name the block's language, or call it text")
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml" and not block.reason:
            wrong += [f"{block.line}: {error.message}" for error in schema.iter_errors(yaml.safe_load(block.text))]
        elif block.language not in ("yaml", *DATA) and not block.reason and not run:
            wrong.append(f"{block.line}: run it in a test, or write <!-- not run: REASON -->")
    return wrong


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
            if block.reason or block.language in DATA:
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
