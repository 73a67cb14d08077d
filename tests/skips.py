"""Fails a test session on a skip whose reason is not on a list. tests/conftest.py loads it; `.ci/run` names the list.

The environment variable DISTILL_ALLOWED_SKIPS holds the list's path. Each line that is neither empty nor a comment
(`#`) is a pattern of `fnmatch` for a whole reason. Where a skip's reason fits no pattern, the session names it and ends
with exit status 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

LIST = "DISTILL_ALLOWED_SKIPS"


def patterns(path: Path) -> list[str]:
    """The patterns of a list of allowed skips."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


class AllowedSkips:
    """Collects the skips of a session that no pattern allows."""

    def __init__(self, allowed: Iterable[str], source: Path) -> None:
        self.allowed, self.source = tuple(allowed), source
        self.unexpected: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Take in the outcome of a test or of the collection of a module."""
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not any(fnmatchcase(reason, pattern) for pattern in self.allowed):
            self.unexpected.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each phase of a test."""
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Called by pytest when a module is collected: one that is skipped as a whole has no test reports."""
        self.note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Called by pytest at the end."""
        if self.unexpected and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Called by pytest when it prints its summary."""
        if self.unexpected:
            terminalreporter.section("skips that are not allowed", red=True)
            for line in self.unexpected:
                terminalreporter.line(line)
            terminalreporter.line(f"Install what they need, or allow the reason in {self.source}.")


def pytest_configure(config: pytest.Config) -> None:
    """Switch it on where the environment names a list."""
    if path := os.environ.get(LIST):
        source = Path(path)
        config.pluginmanager.register(AllowedSkips(patterns(source), source), "allowed-skips")
