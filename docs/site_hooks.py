"""What the site needs beyond Markdown: formulas without a script, files of the repository as pages, links that fit."""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).parents[1]
INCLUDE = re.compile(r"^<!-- the file (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")
FORMULA = re.compile(r"\$<code>(.*?)</code>\$")
PAGES = {"CONTRIBUTING.md": "build-on-it.md", "data/README.md": "corpora.md", "CHANGELOG.md": "changes.md",
         "README.md": "index.md", "examples/": "notebooks.md"}  # fmt: skip
"""File of the repository -> the page of the site that shows it."""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with the file that it includes, and with links that lead somewhere on the site."""
    source = page.file.src_uri
    included = INCLUDE.search(markdown)
    if included is None:
        return relinked(markdown, f"docs/{source}", source)
    path = included[1]
    text = relinked((ROOT / path).read_text(encoding="utf-8"), path, source)
    return markdown.replace(included[0], text)


def relinked(text: str, path: str, page: str) -> str:
    """The text of a file of the repository, at `path`, with links as seen from a page of the site.

    What is not on the site, such as a source file, is named in place of the link.
    """

    def target(found: re.Match[str]) -> str:
        words, link, anchor = found[1], found[2], found[3] or ""
        if "://" in link or link.startswith("mailto:"):
            return found[0]
        at = posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) + ("/" if link.endswith("/") else "")
        on_site = PAGES.get(at) or (at.removeprefix("docs/") if at.startswith("docs/") else None)
        if on_site is not None:
            return f"[{words}]({posixpath.relpath(on_site, posixpath.dirname(page) or '.')}{anchor})"
        return f"`{at}`" if words.strip("`") == at else f"{words} (`{at}`)"

    return LINK.sub(target, text)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas between $` and `$ as MathML, which browsers draw themselves."""
    return FORMULA.sub(lambda found: convert(html.unescape(found[1])), content)
