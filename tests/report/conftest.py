"""Run folders and a browser for the report's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A headless Chromium, for all tests of this room; they are skipped where none is installed."""
    from browser import BINARY, Browser

    if BINARY is None:
        pytest.skip("needs a chromium binary; on Debian: apt install chromium")
    page = Browser(tmp_path_factory.mktemp("chromium"))
    yield page
    page.close()
