"""Pages and pieces of pages from Jinja2 templates, which stand beside what they show.

Whatever comes from a visitor or a model is escaped by the templates, or set as text by the scripts: gr.HTML executes
what it is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pygments
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.python import PythonLexer

from tlab.wording import percent, several, short_number, written

UI = Path(__file__).parents[1]  # templates, scripts and styles stand beside what they belong to


def template_environment(folder: Path) -> Environment:
    """The templates of a folder. A misspelt name in one is an error, not a gap in the page."""
    loader = FileSystemLoader(folder)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


TEMPLATES = template_environment(UI)
TEMPLATES.filters |= {"percent": percent, "several": several, "short_number": short_number, "written": written}


def macros(name: str) -> Any:
    """The macros of a template inside of `tlab/ui`, to be called like functions that return HTML."""
    return TEMPLATES.get_template(name).module


LEXER = PythonLexer(stripnl=False, ensurenl=False)
FORMATTER = HtmlFormatter(nowrap=True, classprefix="tl-c-")


def highlight(code: str) -> Markup:
    """`code` escaped, with the colours of the Code tab. The formatter ends every line, the last one too."""
    coloured = pygments.highlight(code, LEXER, FORMATTER)
    return Markup(coloured if code.endswith("\n") else coloured.removesuffix("\n"))
