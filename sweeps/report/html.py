"""The few pieces of HTML that a report is made of. What is given as text is escaped here; `Html` is not, as it was."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from sweeps.results.stats import Estimate

LARGEST_SVG = 300_000  # bytes; a figure of more strokes than that is smaller as a picture
PICTURE_DOTS = 110  # an inch
BROAD = 7.0  # inches; a wider figure is scrolled sideways on a phone, where it could not be read else


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def markup(content: object) -> str:
    """`content` as it may stand in a page."""
    return content if isinstance(content, Html) else html.escape(str(content))


def tag(element: str, *content: object, **attributes: str) -> Html:
    """An element. A trailing underscore of an attribute's name, as in class_, is dropped."""
    told = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items() if value)
    return Html(f"<{element}{told}>{''.join(map(markup, content))}</{element}>")


def joined(parts: Iterable[object], between: str = "\n") -> Html:
    """Parts one behind the other."""
    return Html(between.join(map(markup, parts)))


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = (), prose: Sequence[int] = ()
) -> Html:
    """A table that scrolls sideways where it is too wide.

    Args:
        heads: the columns' names.
        rows: of cells.
        numbers: indices of the columns that stand at the right.
        prose: of those whose text may be broken into lines.
    """
    kinds = ["number" if i in numbers else "prose" if i in prose else "" for i in range(len(heads))]
    head = tag("tr", *(tag("th", text, class_=kind, scope="col") for text, kind in zip(heads, kinds, strict=True)))
    body = [tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll", tabindex="0")


def details(summary: str, *content: object) -> Html:
    """What is shown on demand."""
    return tag("details", tag("summary", summary), *content)


def figure(drawn: Figure, caption: str) -> Html:
    """A figure with its caption, its picture in the page itself.

    As an image and not as SVG elements: the ids within two figures would clash.
    """
    width, height = drawn.get_size_inches()
    data, kind = svg_of(drawn).encode(), "image/svg+xml"
    if len(data) > LARGEST_SVG:
        picture = io.BytesIO()
        drawn.savefig(picture, format="png", dpi=PICTURE_DOTS, transparent=True)
        data, kind = picture.getvalue(), "image/png"
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    size = f'width="{width * 96:.0f}" height="{height * 96:.0f}"'
    broad = ' class="broad"' if width > BROAD else ""
    image = Html(f'<img src="{source}" alt="{html.escape(caption)}" {size}{broad}>')
    return tag("figure", tag("div", image, class_="scroll"), tag("figcaption", caption))


def svg_of(drawn: Figure) -> str:
    """The figure on no ground, so that it suits any page."""
    text = io.StringIO()
    drawn.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()


def interval(estimate: Estimate, reach: float, margin: float, kind: str) -> Html:
    """An estimate as a dot in its interval, on a line from -reach to reach with zero in the middle.

    The grey band is the margin within which two are called equal. What is longer than the line is cut off.
    """

    def place(value: float) -> float:
        return 100 * max(-1.0, min(1.0, value / reach))

    words = interval_words(estimate)
    if estimate.n == 0:
        return Html("")
    low, high = place(estimate.low), place(estimate.high)
    bar = f'<line class="bar" x1="{low:.1f}" x2="{high:.1f}" y1="0" y2="0"/>' if estimate.n > 1 else ""
    edge = abs(place(margin))
    return Html(
        f'<svg class="interval {kind}" viewBox="-102 -9 204 18" role="img" aria-label="{html.escape(words)}">'
        f'<rect class="margin" x="{-edge:.1f}" width="{2 * edge:.1f}" y="-8" height="16"/>'
        f'<line class="zero" x1="0" x2="0" y1="-9" y2="9"/>{bar}'
        f'<circle class="dot" cx="{place(estimate.mean):.1f}" cy="0" r="4"/></svg>'
    )


def interval_words(estimate: Estimate, signed: bool = True) -> str:
    """The numbers: "+0.042 (+0.010 to +0.074)"."""
    sign = "+" if signed else ""
    if estimate.n == 0:
        return "no numbers"
    mean = f"{estimate.mean:{sign}.3f}".replace("-", "\N{MINUS SIGN}")
    if not math.isfinite(estimate.low):
        return f"{mean} (one seed: no interval)"
    ends = f"({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})".replace("-", "\N{MINUS SIGN}")
    return f"{mean} {ends}"
