"""What a page shows of a study: one card, and what it adds to the loss chart."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tlab.judging.few_seeds import Estimate
from tlab.judging.two_models import SecondUnit
from tlab.ui.runs.comparison import few_tokens_words
from tlab.ui.runs.messages import Job, later_seed
from tlab.ui.runs.run import DONE, FAILED, RUNNING, SIDE_LETTERS, STOPPED, WAITING
from tlab.ui.studies.csv_link import csv_link
from tlab.ui.studies.five_seeds import NUM_SEEDS, Judgement, judge, pairs_of, why_not, words_of
from tlab.ui.studies.loss_units import bits_unit, brackets, units_words
from tlab.ui.studies.study import SEEDS, Study
from tlab.ui.widgets.markup import macros
from tlab.wording import duration, several, written

markup = macros("studies/view.html")

OF_A_STEP = 1e-9  # between round numbers: rounding
MARGIN_SHARE = 0.06  # of the strip, left and right of what is on it
RISE_OF_DOT, MAX_RISE = 11.0, 88.0  # pixels from a dot to the one on it, and to the highest of many
DIFFERENCE = "+.4f"  # how one is written
NOT_YET = "No winner is named before all five seeds are there."


class Strip(NamedTuple):
    """Places on a line, in per cent of its width."""

    zero: float
    ticks: list[tuple[float, str]]  # place and number
    dots: list[tuple[float, float]]  # place, and pixels above the line: those that would hide each other are stacked
    height: float  # pixels that the highest dot is above the lowest
    mean: float | None
    interval: tuple[float, float] | None  # left end and width
    alternative: str


class Card(NamedTuple):
    """All that the template reads."""

    title: str
    words: Sequence[str]  # a sentence or two each
    state: str = ""
    progress: str = ""
    share: float | None = None  # of the work that is done; None where nothing goes on
    note: str = ""
    columns: Sequence[tuple[str, str]] = ()  # the letter of a side, or none, and the words
    rows: Sequence[Sequence[str]] = ()
    strip: Strip | None = None
    file: str = ""
    file_name: str = ""
    is_other: bool = False  # whether the controls have other settings by now


def seeds_html(job: Job, study: Study | None, seconds: float | None) -> str:
    """The card under the verdict of a run; nothing where the run has one side. `seconds` are what five seeds take."""
    if len(job.plans) < 2:
        return ""
    return markup.study(empty_card(job, seconds) if study is None else seeds_card(study))


def empty_card(job: Job, seconds: float | None) -> Card:
    """Before the button is pressed, or where there is none."""
    reason = why_not(job)
    if reason:
        return Card("One seed each", [reason])
    first, last = (later_seed(job.plans[0].training.seed, more) for more in (0, NUM_SEEDS - 1))
    takes = "" if seconds is None else f" This takes about {duration(seconds)} here."
    return Card(
        "One seed each",
        [
            f"The losses above are of one seed each. Repeated with five ({first} to {last}), the same comparison tells "
            f"whether the difference is more than chance.{takes}"
        ],
    )


def seeds_words(study: Study | None) -> str:
    """What five seeds tell, in a sentence or two; nothing before all are there."""
    if study is None or study.state != DONE:
        return ""
    words = words_of(judge(pairs_of(study)), study.labels, study.bytes_per_token)
    return f"{words} {few_tokens_words(study.job, study.bytes_per_token)}".strip()


def seeds_card(study: Study) -> Card:
    judgement = judge(pairs_of(study))
    done = study.state == DONE
    bits = bits_unit(study)
    notes = ["" if study.active else study.words, units_words(bits) if judgement.pairs else ""]
    return Card(
        "Five seeds",
        [seeds_words(study) or words_so_far(judgement, study.active)],
        state=study.state,
        progress=progress_words(study),
        share=None if done else min(1.0, study.steps_made / study.steps),
        note=" ".join(filter(None, notes)),
        columns=[("", "Seed"), *zip(SIDE_LETTERS, study.labels, strict=False), ("", "B − A")],
        rows=seed_rows(judgement, bits),
        strip=strip_of(judgement),
        file="" if study.active or not study.outcomes else csv_link(study),
        file_name="five-seeds.csv",
    )


def study_title(study: Study) -> str:
    """What trains, and how much of it has ended."""
    if study.kind == SEEDS:
        return f"five seeds: {len(pairs_of(study))} of {NUM_SEEDS}"
    return f"learning rates: {len(study.outcomes)} of {several(len(study.trials), 'run')}"


def progress_words(study: Study) -> str:
    """How far it is, for people."""
    ended = f"{len(study.outcomes)} of {several(len(study.trials), 'run')}"
    if study.state == WAITING:
        return f"{ended}; the next begins when a worker is free"
    if study.state == RUNNING:
        left = study.seconds_left
        return ended if left is None else f"{ended}, {duration(math.ceil(left))} left"
    if study.state in (STOPPED, FAILED):
        return f"{ended}; what is there is kept"
    return ended


def words_so_far(judgement: Judgement, active: bool) -> str:
    """What the pairs say that are there, without a verdict. `active`: more are to come."""
    count = len(judgement.pairs)
    if not count:
        return f"{'The first pair of losses comes soon' if active else 'There is no pair of losses'}. {NOT_YET}"
    a, b = (sum(pair.lower == letter for pair in judgement.pairs) for letter in SIDE_LETTERS)
    return f"{several(count, 'seed')} so far: A is lower on {a} and B on {b}. {NOT_YET}"


def seed_rows(judgement: Judgement, bits: SecondUnit | None) -> list[list[str]]:
    """Seed, A, B and their difference; and the mean with its interval, in the digits of the sweeps' tables."""
    rows = [
        [str(pair.seed), loss_words(pair.a, bits), loss_words(pair.b, bits), difference_cell(pair.difference, bits)]
        for pair in judgement.pairs
    ]
    if judgement.difference.n > 1:
        interval = mean_with_interval(judgement.difference, 1.0)
        in_bits = "" if bits is None else f"; {bits.name}: {mean_with_interval(judgement.difference, bits.per_first)}"
        rows.append(["Mean (95 % interval)", f"{interval}{in_bits}"])
    return rows


def mean_with_interval(difference: Estimate, factor: float) -> str:
    """A mean with its interval, `factor` times as large."""
    scaled = difference.times(factor)
    return f"{signed(scaled.mean)} ({scaled.interval_words(DIFFERENCE)})"


def loss_words(loss: float | None, bits: SecondUnit | None) -> str:
    return "diverged" if loss is None else f"{loss:.4f}{brackets(loss, bits, '.4f')}"


def difference_cell(difference: float | None, bits: SecondUnit | None) -> str:
    return "–" if difference is None else f"{signed(difference)}{brackets(difference, bits, DIFFERENCE)}"


def signed(difference: float) -> str:
    return written(difference, DIFFERENCE)


def strip_of(judgement: Judgement) -> Strip | None:
    """The differences on a line; none before there is one."""
    differences = [pair.difference for pair in judgement.pairs if pair.difference is not None]
    return strip_at(differences, judgement.difference, "B − A by seed") if differences else None


def strip_at(differences: Sequence[float], found: Estimate, name: str, also: Sequence[float] = ()) -> Strip:
    """Differences on a line, called by their name, with their mean; the line has room for others `also`."""
    mean, low, high, n = found
    marked = [0.0, *differences, *also, *((low, high) if n > 1 else ())]
    from_, to = min(marked), max(marked)
    span = (to - from_) or 1.0

    def place(value: float) -> float:
        return round(100 * (MARGIN_SHARE + (1 - 2 * MARGIN_SHARE) * (value - from_) / span), 2)

    alternative = f"{name}: " + ", ".join(signed(difference) for difference in differences)
    interval = (place(low), round(place(high) - place(low), 2)) if n > 1 else None
    ticks = [(place(at), words) for at, words in round_numbers(from_, to)]
    dots, height = stacked([place(difference) for difference in differences])
    return Strip(place(0.0), ticks, dots, height, place(mean) if n > 1 else None, interval, alternative)


def stacked(places: Sequence[float]) -> tuple[list[tuple[float, float]], float]:
    """Each place with its pixels above the line, and the most of these: dots of the same hundredth are stacked."""
    counts = Counter(round(at) for at in places)
    rise = min(RISE_OF_DOT, MAX_RISE / max(1, max(counts.values(), default=1) - 1))
    seen: Counter[int] = Counter()
    dots = []
    for at in places:
        dots.append((at, round(rise * seen[round(at)], 1)))
        seen[round(at)] += 1
    return dots, max((pixels for _, pixels in dots), default=0.0)


def round_numbers(low: float, high: float) -> list[tuple[float, str]]:
    """A few round numbers from one to the other, at equal distances, each with how it is written."""
    span = (high - low) or 1.0
    power = math.floor(math.log10(span))
    step, digits = next(
        (factor * 10.0**power, max(0, -power + (factor < 1)))
        for factor in (2, 1, 0.5, 0.2)
        if span >= 2.5 * factor * 10.0**power
    )
    first, last = math.ceil(low / step - OF_A_STEP), math.floor(high / step + OF_A_STEP)
    return [(number * step, written(number * step, f"+.{digits}f")) for number in range(first, last + 1)]


# ------------------------------------------------------------------------------------------------ loss chart


def bands_value(study: Study | None) -> list[dict[str, Any]]:
    """For each side, the range over its seeds of the averaged training loss, and each seed's validation losses."""
    if study is None:
        return []
    bands = []
    for side, letter in enumerate(SIDE_LETTERS[: len(study.job.plans)]):
        curves = [
            study.outcomes[trial].curve for trial in study.trials if trial in study.outcomes and trial.side == side
        ]
        width = max((curve.width for curve in curves), default=1)
        alike = [curve for curve in curves if curve.width == width]  # a run that diverged early has finer ones
        ranges = []
        for of_place in itertools.zip_longest(*(curve.placed_bins() for curve in alike)):
            there = list(filter(None, of_place))
            averages = [bin[3] for _, bin in there]
            ranges.append(f"{min(averages):.4g},{max(averages):.4g},{max(place for place, _ in there)}")
        dots = [point for curve in curves for point in curve.validation]
        bands.append({"letter": letter, "seeds": len(curves), "ranges": ";".join(ranges), "validation": dots})
    return bands
