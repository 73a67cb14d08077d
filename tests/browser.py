"""The fixtures of the browser tests: the system's Chromium, driven by playwright. tests/conftest.py loads them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:  # what needs no browser runs without playwright, as in the environment of the vLLM tests
    from playwright.sync_api import Browser, ConsoleMessage, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WITHOUT_CHROMIUM = "needs a chromium binary; on Debian: apt install chromium"
# Chromium shall fetch and send nothing of its own.
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 60_000.0
PHONE_PX = 600


class OpenPage(Protocol):
    """The type of the fixture `open_page`."""

    def __call__(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """Load `url` in a new page of this size, in pixels."""
        ...


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium. It ends with its module: while playwright runs, `asyncio.run` is refused in this thread."""
    if CHROMIUM is None:
        pytest.skip(WITHOUT_CHROMIUM)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=TIMEOUT_MS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Opens pages, each without cookies or storage of another; below 600 pixels one is a phone's, with touch.

    The test fails if a page logged an error or a warning, raised an exception, or tried what its policy forbids.
    """
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text} {message.location['url']}")

    def open_page(url: str, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        page = chromium.new_page(
            viewport={"width": width, "height": height},
            is_mobile=width < PHONE_PX,
            has_touch=width < PHONE_PX,
            color_scheme="dark" if dark else "light",
        )
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
        page.goto(url)
        return page

    yield open_page
    for context in chromium.contexts:
        context.close()
    assert complaints == []
