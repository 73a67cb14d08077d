"""Every code block of the docs is run by a test, or says why not; every configuration in them is valid."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.docs_page import ROOT, PageRun, faults

DOCS = ROOT / "docs"
# Pages whose blocks a test runs in their order: those here, and those that need a folder or a teacher of their own.
RUN_HERE = ("filters.md", "reference/python.md", "teacher.md", "tutorial.md")
RUN_ELSEWHERE = ("architecture.md", "dataset-building.md", "use-your-student.md")
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.name != "cli.md")


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """A part of a configuration."""
    from distill.cli.schema import text

    whole = json.loads(text())
    del whole["required"]
    return Draft202012Validator(whole)


@pytest.mark.parametrize("page", [*PAGES, "../README.md", "../CONTRIBUTING.md", "../SKILL.md"])
def test_every_block_is_run_or_says_why_not(schema: Draft202012Validator, page: str) -> None:
    assert faults(DOCS / page, page in (*RUN_HERE, *RUN_ELSEWHERE), schema) == []


def test_a_page_that_a_test_elsewhere_runs_is_named_there() -> None:
    runners = [
        ROOT / "tests" / name for name in ("architecture_page.py", "publish/test_docs.py", "rerank/test_serve_guide.py")
    ]
    read = "".join(path.read_text(encoding="utf-8") for path in runners)
    assert [page for page in RUN_ELSEWHERE if f'"docs" / "{page}"' not in read] == []


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ("```bash\ndistill run my.yaml\n```", "run it in a test"),
        ("```python\nimport distill\n```", "run it in a test"),
        ("```\nwhat?\n```", "name the block's language"),
        ("```yaml\nteacher: {budget: 3}\n```", "'budget' was unexpected"),
        ("    distill run my.yaml", "write it between"),
        ('It needs `pip install "rerank-distill[gguf]"`.', "no index has the package"),
    ],
)
def test_a_broken_block_is_found(schema: Draft202012Validator, tmp_path: Path, block: str, fault: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\nText.\n\n{block}\n\nText.\n")
    (found,) = faults(page, False, schema)
    assert fault in found
    page.write_text(page.read_text().replace("```bash", "<!-- not run: takes an hour -->\n```bash"))
    assert (faults(page, False, schema) == []) == ("bash" in block)


def test_every_page_that_llms_txt_names_is_there() -> None:
    named = re.findall(r"\]\(([^)]+)\)", (DOCS / "llms.txt").read_text(encoding="utf-8"))
    assert len(named) > 12 and [name for name in named if not (DOCS / name).is_file()] == []


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
