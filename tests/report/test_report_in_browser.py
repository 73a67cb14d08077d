"""report.html in a real browser: it fits a phone, runs without errors, and stays deaf to hostile texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fabricate import ablate, fabricate

from distill.report.build import build

OPEN_ALL = "document.querySelectorAll('details').forEach((d) => d.open = true)"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "hostile"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return build(ablate(fabricate(folder, queries=20, hostile=request.param)))


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False)])
def test_fits_the_screen_without_an_error(page: Path, width: int, dark: bool, browser: Any) -> None:
    browser.console.clear()
    browser.open(page.as_uri(), width=width, dark=dark)
    browser.script(OPEN_ALL)
    for button in range(browser.script("document.querySelectorAll('.samples button').length")):
        browser.script(f"document.querySelectorAll('.samples button')[{button}].click()")
        scroll, client = browser.script(WIDTHS)
        assert scroll <= client <= width
    assert browser.script("document.title").endswith("distillation report")
    assert browser.console == []


def test_queries_sort_and_compare_any_two_systems(page: Path, browser: Any) -> None:
    browser.open(page.as_uri())
    read = "[...document.querySelectorAll('.difference')].map((b) => parseFloat(b.textContent.replace('−', '-')))"
    assert (gains := browser.script(read)) == sorted(gains, reverse=True) and len(gains) == 20

    def choose(menu: str, value: str) -> None:
        browser.script(f"document.querySelector('{menu}').value = '{value}'")
        browser.script(f"document.querySelector('{menu}').dispatchEvent(new Event('change', {{bubbles: true}}))")

    choose(".sort", "loss")
    assert browser.script(read) == sorted(gains)
    choose(".side", "untrained")
    assert browser.script(read) != sorted(gains)
    shown = "[...document.querySelectorAll('.query:first-child .ranking:not([hidden])')].map((r) => r.dataset.system)"
    assert browser.script(shown) == ["untrained", "think"]


def test_samples_are_filtered_by_reason(page: Path, browser: Any) -> None:
    browser.open(page.as_uri())
    shown = "[...document.querySelectorAll('.group:not([hidden])')].map((g) => g.id)"
    assert browser.script(shown) == ["sample-0"]
    browser.script("document.querySelector('[data-group=sample-2]').click()")
    assert browser.script(shown) == ["sample-2"]


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_every_name_of_the_section_bar_is_in_sight(page: Path, width: int, browser: Any) -> None:
    browser.open(page.as_uri(), width=width)
    names = browser.script("[...document.querySelectorAll('nav a')].map((a) => a.textContent)")
    edges = browser.script("[...document.querySelectorAll('nav a')].map((a) => a.getBoundingClientRect().right)")
    assert len(edges) == browser.script("document.querySelectorAll('main > section').length") >= 9
    assert all(edge <= width for edge in edges), dict(zip(names, edges, strict=True))
    covered = browser.script("document.querySelector('nav').getBoundingClientRect().height")
    sticky = browser.script("getComputedStyle(document.querySelector('nav')).position") == "sticky"
    assert not sticky or covered <= 60  # what stays in sight takes one line of the page
