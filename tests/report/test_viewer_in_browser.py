"""The viewer in a real browser: 50,000 traces by paging, keys, links, decisions, evidence, hostile texts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fabricate import fabricate

from distill.report.server import ViewerServer, make_server
from distill.report.viewer import write

READY = "document.querySelectorAll('.line').length > 2 && !document.querySelector('#space').textContent.includes('…')"
TOTAL = "document.getElementById('total').textContent"
READING = "document.querySelector('#reading h2')"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewerServer]:
    server = make_server(fabricate(tmp_path_factory.mktemp("big"), pairs=56_000, upto="filter"))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    browser.console.clear()
    yield browser
    assert browser.console == []


def write_in(page: Any, words: str) -> None:
    page.script(f"document.getElementById('words').value = {json.dumps(words)}")
    page.script("document.getElementById('words').dispatchEvent(new Event('input'))")


def test_fifty_thousand_traces_are_paged_searched_and_decided(server: ViewerServer, page: Any) -> None:
    size = len(server.traces)
    assert size > 50_000
    page.open(server.address)
    page.until(READY)
    assert page.script(TOTAL).startswith(f"{size:,} of {size:,} traces")
    page.script("document.getElementById('list').scrollTop = document.getElementById('space').clientHeight / 2")
    page.until(READY)
    assert page.script("document.querySelectorAll('.line').length") < 60  # only what is in view is drawn
    assert page.script("cache.size") < 500  # and only that was asked for
    write_in(page, "norheim sauna")
    page.until(f"!{TOTAL}.startsWith('{size:,}')")
    found = server.traces.search("norheim sauna")
    assert page.script(TOTAL).startswith(f"{len(found):,} of {size:,} traces")
    page.script("document.activeElement.blur()")
    for key in ("j", "j", "K", "J", "j", "r"):
        page.key(key)
    page.until("document.querySelector('.decide [aria-pressed=true]')")
    chosen = page.script("location.hash.match(/trace=([0-9a-f]+)/)[1]")
    assert {key[0]: one["action"] for key, one in server.decided.read().items()} == {chosen: "reject"}
    page.key("u")
    page.until("!document.querySelector('.decide [aria-pressed=true]')")
    assert server.decided.read() == {}


def test_disputes_come_first_and_facets_count(server: ViewerServer, page: Any) -> None:
    page.open(server.address + "#order=disputes")
    page.until(READY)
    page.until(READING)
    lines = page.script("[...document.querySelectorAll('.line[role=option]')].map((n) => n.textContent)")
    assert all("differs" in text for text in lines[:4])
    facet = server.traces.index()["facets"]["outcome"]
    finished = facet["rows"].count(facet["values"].index("finished"))
    page.script(
        "[...document.querySelectorAll('[data-name=outcome] label')].find((n) => n.textContent.startsWith('finished'))"
        ".querySelector('input').click()"
    )
    page.until(f"{TOTAL}.startsWith('{finished:,} of')")
    assert "outcome=finished" in page.script("location.hash")


def test_a_deep_link_opens_its_trace(server: ViewerServer, page: Any) -> None:
    [one] = server.traces.texts([4321])
    page.open(f"{server.address}#trace={one['pair_id']}.{one['sample']}&order=run&label={one['label']}")
    page.until(READING)
    page.until(f"document.querySelector('#reading').textContent.includes('{one['pair_id']}')")
    page.until(READY)
    selected = page.script("document.querySelector('.line[aria-selected=true]').textContent")
    assert one["passage"][:40] in selected


@pytest.mark.parametrize("width", [390, 1280])
def test_hostile_texts_stay_texts_in_one_page(width: int, page: Any, tmp_path: Path) -> None:
    path = write(fabricate(tmp_path, upto="filter", hostile=True))
    assert path.read_text(encoding="utf-8").count("</script>") == 2
    page.open(path.as_uri(), width=width)
    page.until(READY)
    for number in range(12):
        page.script(f"document.querySelectorAll('.line[role=option]')[{number}]?.click()")
        page.until(READING)
        assert page.script("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.script("document.querySelectorAll('img, script:not(body > script), iframe, svg').length") == 0
        assert page.script("document.title").endswith("traces")
        if width < 600:
            page.script("document.querySelector('.back').click()")


def test_one_page_keeps_decisions_for_download(page: Any, tmp_path: Path) -> None:
    path = write(fabricate(tmp_path, upto="filter"))
    page.open(path.as_uri())
    page.until(READING)
    page.key("1")
    page.until("!document.getElementById('download').hidden")
    [line] = [json.loads(line) for line in page.script("source.file()").splitlines()]
    assert line["action"] == "relabel" and line["label"] == 1 and line["time"].endswith("Z")
    page.script("location.reload()")
    page.until(f"{READING} && !document.getElementById('download').hidden")


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
    reasoning: str, passage: str, query: str, quoted: list[str], browser: Any, tmp_path: Path
) -> None:
    if not browser.script("typeof evidence === 'function'"):
        browser.open(write(fabricate(tmp_path, pairs=20, upto="filter")).as_uri())
        browser.until(READY)
    call = f"evidence({json.dumps(reasoning)}, {json.dumps(passage)}, {json.dumps(query)}).passage"
    assert [passage[start:end] for start, end, _ in browser.script(call)] == quoted
