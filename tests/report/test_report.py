"""What report.html says of a run, and what it must never do."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from fabricate import FOLDERS, HOSTILE, STAGES, fabricate

from distill import store
from distill.errors import InputError
from distill.records import Judgement, Trace
from distill.report.build import build


class Page(HTMLParser):
    """A page taken apart: its elements, attributes, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._in = ""
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text.replace("\u00a0", " "))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._in = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts.append(data)
        elif self._in == "style":
            self.styles.append(data)
        else:
            self.text += f" {data}"

    def values(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


def page_of(run: Path) -> Page:
    return Page(build(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("run"), queries=40)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("hostile"), queries=15, hostile=True)


def change(run: Path, folder: str, **values: object) -> None:
    """Change a stage's counts, as a fault in its room would."""
    manifest = store.read_manifest(run / folder)
    assert manifest is not None
    manifest["result"] |= values
    store.write_json(run / folder / store.MANIFEST, manifest)


def test_whole_run_shows_result_counts_and_evidence(run: Path) -> None:
    page = page_of(run)
    values = store.read_json(run / "metrics.json")["evaluation"]["test"]
    first, think = values["first_stage"]["nDCG@10"], values["think"]["nDCG@10"]
    assert f"Thinking first lifts nDCG@10 on test from {first:.3f} to {think:.3f}." in page.text
    kept = store.read_manifest(run / "kept")["result"]["kept"]
    assert f"{kept} of {216} reasoning traces were kept" in page.text
    assert "evaluation/test.think.trec" in page.values("href")
    assert "partial" not in page.text and "add up?" in page.text and "≠" not in page.text


def test_every_link_leads_to_a_file_of_the_run_or_a_place_in_the_page(run: Path) -> None:
    page = page_of(run)
    anchors = set(page.values("id"))
    for href in page.values("href"):
        if href.startswith("#"):
            assert href[1:] in anchors
        else:
            assert not urlparse(href).scheme and (run / unquote(href)).exists(), href


@pytest.mark.parametrize("which", ["run", "hostile"])
def test_nothing_is_loaded_and_only_our_script_and_style_are_allowed(
    which: str, request: pytest.FixtureRequest
) -> None:
    page = page_of(request.getfixturevalue(which))
    assert not {name for _, name, _ in page.attributes} & {"src", "srcset", "style", "action", "poster", "xlink:href"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not {"link", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)
    assert len(page.scripts) == len(page.styles) == 1
    assert not re.search(r"@import|url\(", page.styles[0])
    policy = next(value for value in page.values("content") if "default-src" in value)
    for kind, text in (("script-src", page.scripts[0]), ("style-src", page.styles[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_hostile_texts_stay_texts(run: Path, hostile: Path) -> None:
    ours, page = page_of(run), page_of(hostile)
    assert set(page.tags) <= set(ours.tags) | {"aside"}
    assert {name for _, name, _ in page.attributes} <= {name for _, name, _ in ours.attributes}
    for text in (
        HOSTILE[0],
        "{{7*7}} {% raw %} ${7*7} <%= 7*7 %>",
        HOSTILE[2],
        HOSTILE[5],
        "&lt;b&gt; &#x3c;script&#x3e;",
    ):
        assert text in page.text
    assert "\x00" not in page.text and "\x1b" not in page.text
    assert "more characters)" in page.text  # the giant passage is cut, and the page says so
    assert (hostile / "report.html").stat().st_size < 3_000_000


@pytest.mark.parametrize("upto", ["", *STAGES[:-1]])
def test_unfinished_runs_get_a_partial_report(upto: str, tmp_path: Path) -> None:
    page = page_of(fabricate(tmp_path, upto=upto))
    done = STAGES.index(upto) + 1 if upto else 0
    assert f"No result yet: {done} of 6 stages are done." in page.text
    assert "This report is partial" in page.text
    assert ("training" in page.values("id")) == (upto == "sft")
    assert ("funnel" in page.values("id")) == bool(upto)
    assert "systems" not in page.values("id")


def test_an_empty_folder_gets_a_report_and_a_missing_one_an_error(tmp_path: Path) -> None:
    assert "0 of 6 stages" in page_of(tmp_path).text
    with pytest.raises(InputError, match="no such run folder"):
        build(tmp_path / "nowhere")


def test_torn_files_are_passed_over(tmp_path: Path) -> None:
    run = fabricate(tmp_path)
    for torn in (run / "kept" / "part-00000.parquet", run / "evaluation" / "test.think" / "part-00000.parquet"):
        torn.write_bytes(torn.read_bytes()[:100])
    (run / "evaluation" / "test.json").write_text('{"queries": {"t0"')
    page = page_of(run)
    assert "systems" in page.values("id") and "queries" not in page.values("id")


@pytest.mark.parametrize(
    ("folder", "values", "said"),
    [
        ("kept", {"kept": 3}, "216 samples due ≠ 3 kept"),
        ("kept", {"failed": 50}, "50 failed"),
        ("traces", {"answered": 1}, "216 samples due ≠ 1 answered"),
        (
            "kept",
            {"by_filter": {"parses": {"rejected": 2, "reasons": {"odd": 3}}}},
            "2 rejected by parses, and 3 reasons",
        ),
        ("pairs", {"by_split": {"train": 7}}, "240 pairs ≠ 7 in train"),
    ],
)
def test_counts_that_do_not_add_up_are_said(folder: str, values: dict, said: str, tmp_path: Path) -> None:
    run = fabricate(tmp_path)
    assert "The counts do not add up" not in page_of(run).text
    change(run, folder, **values)
    page = page_of(run)
    assert "The counts do not add up" in page.text and said in page.text


def test_rows_missing_on_disk_are_said(tmp_path: Path) -> None:
    run = fabricate(tmp_path)
    store.write_rows(run / "kept", [], Trace)
    store.write_manifest(run / "kept", "filter", {}, {}, {"kept": 9, "rejected": 0})
    assert "kept/ holds 0 rows, 9 were counted" in page_of(run).text


def test_few_kept_traces_are_a_warning_that_names_the_cause(tmp_path: Path) -> None:
    few = page_of(fabricate(tmp_path / "few", agree=0.2)).text
    many = page_of(fabricate(tmp_path / "many", agree=0.9)).text
    assert "Few traces were kept" in few and "seldom agree with the labels" in few
    assert "Few traces were kept" not in many


def test_a_stage_made_from_other_inputs_is_called_outdated(tmp_path: Path) -> None:
    run = fabricate(tmp_path)
    change(run, "kept", data_hash="another")
    text = page_of(run).text
    assert "Some numbers are of an earlier state" in text and "Dataset: made from inputs" in text


@pytest.mark.parametrize(
    ("gain", "said"), [(-0.5, "No student beats the first stage on test"), (0.0, "No clear gain on test")]
)
def test_headline_is_honest(gain: float, said: str, tmp_path: Path) -> None:
    assert said in page_of(fabricate(tmp_path, queries=60, gain=gain)).text


def test_the_example_is_called_a_miniature(tmp_path: Path) -> None:
    assert "This is a miniature" in page_of(fabricate(tmp_path / "a", upto="pairs", source="example")).text
    assert "This is a miniature" not in page_of(fabricate(tmp_path / "b", upto="pairs")).text


@pytest.mark.parametrize(
    ("measure", "said", "other"),
    [
        ("unfinished", "Think was cut off in 30 % of its answers", "ended its text"),
        ("no_end", "Think ended its text before </think> in 30 % of its answers", "was cut off"),
    ],
)
@pytest.mark.parametrize(("share", "warned"), [(0.3, True), (0.01, False)])
def test_forced_answers_are_a_warning_that_fits_how_they_ended(
    measure: str, said: str, other: str, share: float, warned: bool, tmp_path: Path
) -> None:
    run = fabricate(tmp_path)
    metrics = store.read_json(run / "metrics.json")
    metrics["evaluation"]["test"]["think"][measure] = share
    store.write_json(run / "metrics.json", metrics)
    text = page_of(run).text
    assert (said in text) == warned and other not in text
    assert ("does not help" in text) == (warned and measure == "no_end")


def test_the_query_view_says_how_each_forced_answer_ended(tmp_path: Path) -> None:
    run = fabricate(tmp_path)
    folder = run / "evaluation" / "test.think"
    ways = ("stop", "length", "no_end", "budget")
    rows = list(store.read_rows(folder, Judgement))
    store.write_rows(folder, [replace(row, finish_reason=ways[at % 4]) for at, row in enumerate(rows)], Judgement)
    text = page_of(run).text
    for words in ("reasoning cut off at its budget", "ended without </think>"):
        assert words in text
    assert text.count("reasoning cut off") > text.count("reasoning cut off at its budget")


def test_shares_of_answers_link_to_the_answers(tmp_path: Path) -> None:
    run = fabricate(tmp_path)
    metrics = store.read_json(run / "metrics.json")
    metrics["evaluation"]["test"]["think"] = {"nDCG@10": 0.5, "no_end": 0.123, "unfinished": 0.0, "unparsable": 0.0}
    store.write_json(run / "metrics.json", metrics)
    html = build(run).read_text(encoding="utf-8")
    assert re.search(r'<a href="evaluation/test.think/[^"]+[.]parquet">\s*0[.]123', html)


def test_unknown_systems_and_measures_are_shown(tmp_path: Path) -> None:
    run = fabricate(tmp_path)
    metrics = store.read_json(run / "metrics.json")
    metrics["evaluation"]["test"]["mixed.think"] = {"nDCG@10": 0.5, "p-MRR": 0.123, "broken": float("nan")}
    metrics["evaluation"]["beir/../x"] = {"odd": {"ECE": 0.25}}
    store.write_json(run / "metrics.json", metrics)
    page = page_of(run)
    assert "Mixed · think" in page.text and "p-MRR" in page.text and "0.123" in page.text and "0.250" in page.text


def test_only_some_queries_are_embedded_and_the_page_says_which(tmp_path: Path) -> None:
    run = fabricate(tmp_path, queries=90)
    page = page_of(run)
    assert [value for _, name, value in page.attributes if name == "class"].count("query") == 60
    assert "Shown are 60 of 90 queries: the 20 largest gains, the 20 largest losses" in page.text


def test_restarted_training_is_drawn_once(tmp_path: Path) -> None:
    from distill.report.files import RunFiles
    from distill.report.training import curves

    run = fabricate(tmp_path, upto="sft")
    once = curves(RunFiles(run))
    log = (run / "log.jsonl").read_text()
    (run / "log.jsonl").write_text(log + "\n" + log)
    assert curves(RunFiles(run)) == once and len(once["loss"]["think"]) == 80


def test_folders_and_stages_are_those_of_the_pipeline() -> None:
    from distill.pipeline.stages import STAGES as PIPELINE
    from distill.stages import STAGES as LINE

    assert {stage.name: stage.folder for stage in LINE} == {stage.name: stage.folder for stage in PIPELINE} == FOLDERS
