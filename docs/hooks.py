"""What mkdocs calls while it builds the site: the notebook becomes a page, links to files outside docs/ lead to copies.

The pages link to such files (a recipe, a test) as readers of the repository need it; in the site each is
files/PATH.txt. The notebook is made Markdown here, so that its links are checked and searched like all others.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK, PAGE = "notebook.ipynb", "notebook.md"
LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebook's page, and a copy of each file outside docs/ that a page links to; a missing one stays a broken
    link, which fails."""
    notebook = json.loads((ROOT / "docs" / NOTEBOOK).read_text(encoding="utf-8"))
    files.append(File.generated(config, PAGE, content=_markdown(notebook["cells"])))
    linked = {
        path
        for page in files.documentation_pages()
        for _, target, _ in LINK.findall(page.content_string)
        if (path := _outside(target, page.src_uri)) and (ROOT / path).is_file()
    }
    for path in sorted(linked):
        files.append(File.generated(config, f"files/{path}.txt", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with these links changed; in the search what was measured comes after what is done."""
    if page.file.src_uri.startswith(("benchmarks/", "diary")):
        page.meta["search"] = {"boost": 0.3}

    def copied(match: re.Match[str]) -> str:
        path = _outside(match[2], page.file.src_uri)
        if path is None or not (ROOT / path).is_file():
            return match[0]
        target = posixpath.relpath(f"files/{path}.txt", posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{target}{match[3]}"

    if page.file.src_uri != PAGE:
        markdown = markdown.replace(f"{NOTEBOOK})", f"{PAGE})")
    return LINK.sub(copied, markdown)


def _markdown(cells: list[dict[str, Any]]) -> str:
    """A notebook's cells with their outputs as a page."""
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        written = re.match(r"%%writefile (\S+\.(yaml))\n", source)
        code = f"# {written[1]}\n{source[written.end() :]}" if written else source
        parts.append(f"```{written[2] if written else 'python'}\n{code}\n```")
        parts += [_shown(output) for output in cell["outputs"]]
    return "\n\n".join(parts) + f"\n\n[The notebook itself]({NOTEBOOK})\n"


def _shown(output: dict[str, Any]) -> str:
    """What a cell printed, or its value; a data frame as a table."""
    data = output.get("data", {})
    table = re.search(r"<table.*</table>", "".join(data.get("text/html", [])), re.S)
    if table:
        return re.sub(r"<table[^>]*>", "<table>", table[0])
    text = "".join(output.get("text") or data["text/plain"]).rstrip()
    return f"```text\n{text}\n```"


def _outside(target: str, page: str) -> str | None:
    """The path from the project's folder of what a page links to, None where it lies within docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith(("docs/", "..")) else path
