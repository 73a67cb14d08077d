"""Every code block of the docs is run by a test, or says why not; every configuration in them is valid."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.docs_page import ROOT, PageRun, blocks

DOCS = ROOT / "docs"
# Pages whose blocks a test runs in their order: those here, and those that need a folder or a teacher of their own.
RUN_HERE = ("filters.md", "reference/python.md", "teacher.md", "tutorial.md")
RUN_ELSEWHERE = ("architecture.md", "dataset-building.md", "use-your-student.md")
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.name != "cli.md")


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """A part of a configuration."""
    from distill.cli.schema import text

    whole = json.loads(text())
    del whole["required"]
    return jsonschema.Draft202012Validator(whole)


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_every_block_is_run_or_says_why_not(schema: jsonschema.Draft202012Validator, page: str) -> None:
    for block in blocks(DOCS / page):
        place = f"{page}:{block.line}"
        assert block.language, f"{place}: name the block's language, or call it text"
        if block.reason:
            continue
        if block.language == "yaml":
            faults = [error.message for error in schema.iter_errors(yaml.safe_load(block.text))]
            assert not faults, f"{place}: {faults}"
        elif block.language != "text":
            assert page in (*RUN_HERE, *RUN_ELSEWHERE), f"{place}: run it in a test, or write <!-- not run: REASON -->"


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_HERE)
def test_the_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    quick = {'{"train": 60}': '{"train": 20}', "distill run my.yaml": "distill run my.yaml sft.training.max_steps=8"}
    page = PageRun(tmp_path, quick)
    try:
        printed = [text for _, text in page.run(DOCS / name)]
    finally:
        page.close()
    assert printed
