"""The HTML of what shows itself in a notebook: strings in, one string out, with all that is not ours escaped.

No script and no address of another machine is in it, so that a notebook shows the same when it is opened again,
elsewhere or without a network.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlab.wording import several

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_SHOWN_ROWS = 60
MAX_SHOWN_TOKENS = 2000
TINTS = ("#dbeafe", "#fee2c5", "#d8f3e3", "#f3dcea")
"""Behind one token after the other, so that it is seen where each ends."""


def table_html(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table under its title; of a long one the first rows, and how many there are.

    Args:
        heads: name and unit of each column.
        rows: a text for each column.
        title: above it.
    """
    shown = rows[:MAX_SHOWN_ROWS]
    columns = [f"{html.escape(name)}<br><small>{html.escape(unit)}</small>" for name, unit in heads]
    body = "".join(tagged("td", map(html.escape, row)) for row in shown)
    left = (
        f"<p><small>the first {len(shown)} of {several(len(rows), 'row')}</small></p>" if len(rows) > len(shown) else ""
    )
    caption = f"<caption>{html.escape(title)}</caption>"
    return f"<table>{caption}<thead>{tagged('th', columns)}</thead><tbody>{body}</tbody></table>{left}"


def tagged(tag: str, cells: Iterable[str]) -> str:
    """One row in HTML."""
    return f"<tr>{''.join(f'<{tag}>{text}</{tag}>' for text in cells)}</tr>"


def picture_html(png: bytes, width: int, alternative: str) -> str:
    """A picture that is part of the page; `width` in pixels of CSS, `alternative` for who cannot see it."""
    data = base64.b64encode(png).decode()
    size = f'style="max-width:100%;width:{width}px"'
    return f'<img src="data:image/png;base64,{data}" {size} alt="{html.escape(alternative)}">'


def bar_html(share: float, words: str) -> str:
    """How far something is, from 0 to 1, and below it the same in words."""
    bar = f'<div style="width:{100 * min(max(share, 0.0), 1.0):.1f}%;height:100%;background:#0072B2"></div>'
    frame = "max-width:42em;height:8px;background:#8884;border-radius:4px;overflow:hidden"
    return f'<div style="{frame}">{bar}</div><div>{html.escape(words)}</div>'


def tokens_html(tokens: Sequence[str], ids: Sequence[int], about: str = "") -> str:
    """A text, each token with a colour behind it and its id under the mouse; a line ends where the text's does.

    What is to be known `about` the text stands below it, by default how many tokens it has.
    """
    style = "color:#1a1a1a;padding:1px 0;white-space:pre-wrap"
    shown = tokens[:MAX_SHOWN_TOKENS]
    spans = [
        f'<span style="{style};background:{TINTS[i % len(TINTS)]}" title="id {token_id}">{html.escape(token)}</span>'
        + ("<br>" if token.endswith("↵") else "")
        for i, (token, token_id) in enumerate(zip(shown, ids, strict=False))
    ]
    beyond = f" of which the first {len(shown)} are shown" if len(tokens) > len(shown) else ""
    below = html.escape(about or several(len(tokens), "token") + beyond)
    text = f'<div style="font-family:monospace;line-height:1.7">{"".join(spans)}</div>'
    return f"{text}<div><small>{below}</small></div>"


def frame_of(rows: Iterable[Any], columns: Sequence[str] | None, about: Mapping[str, Any]) -> DataFrame:
    """A row for each of these, with every digit; what else there is to know of them is in `attrs`."""
    import pandas

    frame = pandas.DataFrame.from_records(list(rows), columns=None if columns is None else list(columns))
    frame.attrs.update(about)
    return frame
