"""docs/findings.md: what was claimed, how it was repeated and what the result is; page.md lays it out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sweeps.findings.both_ways import (
    NOTHING_TO_TUNE,
    SETTING_PAIRS,
    SettingPair,
    TunedPair,
    best_rate_words,
    losses_as_csv,
    pairs_by_verdict,
)
from sweeps.findings.claim import Claim, Question
from sweeps.findings.claims import CLAIMS, QUESTIONS
from sweeps.findings.contested import (
    COMPARED_AT,
    CONTESTED,
    Contested,
    ContestedPair,
    ContestedRuns,
    first_token_in_words,
    judge_contested,
    runs_as_csv,
    seconds_trained,
    width_words,
    widths_in_words,
)
from sweeps.findings.figures import contested_differences, contested_valleys
from sweeps.findings.verdicts import (
    INCONCLUSIVE,
    NOT_GRADED,
    NOT_REPRODUCED,
    PARTLY_REPRODUCED,
    REPRODUCED,
    Check,
    Judged,
    SeedResults,
    finite_values,
    judge_checks,
    verdict_of_claim,
    verdicts_of_parts,
)
from sweeps.results.labels import verdict_name
from tlab.figures import save_figure
from tlab.files import write_atomically
from tlab.judging.few_seeds import ALPHA, Estimate, difference_p, equality_p, estimate, holm, verdict_of
from tlab.judging.few_seeds import INCONCLUSIVE as UNDECIDED
from tlab.judging.two_models import Difference
from tlab.judging.valley_width import NEAR_BEST
from tlab.wording import duration

RATES_FILE = "findings-rates.csv"  # of runs at several learning rates, beside the page
CONTESTED_FILE = "findings-contested.csv"  # of the runs of contested claims, likewise
CONTESTED_HEADING = "## Contested claims\n"
SIGNS = {REPRODUCED: "✔", PARTLY_REPRODUCED: "◐", NOT_REPRODUCED: "✘", INCONCLUSIVE: "?", NOT_GRADED: "–"}
"""Beside the word, so that a long table can be read at a glance."""


@dataclass(frozen=True)
class Finding:
    """A claim with its results."""

    claim: Claim
    seeds: Sequence[SeedResults]
    seconds: float  # the sum over all its runs, including those shared with other claims

    @cached_property
    def judged(self) -> list[Judged]:
        return judge_checks(self.claim.checks, self.seeds)

    @property
    def verdict(self) -> str:
        return verdict_of_claim(self.judged)

    @property
    def parts(self) -> dict[str, str]:
        """The things that the claim says -> the verdict on each; none where there is one verdict on all."""
        found = verdicts_of_parts(self.judged)
        return found if len(set(found.values())) > 1 else {}

    @property
    def main_numbers(self) -> list[Judged]:
        """The first number, or the first of each part where the verdicts on them differ."""
        first = {check.part: check for check in reversed(self.judged)}
        return [first[part] for part in self.parts] or self.judged[:1]

    @property
    def numbers(self) -> list[tuple[str, tuple[float, ...]]]:
        """What was measured, one number per seed; where two checks are of the same numbers, once."""
        first = {check.values: check.what for check in reversed(self.judged)}
        return [(what, values) for values, what in reversed(first.items())]


# ------------------------------------------------------------------------------------------------ numbers in words


def number_in_words(value: float) -> str:
    if not math.isfinite(value):
        return "-" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    size = abs(value)
    digits = 3 if size < 10 else 1 if size < 1000 else 0
    return f"{value:,.{digits}f}"


def measured_in_words(found: Estimate, unit: str) -> str:
    words = f"{number_in_words(found.mean)} [{number_in_words(found.low)}, {number_in_words(found.high)}]"
    return f"{words} {unit}" if unit else words


def seeds_in_words(judged: Judged) -> str:
    return f"{len(judged.values)}{f', {judged.missing} diverged' if judged.missing else ''}"


def difference_in_words(one: Difference | None, unit: str) -> str:
    """B minus A at a rate or at the best ones: its interval, its verdict, and lost runs."""
    if one is None or not one.estimate.n:
        return "no seed ended well in both"
    lost = f"; diverged: A {one.lost[0]}, B {one.lost[1]}" if any(one.lost) else ""
    reason = f"; {one.reason()}" if one.reason() else ""
    return f"{measured_in_words(one.estimate, unit)}: {verdict_name(one.verdict)}{lost}{reason}"


# ------------------------------------------------------------------------------------------------ the terminal


def finding_as_text(finding: Finding) -> str:
    lines = [f"\n{SIGNS[finding.verdict]} {finding.claim.key}: {finding.verdict}", f"  {finding.claim.claim}"]
    lines += [f"  {SIGNS[verdict]} {part}: {verdict}" for part, verdict in finding.parts.items()]
    for judged in finding.judged:
        found = measured_in_words(judged.estimate, judged.unit)
        lines.append(f"  {SIGNS[judged.verdict]} {judged.what}: {found}, {seeds_in_words(judged)} seeds")
        lines.append(f"      criterion: {judged.criterion}")
    return "\n".join(lines)


def finding_data(finding: Finding) -> dict[str, Any]:
    """What `finding_as_text` says, for a program."""
    claim = finding.claim.claim
    return {"claim": claim, "verdict": finding.verdict, "parts": finding.parts, "checks": finding.judged}


def contested_as_text(claim: Contested, pairs: Sequence[ContestedPair]) -> str:
    lines = [f"\n{claim.key}: {claim.claim}"]
    return "\n".join(
        [*lines, *(f"  {b} - {a}, each at its best: {pair.verdict}" for pair in pairs for a, b in [pair.names])]
    )


def summary_as_text(findings: Sequence[Finding]) -> str:
    verdicts = [finding.verdict for finding in findings]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in SIGNS if verdict in verdicts)


# ------------------------------------------------------------------------------------------------ the page


def write_page(
    page: Path,
    findings: Mapping[str, Finding],
    tuned: Mapping[SettingPair, TunedPair],
    machine: str,
    runs: ContestedRuns | None = None,
) -> list[Path]:
    """Write the page, its figures, and the tables of losses; -> the files written, the figures first.

    A page that is there already keeps what no run here is about: where there are only contested claims, all but these.

    Args:
        page: the Markdown file; figures go into `images` beside it.
        findings: claim key -> what is known; a claim that is missing is listed as not run.
        tuned: what is known of pairs at other learning rates; what is missing is listed as not tuned yet.
        machine: what it was measured on, in one line.
        runs: those of contested claims.
    """
    images = page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    runs = runs or {}
    judged = judged_claims(runs)
    written = []
    for key, finding in findings.items():
        written += save_figure(finding.claim.draw(finding.seeds), images / f"finding-{key}.png")
    if judged:
        written += save_figure(contested_differences(judged), images / "finding-contested.png")
    for key in judged:
        if CONTESTED[key].shows_width:
            written += save_figure(contested_valleys(CONTESTED[key], runs, judged[key]), images / f"finding-{key}.png")
    tables = {CONTESTED_FILE: runs_as_csv(runs)} if runs else {}
    text = page_as_markdown(findings, tuned, machine, runs)
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    if CONTESTED_HEADING in before and not findings and not tuned:
        text = with_contested(before, contested_of(text))
    else:
        tables[RATES_FILE] = losses_as_csv(tuned)
    for name, table in tables.items():
        write_atomically(page.parent / name, table.encode())
    write_atomically(page, text.encode())
    return [*written, *(page.parent / name for name in tables), page]


def judged_claims(runs: ContestedRuns) -> dict[str, list[ContestedPair]]:
    """The contested claims of which all runs are there, with their pairs."""
    return {key: judge_contested(claim, runs) for key, claim in CONTESTED.items() if runs.keys() >= {*claim.settings}}


def contested_of(page: str) -> str:
    """The section of the contested claims."""
    _, heading, rest = page.partition(CONTESTED_HEADING)
    return heading + rest.partition("\n## ")[0]


def with_contested(page: str, section: str) -> str:
    """A page with another section of contested claims."""
    return page.replace(contested_of(page), section)


def page_as_markdown(
    findings: Mapping[str, Finding],
    tuned: Mapping[SettingPair, TunedPair],
    machine: str,
    runs: ContestedRuns | None = None,
) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # it is Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    runs = runs or {}
    num_graded = sum(any(isinstance(check, Check) for check in claim.checks) for claim in CLAIMS.values())
    filters = (duration, measured_in_words, number_in_words, seeds_in_words, best_rate_words, difference_in_words)
    filters += (seconds_trained, width_words, widths_in_words, first_token_in_words)
    environment.filters |= {function.__name__: function for function in filters}
    return environment.get_template("page.md").render(
        claims=CLAIMS,
        num_graded=num_graded,
        findings=findings,
        tuned=tuned,
        setting_pairs=SETTING_PAIRS,
        nothing_to_tune=NOTHING_TO_TUNE,
        pairs_by_verdict=pairs_by_verdict(tuned),
        losses=RATES_FILE,
        contested=CONTESTED,
        runs=runs,
        judged=judged_claims(runs),
        same_rate=COMPARED_AT,
        near_best=NEAR_BEST,
        table=CONTESTED_FILE,
        machine=machine,
        signs=SIGNS,
        answers=list(answers(findings)),
        alpha=ALPHA,
    )


def answers(findings: Mapping[str, Finding]) -> Iterator[tuple[Question, Estimate, int, int, str]]:
    """Each open question with its number, how many seeds diverged, of how many, and what the tests allow to say."""
    asked = [question for question in QUESTIONS if question.claim.key in findings]
    numbers = [finite_values(map(question.number, findings[question.claim.key].seeds)) for question in asked]
    seeds = [len(findings[question.claim.key].seeds) for question in asked]
    verdicts = verdicts_of_questions(numbers, seeds, [question.margin for question in asked])
    for question, values, num_seeds, result in zip(asked, numbers, seeds, verdicts, strict=True):
        yield question, estimate(values), num_seeds - len(values), num_seeds, verdict_name(result)


def verdicts_of_questions(
    numbers: Sequence[Sequence[float]], seeds: Sequence[int], margins: Sequence[float]
) -> list[str]:
    """What the numbers of all questions allow to say, Holm's method over all; nothing where a seed has no number.

    Args:
        numbers: of each question, those of the seeds that have one.
        seeds: how many there are.
        margins: differences too small to matter.
    """
    complete = [len(values) == count for values, count in zip(numbers, seeds, strict=True)]
    different = holm([difference_p(values) for values in numbers])
    equal = holm([equality_p(values, margin) for values, margin in zip(numbers, margins, strict=True)])
    return [
        verdict_of(p, p_equal) if has_all else UNDECIDED
        for p, p_equal, has_all in zip(different, equal, complete, strict=True)
    ]
