"""What the statistics of a sweep say, in sentences. Plain text, for a page, a terminal or a test."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from sweeps.grid.fields import RATE
from sweeps.report.analysis import Analysis
from sweeps.report.setup_sections import trainings
from sweeps.results.effects import LevelComparison
from sweeps.results.labels import axis_name, configuration_name, level_name, level_phrase
from sweeps.results.summary import LOST_MORE, Summary, count_statuses, has_value, outlying_runs
from sweeps.results.table import Table
from sweeps.run.plan import warmup_words
from sweeps.store.record import OK
from tlab.judging.few_seeds import (
    ALPHA,
    BELOW_MARGIN,
    CONFIDENCE,
    DOUBTFUL,
    EQUIVALENT,
    INCONCLUSIVE,
    REAL,
    Estimate,
    seeds_needed,
)
from tlab.text.units import NATS_PER_TOKEN
from tlab.wording import listed, several

MAX_NAMED = 3  # of a kind, in the headline; all are in the tables below it
MINUS = "\N{MINUS SIGN}"


def estimate_in_words(estimate: Estimate, signed: bool = True) -> str:
    """The numbers: "+0.042 (+0.010 to +0.074)"."""
    sign = "+" if signed else ""
    if estimate.n == 0:
        return "no values"
    mean = f"{estimate.mean:{sign}.3f}".replace("-", MINUS)
    if not math.isfinite(estimate.low):
        return f"{mean} (one seed: no interval)"
    ends = f"({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})".replace("-", MINUS)
    return f"{mean} {ends}"


# ------------------------------------------------------------------------------------------------ one comparison


def comparison_sentence(one: LevelComparison, margin: float) -> str:
    """What a comparison allows to say: a claim where a test supports it, what is seen where none does."""
    if one.estimate.n == 0:
        return f"{names_of(one)}: no combination in which both have a loss"
    size = f"{abs(one.estimate.mean):.3f}"
    if one.second is not None:
        return interaction_sentence(one, size, margin)
    axis = one.axes[0]
    better, worse = one.first if one.estimate.mean < 0 else one.first[::-1]
    better, worse = level_phrase(axis, better), level_phrase(axis, worse)
    first, second = (level_phrase(axis, level) for level in one.first)
    verb = "are" if better.endswith(" weights") else "is"
    unknown = f"{first} against {second}: inconclusive"
    if one.is_hint:
        unknown += f", though {better} may be better by {size}"
    if one.is_flattered:
        unknown = f"{better} lost more runs than {worse}, and where both ended well it is lower by {size}: inconclusive"
    sentences = {
        REAL: f"{better} {verb} better than {worse} by {size}",
        BELOW_MARGIN: f"{better} {verb} better than {worse}, but only by {size}, which is less than {margin:g}",
        EQUIVALENT: f"{first} and {second} are equivalent within {margin:g}",
        INCONCLUSIVE: unknown,
    }
    return sentences[one.verdict]


def interaction_sentence(one: LevelComparison, size: str, margin: float) -> str:
    axis, other = one.axes
    difference = " minus ".join(level_phrase(axis, level) for level in one.first)
    here, there = (level_phrase(other, level) for level in one.second or ())
    change = f"{size} {'lower' if one.estimate.mean < 0 else 'higher'} with {here} than with {there}"
    sentences = {
        REAL: f"{difference} is {change}",
        BELOW_MARGIN: f"{difference} is {change}, which is less than {margin:g}",
        EQUIVALENT: f"{difference} is the same with {here} and with {there}, within {margin:g}",
        INCONCLUSIVE: f"{difference} may be {change}, or the same",
    }
    return sentences[one.verdict]


def names_of(one: LevelComparison) -> str:
    first = " and ".join(level_phrase(one.axes[0], level) for level in one.first)
    return first if one.second is None else f"{first}, {' and '.join(level_phrase(one.axes[1], v) for v in one.second)}"


def subtraction(one: LevelComparison) -> str:
    """A comparison as a subtraction: "ReLU - GELU"; of an interaction, at one level minus at the other."""
    name = f" {MINUS} ".join(level_phrase(one.axes[0], level) for level in one.first)
    if one.second is None:
        return name
    return f"{name}, {' minus '.join(level_phrase(one.axes[1], level) for level in one.second)}"


def basis_sentence(one: LevelComparison, num_tests: int) -> str:
    """What a comparison, one of `num_tests`, rests on and, where that was not enough, how many seeds might be."""
    words = [" with ".join(map(axis_name, one.axes)), several(one.estimate.n, "seed")]
    if one.all_blocks != 1 or one.blocks != 1:
        words.append(f"{one.blocks} of {several(one.all_blocks, 'combination')}")
    if one.estimate.n > 1:
        equal = f"p {p_in_words(one.p_equal_holm)} for equivalence"
        words.append(f"p {p_in_words(one.p_holm)} for a difference and {equal}, both after Holm")
    if one.second is None and any(one.lost):
        lost = [f"{level_phrase(one.axes[0], level)} {count}" for level, count in zip(one.first, one.lost, strict=True)]
        words.append(f"runs lost on one side only: {listed(lost)}")
    if one.is_hint and (needed := seeds_needed(one.estimate.mean, one.spread, ALPHA / num_tests)):
        test = f"a t-test of its own at {ALPHA / num_tests:.1%}"
        words.append(f"if it is as large as it looks, about {needed} seeds would show it in {test}")
    return ", ".join(words)


def p_in_words(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


# ------------------------------------------------------------------------------------------------ the headline


def headline(analysis: Analysis) -> list[str]:
    table, ranked, planned = analysis.table, analysis.ranked, analysis.planned
    sentences = []
    if len(table.rows) < planned:
        sentences.append(
            f"Incomplete: {len(table.rows):,} of {several(planned, 'cell')} {is_or_are(len(table.rows))} done, and "
            "these results may change."
        )
    if table.left_out:
        sentences.append(
            f"Left out {is_or_are(table.left_out)} {several(table.left_out, 'cell')}: losses per token of two "
            "tokenizers cannot be compared, and records of an early version do not say how many bytes a token has."
        )
    if not any(one.configuration.losses for one in ranked):
        return [*sentences, "No cell finished successfully." if table.rows else "No cell has a loss yet."]
    sentences += filter(None, [warmup_words(trainings(analysis))])
    sentences += best_sentences(ranked, table.unit)
    sentences += comparison_sentences(analysis.comparisons, analysis.margin, table.unit)
    return [*sentences, *filter(None, (failure_sentence(table), lost_sentence(table), outlier_sentence(ranked)))]


def is_or_are(count: int) -> str:
    return "is" if count == 1 else "are"


def best_sentences(ranked: Sequence[Summary], unit: str = NATS_PER_TOKEN) -> list[str]:
    """The best configuration; of several texts, the one of each."""
    by_text = [list(of_text) for _, of_text in itertools.groupby(ranked, key=lambda one: one.configuration.text)]
    found = [best_sentence(of_text, unit) for of_text in by_text if of_text[0].configuration.losses]
    if len(by_text) < 2:
        return found
    several_texts = (
        "A loss is that of its text, so texts are not compared, and each has a best configuration of its own."
    )
    return [several_texts, *found[:MAX_NAMED], *(["More texts are in summary.csv."] if len(found) > MAX_NAMED else [])]


def best_sentence(ranked: Sequence[Summary], unit: str = NATS_PER_TOKEN) -> str:
    best, others = ranked[0], [one for one in ranked[1:] if one.configuration.losses or one.verdict == LOST_MORE]
    mean, low, high, n = best.estimate
    interval = f" ({low:.3f} to {high:.3f})" if n > 1 else ""
    seeds = "one seed" if n == 1 else f"the mean of {n} seeds with its 95 % interval"
    beaten = any(one.estimate.mean < mean for one in others)  # by a mean of fewer seeds, as some were lost
    what = "has the lowest loss of those that lost the fewest seeds" if beaten else "has the lowest loss"
    text = f"{configuration_name(best.configuration)} {what}: {mean:.3f} {unit}{interval}, {seeds}."
    if n < 2 or not others:
        return text
    rivals = [one for one in others if one.verdict != LOST_MORE]
    behind = several(len(others) - len(rivals), "configuration")
    text += f" {behind} lost more seeds." if len(rivals) < len(others) else ""
    num_different = sum(one.verdict in (REAL, BELOW_MARGIN) for one in rivals)
    if not rivals:
        return text
    which = " that lost no more" if len(rivals) < len(others) else ""
    if num_different == len(rivals):
        return f"{text} It differs from every other configuration{which}."
    rest = f"{len(rivals) - num_different} of the {len(rivals)} others" if num_different else "any other configuration"
    return f"{text} It cannot be distinguished from {rest}{which}."


def comparison_sentences(found: Sequence[LevelComparison], margin: float, unit: str = NATS_PER_TOKEN) -> list[str]:
    tested = [one for one in found if one.estimate.n]
    if not tested:
        return []
    if max(one.estimate.n for one in tested) < 2:
        return [
            "With one seed, no difference can be distinguished from noise; the same command with --seeds 3, or better "
            "5, adds some."
        ]
    total = several(len(tested), "comparison")
    real = largest_first(one for one in tested if one.verdict in (REAL, BELOW_MARGIN))
    equal = sorted(
        (one for one in tested if one.verdict == EQUIVALENT), key=lambda one: (RATE in one.axes, one.p_equal_holm)
    )
    hints = largest_first(one for one in tested if one.is_hint)
    sentences = [
        f"Real differences, after Holm's correction, in {len(real)} of {total} of levels{named(real, margin)}."
    ]
    if equal:
        sentences.append(f"Equivalence within {margin:g} {unit} in {len(equal)}{named(equal, margin)}.")
    if unknown := sum(one.verdict == INCONCLUSIVE for one in tested):
        sentences.append(f"In {unknown} the sweep is inconclusive.")
    if hints:  # without Holm's correction these would be claims
        sentences.append(
            f"Had each of them been the only comparison, {len(hints)} would be called real; but of equal levels "
            f"{1 - CONFIDENCE:.0%} would be, too, by chance{named(hints, margin)}."
        )
    return sentences


def count_tests(judged: Sequence[LevelComparison]) -> int:
    """How many of these Holm's correction is over: one seed is no test."""
    return sum(one.estimate.n > 1 for one in judged)


def intervals_sentence(judged: Sequence[LevelComparison]) -> str:
    """How an interval and the words beside it belong together; nothing where no more than one could be tested."""
    num_tests = count_tests(judged)
    if num_tests < 2:
        return ""
    return (
        f"Each interval is of its own comparison alone; the words beside it are corrected for all {num_tests} (Holm). "
        "So an interval may leave zero out, or lie within the margin, and the words be inconclusive."
    )


def interactions_sentence(analysis: Analysis) -> str:
    found = analysis.interactions
    counts = Counter(one.verdict for one in found)
    hints = sum(one.is_hint for one in found)
    text = (
        "Does the difference between two levels depend on the level of another axis? Of "
        f"{several(len(found), 'such question')}, the answer is yes for {counts[REAL] + counts[BELOW_MARGIN]} "
        f"(after Holm's correction over all), no for {counts[EQUIVALENT]} (within {analysis.margin:g} "
        f"{analysis.table.unit}) and inconclusive for {counts[INCONCLUSIVE]}."
    )
    if hints:
        text += (
            f" Had each of these been the only question, the answer would be yes for {hints}; but where nothing "
            f"depends on another axis it would be yes for {1 - CONFIDENCE:.0%}, too, by chance."
        )
    return f"{text} All are in comparisons.csv."


def largest_first(found: Iterable[LevelComparison]) -> list[LevelComparison]:
    """Those of learning rates last, which are mostly the largest, and seldom the question."""
    return sorted(found, key=lambda one: (RATE in one.axes, -abs(one.estimate.mean)))


def named(found: Sequence[LevelComparison], margin: float) -> str:
    more = "; and more" if len(found) > MAX_NAMED else ""
    return (": " + "; ".join(comparison_sentence(one, margin) for one in found[:MAX_NAMED]) + more) if found else ""


def failure_sentence(table: Table) -> str:
    trained = [row for row in table.rows if not row["alias_of"]]
    bad = [row for row in trained if not has_value(row)]
    if not bad:
        return ""
    kinds = Counter(row["status"] if row["status"] != OK else "failed" for row in bad)
    text = f"Of {several(len(trained), 'trained cell')}, {listed([f'{count} {kind}' for kind, count in kinds.items()])}"
    lost_levels = [
        f"every one with {axis_name(axis)} {level_name(axis, level)}"
        for axis in table.axes
        for level in dict.fromkeys(row[axis] for row in bad)
        if not any(has_value(row) for row in table.rows if row[axis] == level)
    ]
    return (
        f"{text}{': ' + listed(lost_levels) if lost_levels else ''}. No mean includes them: a level that lost "
        "more runs is never called better for it, and a configuration that did ranks lower."
    )


def lost_sentence(table: Table) -> str:
    """How many runs each level lost, of the axes whose levels did not all lose as many."""
    if not count_statuses(table.rows).lost:
        return ""
    axes = []
    for axis in table.axes:
        rows = {level: [row for row in table.rows if row[axis] == level] for level in {r[axis]: 0 for r in table.rows}}
        shares = {level: f"{count_statuses(found).lost} of {len(found)}" for level, found in rows.items()}
        if len(set(shares.values())) > 1:
            axes.append(", ".join(f"{level_phrase(axis, level)} {share}" for level, share in shares.items()))
    return f"Runs lost, by level: {'; '.join(axes)}." if axes else ""


def outlier_sentence(ranked: Sequence[Summary]) -> str:
    """That some seeds make the intervals doubtful, where some do."""
    found = outlying_runs([one.configuration for one in ranked])
    if not found:
        return ""
    configuration, seed = found[0]
    return (
        f"{several(len(found), 'run')} ended far from the other seeds, such as seed {seed} of "
        f"{configuration_name(configuration)} with {configuration.losses[seed]:.3f}. {DOUBTFUL}, and p-values are as "
        "doubtful; look at the learning curves, and take more seeds."
    )
