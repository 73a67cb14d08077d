"""The viewer in a real browser: 50,000 traces by paging, keys, links, decisions, evidence, hostile texts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabricate import fabricate
from playwright.sync_api import Page

from distill.report.server import ViewerServer, make_server
from distill.report.viewer import write
from tests.browser import OpenPage

READY = "document.querySelectorAll('.line').length > 2 && !document.querySelector('#space').textContent.includes('…')"
TOTAL = "document.getElementById('total').textContent"
READING = "document.querySelector('#reading h2')"


def until(page: Page, expression: str) -> None:
    """Wait until a JavaScript expression is true. Sent as a function: the page's policy forbids to evaluate strings."""
    page.wait_for_function(f"() => {expression}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewerServer]:
    server = make_server(fabricate(tmp_path_factory.mktemp("big"), pairs=56_000, upto="filter"))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_fifty_thousand_traces_are_paged_searched_and_decided(server: ViewerServer, open_page: OpenPage) -> None:
    size = len(server.traces)
    assert size > 50_000
    page = open_page(server.address)
    until(page, READY)
    assert page.evaluate(TOTAL).startswith(f"{size:,} of {size:,} traces")
    page.evaluate("document.getElementById('list').scrollTop = document.getElementById('space').clientHeight / 2")
    until(page, READY)
    assert page.evaluate("document.querySelectorAll('.line').length") < 60  # only what is in view is drawn
    assert page.evaluate("cache.size") < 500  # and only that was asked for
    page.fill("#words", "norheim sauna")
    until(page, f"!{TOTAL}.startsWith('{size:,}')")
    found = server.traces.search("norheim sauna")
    assert page.evaluate(TOTAL).startswith(f"{len(found):,} of {size:,} traces")
    page.evaluate("document.activeElement.blur()")
    for key in ("j", "j", "K", "J", "j", "r"):
        page.keyboard.press(key)
    until(page, "document.querySelector('.decide [aria-pressed=true]')")
    chosen = page.evaluate("location.hash.match(/trace=([0-9a-f]+)/)[1]")
    assert {key[0]: one["action"] for key, one in server.decided.read().items()} == {chosen: "reject"}
    page.keyboard.press("u")
    until(page, "!document.querySelector('.decide [aria-pressed=true]')")
    assert server.decided.read() == {}


def test_disputes_come_first_and_facets_count(server: ViewerServer, open_page: OpenPage) -> None:
    page = open_page(server.address + "#order=disputes")
    until(page, READY)
    until(page, READING)
    lines = page.evaluate("[...document.querySelectorAll('.line[role=option]')].map((n) => n.textContent)")
    assert all("differs" in text for text in lines[:4])
    facet = server.traces.index()["facets"]["outcome"]
    finished = facet["rows"].count(facet["values"].index("finished"))
    page.evaluate(
        "[...document.querySelectorAll('[data-name=outcome] label')].find((n) => n.textContent.startsWith('finished'))"
        ".querySelector('input').click()"
    )
    until(page, f"{TOTAL}.startsWith('{finished:,} of')")
    assert "outcome=finished" in page.evaluate("location.hash")


def test_a_deep_link_opens_its_trace(server: ViewerServer, open_page: OpenPage) -> None:
    [one] = server.traces.texts([4321])
    page = open_page(f"{server.address}#trace={one['pair_id']}.{one['sample']}&order=run&label={one['label']}")
    until(page, READING)
    until(page, f"document.querySelector('#reading').textContent.includes('{one['pair_id']}')")
    until(page, READY)
    selected = page.evaluate("document.querySelector('.line[aria-selected=true]').textContent")
    assert one["passage"][:40] in selected


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_texts_stay_texts_in_one_page(width: int, open_page: OpenPage, tmp_path: Path) -> None:
    path = write(fabricate(tmp_path, upto="filter", hostile=True))
    assert path.read_text(encoding="utf-8").count("</script>") == 2
    page = open_page(path.as_uri(), width=width)
    until(page, READY)
    for number in range(12):
        page.evaluate(f"document.querySelectorAll('.line[role=option]')[{number}]?.click()")
        until(page, READING)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.evaluate("document.querySelectorAll('img, script:not(body > script), iframe, svg').length") == 0
        assert page.evaluate("document.title").endswith("traces")
        if width < 600:
            page.evaluate("document.querySelector('.back').click()")


def test_disputes_are_reviewed_one_after_another_to_the_command(open_page: OpenPage, tmp_path: Path) -> None:
    run = fabricate(tmp_path, pairs=24, upto="filter", agree=0.7)
    server = make_server(run)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        index = server.traces.index()
        facet = index["facets"]["agreement"]
        disputes = facet["rows"].count(facet["values"].index("differs"))
        assert disputes > 2
        page = open_page(server.address)
        until(page, READING)
        page.fill("#reviewer", "Ada")
        page.evaluate("document.activeElement.blur()")
        reading = "document.querySelector('#reading .meta:last-child').textContent"
        seen = [page.evaluate(reading)]
        for number, key in enumerate("tlx"[n % 3] for n in range(disputes)):
            page.keyboard.press(key)
            until(page, f"document.querySelector('#count').textContent.includes('{number + 1} of {disputes} ')")
            if number + 1 < disputes:
                until(page, f"{reading} !== {json.dumps(seen[-1])}")  # the next dispute, by itself
                seen.append(page.evaluate(reading))
            if number == 0:
                page.click("#finish")  # before the last one: the command and what is left
                until(
                    page, f"document.querySelector('#reading h2').textContent.startsWith('{disputes - 1} disputes are')"
                )
                assert page.evaluate("document.querySelectorAll('#reading .back').length") == 1  # for phones
                assert page.evaluate("document.querySelector('#reading pre').textContent").startswith("distill filter")
                page.keyboard.press("j")
                page.keyboard.press("k")
                until(page, READING + f" && {reading} === {json.dumps(seen[-1])}")
                page.keyboard.press("u")
                until(page, f"document.querySelector('#count').textContent.includes('0 of {disputes} ')")
                until(page, f"{reading} === {json.dumps(seen[0])}")
                page.keyboard.press("t")
                until(page, f"{reading} === {json.dumps(seen[1])}")
        assert len(set(seen)) == disputes
        until(page, "document.querySelector('#reading pre')")
        assert (
            page.evaluate("document.querySelector('#reading pre').textContent") == f"distill filter CONFIG --out {run}"
        )
        decided = server.decided.all()
        assert {one["reviewer"] for one in decided} == {"Ada"} and len(decided) == disputes
        assert {one["action"] for one in decided} == {"relabel", "reject"} and any(
            one.get("unclear") for one in decided
        )
        for one in decided[:2]:  # another reviewer agrees
            server.decided.change({**one, "reviewer": "Bo"})
        page.keyboard.press("s")
        together = "Ada and Bo decided 2 of the same traces, 2 of them alike"
        until(page, f"document.querySelector('#reading').textContent.includes('{together}')")
        page.fill("#reviewer", "Cid")
        page.evaluate("document.activeElement.blur()")
        until(page, f"{reading} === {json.dumps(seen[0])}")  # another reviewer begins at the first dispute
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_search_takes_the_reading_pane_along(server: ViewerServer, open_page: OpenPage) -> None:
    page = open_page(server.address + "#order=run")
    until(page, READING)
    page.fill("#words", "no such words anywhere")
    until(page, "document.querySelector('#reading').textContent === 'No trace matches.'")


def test_one_page_keeps_decisions_for_download(open_page: OpenPage, tmp_path: Path) -> None:
    path = write(fabricate(tmp_path, upto="filter"))
    page = open_page(path.as_uri())
    until(page, READING)
    page.keyboard.press("1")
    until(page, "!document.getElementById('download').hidden")
    [line] = [json.loads(line) for line in page.evaluate("source.file()").splitlines()]
    assert line["action"] == "relabel" and line["label"] == 1 and line["time"].endswith("Z")
    page.reload()
    until(page, f"{READING} && !document.getElementById('download').hidden")


@pytest.fixture(scope="module")
def small_viewer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(fabricate(tmp_path_factory.mktemp("small"), pairs=20, upto="filter")).as_uri()


@pytest.mark.parametrize(
    ("reasoning", "passage", "query", "quoted"),
    [
        ("It says “a heated pool” here.", "There is A heated pool.", "pool", ["A heated pool"]),
        ("It isn't so, it doesn't say.", "isn't so, it", "x", []),
        ("Since dogs are welcome all year, yes.", "Dogs are welcome all year.", "dogs", ["Dogs are welcome all year"]),
        ("The query wants red wine.", "We sell red wine.", "red wine", []),
        ("one of the of the in the", "of the in the", "x", []),
        ("Preis: 'fünf Euro', gut.", "Es kostet fünf Euro.", "Preis", ["fünf Euro"]),
        ("", "text", "x", []),
    ],
)
def test_evidence_is_what_the_reasoning_takes_from_the_passage(
    reasoning: str, passage: str, query: str, quoted: list[str], open_page: OpenPage, small_viewer: str
) -> None:
    page = open_page(small_viewer)
    until(page, READY)
    call = f"evidence({json.dumps(reasoning)}, {json.dumps(passage)}, {json.dumps(query)}).passage"
    assert [passage[start:end] for start, end, _ in page.evaluate(call)] == quoted
