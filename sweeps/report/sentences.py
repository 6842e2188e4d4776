"""What the statistics of a sweep come to, in sentences. Plain text: a page, a terminal or a test reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweeps.results.effects import Comparison
from sweeps.results.labels import axis_name, configuration_name, level_name, level_phrase
from sweeps.results.stats import ALPHA, BELOW_MARGIN, DIFFERENT, EQUAL, UNKNOWN, Estimate, seeds_needed
from sweeps.results.summary import Summary, has_value
from sweeps.results.table import Table
from sweeps.store.record import OK
from tlab.wording import several

MOST_NAMED = 3  # of a kind, in the headline; all are in the tables below it


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def losses(estimate: Estimate) -> str:
    """A loss with its interval: "2.937 nats per token (2.825 to 3.050)"."""
    ends = f" ({estimate.low:.3f} to {estimate.high:.3f})" if estimate.n > 1 else ""
    return f"{estimate.mean:.3f} nats per token{ends}"


# ------------------------------------------------------------------------------------------------ one comparison


def comparison_sentence(one: Comparison, margin: float) -> str:
    """What a comparison allows to say: a claim where a test carries it, and what is seen where none does."""
    if one.estimate.n == 0:
        return f"{names_of(one)}: no combination in which both have a loss"
    size = f"{abs(one.estimate.mean):.3f}"
    if one.second is not None:
        return interaction_sentence(one, size, margin)
    axis = one.axes[0]
    better, worse = one.first if one.estimate.mean < 0 else one.first[::-1]
    better, worse = level_phrase(axis, better), level_phrase(axis, worse)
    first, second = (level_phrase(axis, level) for level in one.first)
    sentences = {
        DIFFERENT: f"{better} is better than {worse} by {size}",
        BELOW_MARGIN: f"{better} is better than {worse}, but by {size} only, less than {margin:g}",
        EQUAL: f"{first} and {second} are equal within {margin:g}",
        UNKNOWN: f"{better} looks better than {worse} by {size}" if one.is_hint else f"{first} or {second}: open",
    }
    return sentences[one.verdict]


def interaction_sentence(one: Comparison, size: str, margin: float) -> str:
    """The same for a difference of differences."""
    axis, other = one.axes
    step = " minus ".join(level_phrase(axis, level) for level in one.first)
    here, there = (level_phrase(other, level) for level in one.second or ())
    way = "lower" if one.estimate.mean < 0 else "higher"
    more = f"{step} is {size} {way} with {here} than with {there}"
    sentences = {
        DIFFERENT: more,
        BELOW_MARGIN: f"{more}, which is less than {margin:g}",
        EQUAL: f"{step} is the same with {here} and with {there}, within {margin:g}",
        UNKNOWN: f"{more}, perhaps",
    }
    return sentences[one.verdict]


def names_of(one: Comparison) -> str:
    """What is compared."""
    first = " and ".join(level_phrase(one.axes[0], level) for level in one.first)
    return first if one.second is None else f"{first}, {' and '.join(level_phrase(one.axes[1], v) for v in one.second)}"


def ground_sentence(one: Comparison, family: int) -> str:
    """What the comparison rests on, and where it was not enough, how many seeds might be."""
    words = [" with ".join(map(axis_name, one.axes)), several(one.estimate.n, "seed")]
    if one.all_blocks != 1 or one.blocks != 1:
        words.append(f"{one.blocks} of {several(one.all_blocks, 'combination')}")
    if one.estimate.n > 1:
        words.append(f"p {p_words(one.p_holm)} after Holm")
        words.append(f"p {p_words(one.p_equal)} for equality")
    if one.is_hint and (needed := seeds_needed(one.estimate.mean, one.spread, ALPHA / family)):
        words.append(f"some {needed} seeds might tell")
    return ", ".join(words)


def p_words(p: float) -> str:
    """A p-value that nobody reads too much into."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


# ------------------------------------------------------------------------------------------------ the headline


def headline(
    table: Table, ranked: Sequence[Summary], found: Sequence[Comparison], margin: float, planned: int
) -> list[str]:
    """The sweep in a few sentences, the most important first."""
    words = []
    if len(table.rows) < planned:
        words.append(
            f"Not complete: {len(table.rows):,} of {several(planned, 'cell')} are done. What follows may change."
        )
    if not ranked or not ranked[0].configuration.losses:
        return [*words, "No cell has a loss yet." if not table.rows else "No cell ended well."]
    words.append(best_sentence(ranked))
    words += claims(found, margin)
    accidents = accident_sentence(table)
    return [*words, accidents] if accidents else words


def best_sentence(ranked: Sequence[Summary]) -> str:
    """Which configuration comes first, and how sure that it is the best one."""
    best, others = ranked[0], [one for one in ranked[1:] if one.configuration.losses]
    n = best.estimate.n
    seeds = "one seed" if n == 1 else f"the mean of {n} seeds, with its 95 % interval"
    lower = any(one.estimate.mean < best.estimate.mean for one in others)  # of fewer seeds, as some were lost
    what = "has the lowest loss of those with the fewest seeds lost" if lower else "has the lowest loss"
    text = f"{configuration_name(best.configuration)} {what}: {losses(best.estimate)}, {seeds}."
    if n < 2 or not others:
        return text
    told = sum(one.verdict in (DIFFERENT, BELOW_MARGIN) for one in others)
    if told == len(others):
        return f"{text} It is told from every other configuration."
    which = f"{len(others) - told} of the {len(others)} others" if told else "any other configuration"
    return f"{text} It cannot be told from {which}."


def claims(found: Sequence[Comparison], margin: float) -> list[str]:
    """How many of the comparisons are real, equal or open, and the largest by name."""
    tested = [one for one in found if one.estimate.n]
    if not tested:
        return []
    if max(one.estimate.n for one in tested) < 2:
        return [
            "One seed cannot tell any difference from chance; the same command with --seeds 3, or better 5, adds some."
        ]
    total = several(len(tested), "comparison")
    real = largest_first(one for one in tested if one.verdict in (DIFFERENT, BELOW_MARGIN))
    equal = sorted((one for one in tested if one.verdict == EQUAL), key=lambda one: one.p_equal)
    hints = largest_first(one for one in tested if one.is_hint)
    words = [f"Real differences, after Holm's correction, in {len(real)} of {total} of levels{named(real, margin)}."]
    if equal:
        words.append(f"Equality within {margin:g} nats per token in {len(equal)}{named(equal, margin)}.")
    if unknown := sum(one.verdict == UNKNOWN for one in tested):
        text = f"In {unknown} this sweep cannot tell"
        text += f"; {len(hints)} of them point one way, but not beyond chance{named(hints, margin)}." if hints else "."
        words.append(text)
    return words


def largest_first(found: Iterable[Comparison]) -> list[Comparison]:
    """The largest differences first."""
    return sorted(found, key=lambda one: -abs(one.estimate.mean))


def named(found: Sequence[Comparison], margin: float) -> str:
    """The first few, after a colon."""
    more = "; and more" if len(found) > MOST_NAMED else ""
    return (": " + "; ".join(comparison_sentence(one, margin) for one in found[:MOST_NAMED]) + more) if found else ""


def accident_sentence(table: Table) -> str:
    """How many cells did not end well, and which level they all have, where there is one."""
    trained = [row for row in table.rows if not row["alias_of"]]
    bad = [row for row in trained if not has_value(row)]
    if not bad:
        return ""
    kinds = Counter(row["status"] if row["status"] != OK else "failed" for row in bad)
    text = f"Of {several(len(trained), 'cell')} trained, {listed([f'{count} {kind}' for kind, count in kinds.items()])}"
    wholly = [
        f"every one with {axis_name(axis)} {level_name(axis, level)}"
        for axis in table.axes
        for level in dict.fromkeys(row[axis] for row in bad)
        if all_bad(table.rows, axis, level)
    ]
    return f"{text}{': ' + listed(wholly) if wholly else ''}. They are in no mean, and counted beside each."


def all_bad(rows: Iterable[Mapping[str, Any]], axis: str, level: Any) -> bool:
    """Whether no cell of a level has a loss."""
    return not any(has_value(row) for row in rows if row[axis] == level)
