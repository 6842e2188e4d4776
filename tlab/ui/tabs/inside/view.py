"""The tables of the Inside tab. Tokens and texts may be in any cell, so every cell is escaped here."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Sequence
from typing import Any

from tlab.checks import CheckResult
from tlab.inside import PROBES, Probe
from tlab.inside.probing import SHARE, Rows
from tlab.inside.tables import as_csv, cell
from tlab.profile import STEP, PartProfile, Profile
from tlab.ui.inspection.tasks import InterventionEffect, OverTime
from tlab.ui.tabs.inside.options import probe_words
from tlab.ui.widgets.component import note_html, words_html
from tlab.ui.widgets.line_chart import COLOURS, DASHES, line, lines_value

BOUNDS = ("low", "high")  # of an interval, beside the number itself, which has the bar
CUT = 3.0  # times what nine of ten values reach: a bar beyond it would leave nothing of the others
ENOUGH = 10  # values, to tell which are far beyond the others
MAX_DRAWN_LINES = 12  # more cannot be told apart
SHOWN_AS = {"chance": "probability", "behind": "after"}  # of columns whose names stay for programs

# What stands in equations, as plain text; a table of hundreds of set formulas would be slow and hard to read aloud.
PLAIN = [
    (r"\\(?:text|mathrm|mathcal|operatorname)\{([^{}]*)\}", r"\1"), (r"\\partial", "∂"), (r"\\top", "ᵀ"),
    (r"\\sqrt\{?([A-Z])\}?", r"√\1"), (r"\\phi", "φ"), (r"\\(?:,|;|quad|!| )", " "), (r"\\[a-z]+", ""), (r"[{}]", ""),
    (r"\^ᵀ", "ᵀ"), (r"\s+", " "),
]  # fmt: skip


def without_latex(text: str) -> str:
    """LaTeX as people would type it; any other text as it is."""
    if "\\" not in text:
        return text
    for pattern, instead in PLAIN:
        text = re.sub(pattern, instead, text)
    return text.strip()


# ------------------------------------------------------------------------------------------------ a probe


def about_html(kind: type[Probe], source: str) -> str:
    """What a probe measures, and how that is defined."""
    first, rest = probe_words(kind)
    body = "".join(f"<p>{html.escape(part)}</p>" for part in rest)
    source = f'<p class="tl-note">Source: {html.escape(source)}</p>' if source else ""
    return f'<div class="tl-in-about">{words_html(first)}{body}{source}</div>'


def probe_table(key: str, rows: Rows) -> str:
    """The table of a probe, with bars behind what can be compared, and itself as a file."""
    kind = PROBES[key]
    scales = bar_scales(rows, kind.units)
    link = base64.b64encode(as_csv(rows).encode("utf-8", "backslashreplace")).decode()
    label = html.escape(PROBES.entries[key].label)
    count = f"{len(rows)} row{'s' if len(rows) > 1 else ''}"
    return (
        f'<div class="tl-card tl-in-card"><div class="tl-title"><b>{label}</b>'
        f"<span>{count}{key_words(rows, scales)}</span>"
        f'<a class="tl-in-file" download="{html.escape(key)}.csv" href="data:text/csv;base64,{link}">CSV</a></div>'
        f"{table(rows, kind.units, scales, label)}</div>"
    )


def shown_name(column: str) -> str:
    return SHOWN_AS.get(column, column).replace("_", " ")


def key_words(rows: Rows, scales: dict[str, tuple[float, bool]]) -> str:
    """What the colours of the bars mean, where there are two, and where bars are cut."""
    both = any(signed for _, signed in scales.values())
    words = '; <i class="tl-in-plus"></i> above zero, <i class="tl-in-minus"></i> below' if both else ""
    cut = [
        f"{shown_name(name)} at {cell(largest)}"
        for name, (largest, _) in scales.items()
        if any(abs(getattr(row, name)) > 1.001 * largest for row in rows)
    ]
    return f"{words}; striped bars are cut: {html.escape(', '.join(cut))}" if cut else words


def is_number(value: Any) -> bool:
    """An int or a float, and no yes or no."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def bar_scales(rows: Rows, units: dict[str, str]) -> dict[str, tuple[float, bool]]:
    """Column -> (the size of a full bar, whether some values are below zero), of the columns that have bars.

    These are fractional numbers with a unit; where no such column has one, all fractional numbers. A share's full bar
    is the whole, of other columns the largest value; but what is far beyond all others is cut.
    """
    numeric = [name for name in rows[0]._fields if all(isinstance(getattr(row, name), float) for row in rows)]
    numeric = [name for name in numeric if name not in BOUNDS]
    named = [name for name in numeric if name in units]
    scales = {}
    for name in named or numeric:
        values = sorted(value for row in rows if math.isfinite(value := getattr(row, name)))
        sizes = sorted(map(abs, values))
        largest = sizes[-1] if sizes else 0.0
        if len(sizes) >= ENOUGH and (usual := sizes[int(0.9 * (len(sizes) - 1))]) > 0:
            largest = min(largest, CUT * usual)
        if units.get(name) == SHARE:
            largest = max(largest, 1.0)
        if sizes and largest > 0 and len(rows) > 1:
            scales[name] = (largest, values[0] < 0)
    return scales


def table(rows: Rows, units: dict[str, str], scales: dict[str, tuple[float, bool]], label: str) -> str:
    """Rows as an accessible table: numbers to the right, units in the head, names as heads of their rows."""
    names = rows[0]._fields
    numeric = {name for name in names if all(is_number(getattr(row, name)) for row in rows)}
    heads = "".join(
        f'<th scope="col"{css(name in numeric, name in scales)}>{html.escape(shown_name(name))}'
        f"{f'<small>{html.escape(units[name])}</small>' if name in units else ''}</th>"
        for name in names
    )
    body = "".join(f"<tr>{''.join(cells(row, numeric, scales))}</tr>" for row in rows)
    return (
        f'<div class="tl-scroll tl-in-scroll" tabindex="0" role="region" aria-label="Table: {label}">'
        f'<table class="tl-table tl-in-table"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def css(numeric: bool, has_bar: bool) -> str:
    """The class of a head."""
    return ' class="tl-in-number tl-in-barred"' if has_bar else ' class="tl-in-number"' if numeric else ""


def cells(row: Any, numeric: set[str], scales: dict[str, tuple[float, bool]]) -> list[str]:
    """One row's cells."""
    made = []
    for place, name in enumerate(row._fields):
        value = getattr(row, name)
        if name in numeric:
            made.append(f'<td class="tl-in-number">{bar(value, *scales[name]) if name in scales else ""}'
                        f"<span>{html.escape(cell(value))}</span></td>")  # fmt: skip
        elif place == 0:
            made.append(f'<th scope="row">{html.escape(without_latex(cell(value)))}</th>')
        else:
            made.append(f"<td>{html.escape(without_latex(cell(value)))}</td>")
    return made


def bar(value: float, largest: float, signed: bool) -> str:
    """A bar behind a number: from the left, or from the middle to the side of its sign."""
    if not math.isfinite(value):
        return ""
    cut = " tl-in-cut" if abs(value) > 1.001 * largest else ""
    share = min(abs(value) / largest, 1.0)
    width = 50 * share if signed else 100 * share
    left = (50 - width if value < 0 else 50) if signed else 0
    sign = "minus" if value < 0 else "plus" if signed else "share"
    return f'<i class="tl-in-bar tl-in-{sign}{cut}" style="left:{left:.1f}%;width:{width:.1f}%"></i>'


def refused_html(words: str) -> str:
    return f'<div class="tl-card tl-in-card tl-in-refused" role="status"><b>No table.</b> {html.escape(words)}</div>'


def over_time_value(label: str, found: OverTime, unit: str) -> dict[str, Any]:
    """What the chart over steps draws: the rows whose values moved farthest, in the order of the table."""
    moved = {name: max(values) - min(values) for name, values in found.lines.items()}
    shown = sorted(moved, key=lambda name: -moved[name])[: min(MAX_DRAWN_LINES, COLOURS * DASHES)]
    lines = [
        line(name, place, [[step, round(value, 5)] for step, value in zip(found.steps, found.lines[name], strict=True)])
        for place, name in enumerate(name for name in found.lines if name in shown)
    ]
    rest = (
        "" if len(shown) == len(found.lines) else f"; the {len(shown)} of {len(found.lines)} rows that moved farthest"
    )
    unit = f"{found.column.replace('_', ' ')}{f', {unit}' if unit else ''}{rest}"
    return lines_value(f"{label}, over the training", unit, lines, "No step is kept.")


# ------------------------------------------------------------------------------------------------ an intervention


def intervention_html(words: str, done: InterventionEffect) -> str:
    if done.loss is not None:
        mean, low, high = done.loss
        verdict = (
            "The part helps"
            if low > 0
            else "The part does harm"
            if high < 0
            else "No effect can be shown on these windows"
        )
        cost = (
            f"With this change the loss on {done.windows} windows of held-out text moves by <b>{mean:+.3f}</b> "
            f"nats per token (95 % interval {low:+.3f} to {high:+.3f}). {verdict}."
        )
    else:
        share = "" if done.share is None else f" It carries <b>{done.share:.0%}</b> of the difference between the two."
        cost = f"Its output comes from the other text; that says nothing on held-out text.{share}"
    rows = "".join(
        f'<tr><th scope="row">{html.escape(row.token)}</th>'
        f"{probability_cell(row.before, 'before')}{probability_cell(row.after, 'after')}</tr>"
        for row in done.candidates
    )
    return (
        f'<div class="tl-card tl-in-card"><div class="tl-title"><b>{html.escape(words)}</b></div>'
        f'<p class="tl-words">{cost}</p><table class="tl-table tl-in-table" aria-label="The next token">'
        '<thead><tr><th scope="col">next token</th><th scope="col" class="tl-in-number tl-in-barred">before</th>'
        f'<th scope="col" class="tl-in-number tl-in-barred">after</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def probability_cell(value: float, when: str) -> str:
    """A cell with a bar."""
    return (
        f'<td class="tl-in-number"><i class="tl-in-bar tl-in-{when}" style="left:0;width:{100 * value:.1f}%"></i>'
        f"<span>{value:.1%}</span></td>"
    )


# ------------------------------------------------------------------------------------------------ checks


def checks_html(checks: Sequence[CheckResult], bug: str | None) -> str:
    """Which checks passed; those that did not stand first. With a bug in it, those have caught it.

    Args:
        checks: all of them.
        bug: what was planted, in words.
    """
    failed = [check for check in checks if not check.passed]
    if bug and failed:
        verdict = f"Caught: with “{bug}”, {len(failed)} of {len(checks)} checks fail."
    elif bug:
        verdict = f"Not caught: with “{bug}”, all {len(checks)} checks pass."
    else:
        verdict = f"{len(checks) - len(failed)} of {len(checks)} checks pass."
    body = "".join(check_row(check) for check in sorted(checks, key=lambda check: check.passed))
    return (
        f'<div class="tl-card tl-in-card"><p class="tl-words">{html.escape(verdict)}</p>'
        '<div class="tl-scroll tl-in-scroll" tabindex="0" role="region" aria-label="Table: checks">'
        '<table class="tl-table tl-in-table"><thead><tr><th scope="col">check</th><th scope="col">kind</th>'
        '<th scope="col" class="tl-in-number">error</th><th scope="col" class="tl-in-number">limit</th>'
        f'<th scope="col">verdict</th></tr></thead><tbody>{body}</tbody></table></div></div>'
    )


def check_row(check: CheckResult) -> str:
    """One check; the verdict in words, not in colours alone."""
    kind, verdict = ("passed", "✓ passed") if check.passed else ("failed", "✗ failed")
    return (
        f'<tr class="tl-in-{kind}"><th scope="row">{html.escape(check.name)}</th><td>{html.escape(check.group)}</td>'
        f'<td class="tl-in-number">{check.error:.1e}</td><td class="tl-in-number">{check.limit:.0e}</td>'
        f"<td>{verdict}</td></tr>"
    )


# ------------------------------------------------------------------------------------------------ a profile


def profile_html(made: Profile) -> str:
    """Where the time of a step goes, with bars of the part's own time and of its share of the peak."""
    longest = max(row.own_seconds for row in made.rows)
    body = "".join(profile_row(row, made, longest) for row in made.rows)
    return (
        f'<div class="tl-card tl-in-card"><p class="tl-words">A step takes {made.plain_seconds * 1e3:.2f} ms '
        f"of one core (median of {made.steps}). Its matrix products alone would take {made.share_of_peak:.0%} of that "
        f"at this core’s {made.gemm_rate / 1e9:,.0f} GFLOP/s.</p>"
        '<div class="tl-scroll tl-in-scroll" tabindex="0" role="region" aria-label="Table: profile">'
        '<table class="tl-table tl-in-table"><thead><tr><th scope="col">part</th>'
        '<th scope="col" class="tl-in-number tl-in-barred">own time<small>ms</small></th>'
        '<th scope="col" class="tl-in-number">with inner parts<small>ms</small></th>'
        '<th scope="col" class="tl-in-number">products<small>MFLOP</small></th>'
        '<th scope="col" class="tl-in-number tl-in-barred">of peak<small>%</small></th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        + note_html(
            f"Timing the parts made the step {made.own_cost:+.1%} longer. Own time is without the parts inside, of "
            "all blocks together. The peak is a large product of matrices on the same core, measured between the steps."
        )
        + "</div>"
    )


def profile_row(row: PartProfile, made: Profile, longest: float) -> str:
    depth = len(row.path) - 1
    share = row.rate / made.gemm_rate
    products = f"{row.flops / 1e6:,.1f}" if row.flops else ""
    peak = f"{bar(share, 1.0, False)}<span>{share:.0%}</span>" if row.flops else ""
    head = "the whole step" if row.path == (STEP,) else row.path[-1]
    return (
        f'<tr><th scope="row" style="padding-left:{4 + 14 * depth}px">{html.escape(head)}</th>'
        f'<td class="tl-in-number">{bar(max(row.own_seconds, 0.0), longest, False)}'
        f"<span>{row.own_seconds * 1e3:.3f}</span></td>"
        f'<td class="tl-in-number">{row.seconds * 1e3:.3f}</td><td class="tl-in-number">{products}</td>'
        f'<td class="tl-in-number">{peak}</td></tr>'
    )
