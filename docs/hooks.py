"""What mkdocs calls while it builds the site: links to files outside docs/ (a recipe, a test) lead to copies of them.

The pages link to such files as readers of the repository need it; in the site each is files/PATH.txt.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a copy of each file outside docs/ that a page links to; a missing one stays a broken link, which fails."""
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
    """The page with these links changed."""

    def copied(match: re.Match[str]) -> str:
        path = _outside(match[2], page.file.src_uri)
        if path is None or not (ROOT / path).is_file():
            return match[0]
        target = posixpath.relpath(f"files/{path}.txt", posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{target}{match[3]}"

    return LINK.sub(copied, markdown)


def _outside(target: str, page: str) -> str | None:
    """The path from the project's folder of what a page links to, None where it lies within docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith(("docs/", "..")) else path
