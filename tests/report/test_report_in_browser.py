"""report.html in a real browser: it fits a phone, runs without errors, and stays deaf to hostile texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabricate import ablate, fabricate

from distill import store
from distill.report.build import build
from tests.browser import OpenPage

OPEN_ALL = "() => document.querySelectorAll('details').forEach((d) => d.open = true)"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "hostile"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return build(ablate(fabricate(folder, queries=20, hostile=request.param)))


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False)])
def test_fits_the_screen_without_an_error(report: Path, width: int, dark: bool, open_page: OpenPage) -> None:
    page = open_page(report.as_uri(), width=width, dark=dark)
    page.evaluate(OPEN_ALL)
    for button in page.locator(".samples button").all():
        button.click()
        scroll, client = page.evaluate(WIDTHS)
        assert scroll <= client <= width
    assert page.title().endswith("distillation report")


OVERLAPS = """() => [...document.querySelectorAll('svg.drawn')].flatMap((chart) => {
  const texts = [...chart.querySelectorAll('text')].map((node) => [node.textContent, node.getBoundingClientRect()]);
  return texts.flatMap(([name, a], at) => texts.slice(at + 1)
    .filter(([, b]) => a.left < b.right && b.left < a.right && a.top + 1 < b.bottom && b.top + 1 < a.bottom)
    .map(([other]) => name + ' | ' + other));
})"""


def test_no_text_of_a_chart_covers_another(open_page: OpenPage, tmp_path: Path) -> None:
    run = fabricate(tmp_path, queries=20)
    metrics = store.read_json(run / "metrics.json")
    systems = metrics["evaluation"]["test"]
    for number in range(8):  # eight systems of nearly the same quality and speed
        systems[f"think.budget_{2**number}"] = {**systems["think"], "nDCG@10": 0.5 + number / 1000}
    systems["direct.fused"] = {**systems["direct"], "nDCG@10": systems["first_stage"]["nDCG@10"] + 0.01}
    store.write_json(run / "metrics.json", metrics)
    page = open_page(build(run).as_uri())
    assert page.evaluate("document.querySelectorAll('svg.drawn').length") >= 6
    assert page.evaluate(OVERLAPS) == []
    names = page.evaluate("document.querySelector('svg.drawn').textContent")
    assert all(f"budget {2**number} 0.50" in names for number in range(8))


def test_queries_sort_and_compare_any_two_systems(report: Path, open_page: OpenPage) -> None:
    page = open_page(report.as_uri())
    read = "[...document.querySelectorAll('.difference')].map((b) => parseFloat(b.textContent.replace('−', '-')))"
    assert (gains := page.evaluate(read)) == sorted(gains, reverse=True) and len(gains) == 20

    def choose(menu: str, value: str) -> None:
        page.locator(menu).first.select_option(value)

    choose(".sort", "loss")
    assert page.evaluate(read) == sorted(gains)
    choose(".side", "untrained")
    assert page.evaluate(read) != sorted(gains)
    shown = "[...document.querySelectorAll('.query:first-child .ranking:not([hidden])')].map((r) => r.dataset.system)"
    assert page.evaluate(shown) == ["untrained", "think"]


def test_the_search_finds_queries_that_are_not_shown(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(build(fabricate(tmp_path, queries=90)).as_uri())
    shown = "[...document.querySelectorAll('.list > :not([hidden])')].filter((n) => n.getClientRects().length).length"
    assert page.evaluate(shown) == 12
    assert page.evaluate("document.querySelectorAll('.query-row').length") == 30
    page.fill(".search", "cabin LUND")
    texts = page.evaluate("[...document.querySelectorAll('.list .text')].map((node) => node.textContent)")
    wanted = sum("Lund" in text for text in texts)
    assert page.evaluate(shown) == wanted > 0
    assert page.evaluate("document.querySelector('.found').textContent") == f"{wanted} of 90 queries"
    page.fill(".search", "")
    assert page.evaluate(shown) == 12


def test_samples_are_filtered_by_reason(report: Path, open_page: OpenPage) -> None:
    page = open_page(report.as_uri())
    shown = "[...document.querySelectorAll('.group:not([hidden])')].map((g) => g.id)"
    assert page.evaluate(shown) == ["sample-0"]
    page.click("[data-group=sample-2]")
    assert page.evaluate(shown) == ["sample-2"]


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_every_name_of_the_section_bar_is_in_sight(report: Path, width: int, open_page: OpenPage) -> None:
    page = open_page(report.as_uri(), width=width)
    names = page.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.textContent)")
    edges = page.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.getBoundingClientRect().right)")
    assert len(edges) == page.evaluate("document.querySelectorAll('main > section').length") >= 9
    assert all(edge <= width for edge in edges), dict(zip(names, edges, strict=True))
    covered = page.evaluate("document.querySelector('nav').getBoundingClientRect().height")
    sticky = page.evaluate("getComputedStyle(document.querySelector('nav')).position") == "sticky"
    assert not sticky or covered <= 60  # what stays in sight takes one line of the page
