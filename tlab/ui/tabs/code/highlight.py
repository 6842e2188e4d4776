"""Python code as coloured HTML, by Python's own tokenizer: exact, offline, and nothing to install."""

from __future__ import annotations

import builtins
import html
import io
import itertools
import keyword
import token
import tokenize
from collections.abc import Iterator

NAMERS = ("def", "class")  # the word after them is what the page is about
BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))
# From Python 3.12 on an f-string is several tokens, of which those in braces are code like any other.
STRINGS = {token.STRING, *(getattr(token, name, -1) for name in ("FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"))}
STATEMENT_ENDS = {token.NEWLINE, token.INDENT, token.DEDENT}


def highlight(code: str) -> str:
    """`code` escaped, with a `<span class="tl-c-...">` around what is coloured; what is no Python has no colours."""
    try:
        marks = list(coloured(code))
    except (tokenize.TokenError, SyntaxError):
        return html.escape(code)
    parts, at = [], 0
    for start, end, colour in marks:
        parts += [html.escape(code[at:start]), f'<span class="tl-c-{colour}">{html.escape(code[start:end])}</span>']
        at = end
    return "".join(parts) + html.escape(code[at:])


def coloured(code: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, colour) of every token that has one, as offsets into `code`, in order."""
    line_starts = [0, *itertools.accumulate(len(line) for line in io.StringIO(code))]
    before, reached = "", 0
    for found in tokenize.generate_tokens(io.StringIO(code).readline):
        start = max(reached, line_starts[found.start[0] - 1] + found.start[1])
        reached = line_starts[found.end[0] - 1] + found.end[1]
        colour = token_colour(found, before)
        if colour and start < reached:
            yield start, reached, colour
        if found.type in STATEMENT_ENDS:
            before = ""
        elif found.type not in (token.NL, token.COMMENT):
            before = found.string


def token_colour(found: tokenize.TokenInfo, before: str) -> str | None:
    """The name of a token's colour, by what it is and by the token before it: "" where a statement begins."""
    if found.type == token.COMMENT:
        return "comment"
    if found.type in STRINGS:
        return "string" if before else "comment"  # a docstring is there to be read, not to be run
    if found.type == token.NUMBER:
        return "number"
    if found.type == token.OP and found.string == "@" and not before:
        return "decorator"
    if found.type != token.NAME:
        return None
    if before in NAMERS:
        return "name"
    if keyword.iskeyword(found.string):
        return "keyword"
    if before == "@":
        return "decorator"
    return "builtin" if found.string in BUILTINS and before != "." else None
