"""The sections of a report that say what was found: differences, interactions, learning rates, configurations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.report.html import Html, details, interval, interval_words, joined, table, tag
from sweeps.report.run_figures import levels_of
from sweeps.report.sentences import comparison_sentence, ground_sentence, largest_first
from sweeps.results.effects import Comparison, comparisons
from sweeps.results.labels import configuration_name, level_name, level_phrase
from sweeps.results.stats import BELOW_MARGIN, DIFFERENT, EQUAL, UNKNOWN
from sweeps.results.summary import BEST, RATE, Summary, at_best_rate, at_rate, summaries
from sweeps.results.table import Table
from tlab.wording import several

MOST_CLAIMS = 30  # rows of one kind; all are in comparisons.csv
MOST_SHOWN = 15  # configurations before the rest is folded away
MOST_CONFIGURATIONS = 300

KINDS = {DIFFERENT: "different", BELOW_MARGIN: "different", EQUAL: "equal", UNKNOWN: "unknown"}
"""Verdict -> class of its colour."""


def kind_of(one: Comparison) -> str:
    """The class of a comparison's colour."""
    return "hint" if one.is_hint else KINDS[one.verdict]


# ------------------------------------------------------------------------------------------------ comparisons


def comparisons_section(found: Sequence[Comparison], margin: float) -> Html:
    """What is real, what is equal, and what the sweep cannot tell, each in words with its interval."""
    if not found:
        return tag("p", "No axis has two levels, so there is nothing to compare.")
    groups = {
        "Real differences": [one for one in found if one.verdict in (DIFFERENT, BELOW_MARGIN)],
        f"Equal within {margin:g} nats per token": [one for one in found if one.verdict == EQUAL],
        "This sweep cannot tell": [one for one in found if one.verdict == UNKNOWN],
    }
    reach = reach_of(found, margin)
    parts: list[object] = [
        tag(
            "p",
            f"Levels are compared within each seed, averaged over the other axes. The dot is the first named minus the "
            f"second, in nats per token, its line the 95 % interval, the grey band ±{margin:g}; "
            f"the picture ends at ±{reach:.2g}.",
        )
    ]
    for title, members in groups.items():
        parts.append(tag("h3", f"{title} ({len(members)})"))
        parts.append(claims_table(members, len(found), reach, margin) if members else tag("p", "None.", class_="muted"))
    return joined(parts)


def claims_table(found: Sequence[Comparison], family: int, reach: float, margin: float) -> Html:
    """A row for each comparison: the claim and its ground, and the interval as picture and numbers."""
    ordered = sorted(largest_first(found), key=lambda one: (not one.is_hint, one.estimate.n == 0))
    rows = []
    for one in ordered[:MOST_CLAIMS]:
        claim = comparison_sentence(one, margin)
        ground = tag("div", tag("small", ground_sentence(one, family)))
        numbers = tag("small", f"{pair_name(one)}: {interval_words(one.estimate)}")
        picture = interval(one.estimate, reach, margin, kind_of(one))
        rows.append(tag("tr", tag("td", tag("strong", claim), ground), tag("td", picture, numbers)))
    body = tag("table", tag("tbody", *rows), class_="claims")
    if len(found) <= MOST_CLAIMS:
        return body
    return joined([body, tag("p", f"{len(found) - MOST_CLAIMS} more are in comparisons.csv.", class_="muted")])


def reach_of(found: Sequence[Comparison], margin: float) -> float:
    """How far the pictures of intervals go: to the largest difference and a little more, not to the longest line."""
    return 1.25 * max([2 * margin, *(abs(one.estimate.mean) for one in found if one.estimate.n)])


def interactions_section(found: Sequence[Comparison], margin: float) -> Html:
    """Which differences depend on another axis."""
    if not found:
        return Html("")
    counts = Counter(one.verdict for one in found)
    real = [one for one in found if one.verdict in (DIFFERENT, BELOW_MARGIN)]
    hints = sum(one.is_hint for one in found)
    words = (
        "Does the difference of two levels depend on the level of another axis? Of "
        f"{several(len(found), 'such question')}, {len(real)} have the answer yes after Holm's correction over all of "
        f"them, {counts[EQUAL]} the answer no within {margin:g} nats per token, and {counts[UNKNOWN]} this sweep "
        f"cannot tell; {hints} of these point one way. All are in comparisons.csv."
    )
    return joined([tag("p", words), claims_table(real, len(found), reach_of(real, margin), margin) if real else ""])


# ------------------------------------------------------------------------------------------------ learning rates


def rates_section(table_of_all: Table, margin: float) -> Html:
    """The comparisons of the other axes at each fixed rate, and with each configuration at its own best rate."""
    rates = levels_of(table_of_all, RATE)
    best = at_best_rate(table_of_all)
    columns = {f"rate {level_name(RATE, rate)}": at_rate(table_of_all, rate) for rate in rates}
    columns["each at its best rate"] = best
    by_pair: dict[tuple[str, frozenset[Any]], dict[str, Comparison]] = {}
    for name, column in columns.items():
        for one in comparisons(column, margin=margin):
            by_pair.setdefault((one.axes[0], frozenset(one.first)), {})[name] = one
    rows = [
        [pair_name(next(iter(cells.values()))), *(rate_cell(cells.get(name), cells) for name in columns)]
        for cells in by_pair.values()
    ]
    chosen = Counter(row[RATE] for row in best.rows if not row["alias_of"])
    picked = [f"{level_name(RATE, rate)} for {several(chosen[rate], 'cell')}" for rate in rates if chosen[rate]]
    words = (
        "Levels may have different best learning rates, and a comparison at one rate is then one of rates. The best "
        "rate of a configuration is that with the most seeds that ended well, and of those with the lowest mean "
        "loss. It is picked by the losses that are shown, which are a little too low for it. Best was "
        f"{', '.join(picked)}. Holm's correction is over each column by itself."
    )
    rate_of = {row["cell_id"]: row[RATE] for row in best.rows}
    at_best = [
        [configuration_name(one.configuration), level_name(RATE, rate_of[one.configuration.ran[0]]), loss_cell(one)]
        for one in summaries(best, margin)
        if one.configuration.ran
    ]
    return joined(
        [
            tag("p", words),
            table(["difference, nats per token", *columns], rows[:MOST_CLAIMS]) if rows else "",
            tag("h3", "Configurations at their best rate"),
            folded(["configuration", "rate", "mean loss (95 % interval)"], at_best, prose=(0,)),
        ]
    )


def pair_name(one: Comparison) -> str:
    """A comparison as a subtraction; of an interaction, at the one level minus at the other."""
    name = " \N{MINUS SIGN} ".join(level_phrase(one.axes[0], level) for level in one.first)
    if one.second is None:
        return name
    return f"{name}, {' minus '.join(level_phrase(one.axes[1], level) for level in one.second)}"


def rate_cell(one: Comparison | None, of_pair: Mapping[str, Comparison]) -> Html:
    """What a comparison came to at one rate: the number, and the verdict below it."""
    if one is None or one.estimate.n == 0:
        return tag("small", "no losses to compare")
    estimate = one.estimate
    if one.first != next(iter(of_pair.values())).first:  # the other way round in this part of the table
        estimate = estimate._replace(mean=-estimate.mean, low=-estimate.high, high=-estimate.low)
    verdict = "points one way" if one.is_hint else one.verdict
    return joined([interval_words(estimate), Html("<br>"), tag("small", verdict, class_=kind_of(one))], "")


# ------------------------------------------------------------------------------------------------ configurations


def configurations_section(ranked: Sequence[Summary]) -> Html:
    """Every configuration with its seeds, the best one first."""
    if not ranked:
        return Html("")
    loss = "mean loss (95 % interval)"
    heads = ["rank", "configuration", loss, "sd", "seeds", "minus the best", "told from it?"]
    rows = [configuration_row(rank, one) for rank, one in enumerate(ranked[:MOST_CONFIGURATIONS], 1)]
    left_out = len(ranked) - len(rows)
    words = (
        "Losses are of the whole validation split after the last step, in nats per token. First come those with the "
        "fewest seeds lost, then the lower mean. The best one was picked for its loss, so a part of its lead is luck; "
        "whether another is told from it is tested within the seeds, with "
        "Holm's correction over all rows." + (f" {several(left_out, 'more row')} in summary.csv." if left_out else "")
    )
    return joined([tag("p", words), folded(heads, rows, (0, 3), (1,))])


def configuration_row(rank: int, one: Summary) -> list[object]:
    """A configuration's cells in the table."""
    configuration, counts = one.configuration, one.configuration.counts
    name = configuration_name(configuration)
    seeds: object = str(counts.ok)
    if configuration.caveat:
        seeds = tag("span", f"{counts.ok} ok, {configuration.caveat}", class_="bad")
    if not configuration.losses:
        return ["", name, "", "", seeds, "", ""]
    deviation = "" if math.isnan(one.deviation) else f"{one.deviation:.4f}"
    distance = "" if one.verdict == BEST or one.minus_best.n == 0 else interval_words(one.minus_best)
    verdict = tag("span", one.verdict, class_=KINDS.get(one.verdict, ""))
    return [rank, name, loss_cell(one), deviation, seeds, distance, verdict]


def loss_cell(one: Summary) -> str:
    """A mean loss with its interval."""
    return interval_words(one.estimate, signed=False) if one.configuration.losses else one.configuration.caveat


def folded(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    numbers: Sequence[int] = (),
    prose: Sequence[int] = (),
) -> Html:
    """A table whose later rows are shown on demand."""
    shown = table(heads, rows[:MOST_SHOWN], numbers, prose)
    rest = rows[MOST_SHOWN:]
    return (
        joined([shown, details(f"{several(len(rest), 'more row')}", table(heads, rest, numbers, prose))])
        if rest
        else shown
    )
