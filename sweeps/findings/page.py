"""docs/findings.md: what was claimed, how it was repeated and what the result is, in words and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.findings.claim import Claim, Question
from sweeps.findings.claims import CLAIMS, QUESTIONS
from sweeps.findings.verdicts import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Judged, SeedResults, verdict_of_all
from sweeps.results.labels import verdict_name
from sweeps.results.stats import ALPHA, Estimate, difference_p, equality_p, estimate, holm, verdict_of
from tlab.figures import save_figure
from tlab.files import write_atomically
from tlab.wording import duration

IMAGES = "images"
INTERVALS = """\
Intervals are Student's t over the seeds, symmetric about the mean. With few seeds that differ much, one may extend
beyond the values that the measure can take, such as an accuracy above 1; it is then to be read as ending there.
"""
SIGNS = {REPRODUCED: "✔", NOT_REPRODUCED: "✘", INCONCLUSIVE: "?"}
"""Beside the word, so that a long table can be read at a glance."""
NOT_RUN = "not run"

INTRODUCTION = """# Findings

Published claims about transformers, repeated with this lab: small models on tiny Shakespeare, one claim at a time. The
criteria were written down before anything was run here, from pilots with other code
([sweeps/findings/claims.py](../sweeps/findings/claims.py)). Where a threshold was moved, or a setup changed after a
first try, the section says so. The seeds are 0, 1, 2 ... and never selected; intervals are Student's t over the seeds,
at 95 %. A claim is *reproduced* when all its criteria hold, *not reproduced* when one of them is refuted, and
*inconclusive* when the seeds leave it open.

A claim that is reproduced here holds at this size, with these settings. That says nothing about larger models.
"""


@dataclass(frozen=True)
class Finding:
    """A claim with its results."""

    claim: Claim
    seeds: Sequence[SeedResults]
    seconds: float  # the sum over all its runs, including those shared with other claims

    @property
    def judged(self) -> list[Judged]:
        return [check.judge(self.seeds) for check in self.claim.checks]

    @property
    def verdict(self) -> str:
        return verdict_of_all(self.judged)


# ------------------------------------------------------------------------------------------------ numbers in words


def number_in_words(value: float) -> str:
    if not math.isfinite(value):
        return "-" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    size = abs(value)
    digits = 3 if size < 10 else 1 if size < 1000 else 0
    return f"{value:,.{digits}f}"


def interval_in_words(found: Estimate) -> str:
    return f"{number_in_words(found.mean)} [{number_in_words(found.low)}, {number_in_words(found.high)}]"


def with_unit(words: str, unit: str) -> str:
    return f"{words} {unit}" if unit else words


def seeds_in_words(judged: Judged) -> str:
    missing = f", {judged.missing} diverged" if judged.missing else ""
    return f"{len(judged.values)}{missing}"


# ------------------------------------------------------------------------------------------------ the terminal


def finding_as_text(finding: Finding) -> str:
    lines = [f"\n{SIGNS[finding.verdict]} {finding.claim.key}: {finding.verdict}", f"  {finding.claim.claim}"]
    for judged in finding.judged:
        found = with_unit(interval_in_words(judged.estimate), judged.unit)
        lines.append(f"  {SIGNS[judged.verdict]} {judged.what}: {found}, {seeds_in_words(judged)} seeds")
        lines.append(f"      criterion: {judged.criterion}")
    return "\n".join(lines)


def summary_as_text(findings: Sequence[Finding]) -> str:
    verdicts = [finding.verdict for finding in findings]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in SIGNS if verdict in verdicts)


# ------------------------------------------------------------------------------------------------ the page


def write_page(page: Path, findings: Mapping[str, Finding], machine: str) -> list[Path]:
    """Write the page and its figures; -> the files written.

    Args:
        page: the Markdown file; figures go into `images` beside it.
        findings: claim key -> what is known; a claim that is missing is listed as not run.
        machine: what it was measured on, in one line.
    """
    images = page.parent / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    written = []
    for key, finding in findings.items():
        written += save_figure(finding.claim.draw(finding.seeds), images / f"finding-{key}.png")
    write_atomically(page, page_as_markdown(findings, machine).encode())
    return [*written, page]


def page_as_markdown(findings: Mapping[str, Finding], machine: str) -> str:
    seconds = sum(finding.seconds for finding in findings.values())
    parts = [
        INTRODUCTION,
        summary_table(findings),
        f"Measured on {machine}, one thread per run, with other programs running: the times are upper bounds. Runs "
        f"that several claims share were made once but count for each of them ({duration(seconds)} in total). This "
        "page is made by `python -m sweeps findings --page docs/findings.md`; `--quick` repeats what needs hardly any "
        "training.\n",
        INTERVALS,
        *(section(findings[key]) for key in CLAIMS if key in findings),
        questions_section(findings),
    ]
    return "\n".join(parts)


def summary_table(findings: Mapping[str, Finding]) -> str:
    lines = ["| claim | verdict | measured | seeds | time |", "| --- | --- | --- | --- | --- |"]
    for key, claim in CLAIMS.items():
        if key not in findings:
            lines.append(f"| {key} | {NOT_RUN} | | | |")
            continue
        finding = findings[key]
        first = finding.judged[0]
        verdict = f"{SIGNS[finding.verdict]} **{finding.verdict}**"
        measured = f"{first.what}: {with_unit(interval_in_words(first.estimate), first.unit)}"
        lines.append(
            f"| [{key}](#{key}): {claim.claim} | {verdict} | {measured} | {seeds_in_words(first)} | "
            f"{duration(finding.seconds)} |"
        )
    return "\n".join(lines) + "\n"


def section(finding: Finding) -> str:
    claim, judged = finding.claim, finding.judged
    lines = [
        f"## {claim.key}",
        "",
        f"**{claim.claim}** {claim.source}.",
        "",
        claim.how,
        "",
        f"![{claim.key}: {claim.claim}]({IMAGES}/finding-{claim.key}.png)",
        "",
        f"{SIGNS[finding.verdict]} **{finding.verdict.capitalize()}**, {len(finding.seeds)} seeds, "
        f"{duration(finding.seconds)}.",
        "",
        "| number | criterion | mean and interval | seeds | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for check in judged:
        found = with_unit(interval_in_words(check.estimate), check.unit)
        lines.append(
            f"| {check.what} | {check.criterion} | {found} | {seeds_in_words(check)} | "
            f"{SIGNS[check.verdict]} {check.verdict} |"
        )
    lines += ["", "Per seed, starting with seed 0:", ""]
    each = {check.values: check.what for check in reversed(judged)}  # two checks of one number are listed once
    lines += [*(f"- {what}: {', '.join(map(number_in_words, values))}" for values, what in reversed(each.items())), ""]
    lines += [f"{detail}\n" for check in judged for detail in check.details]
    lines += [f"Threshold moved for {check.what}: {check.moved}\n" for check in judged if check.moved]
    if claim.tried:
        lines += [f"What was tried: {claim.tried}", ""]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------ open questions


def questions_section(findings: Mapping[str, Finding]) -> str:
    asked = [question for question in QUESTIONS if question.claim.key in findings]
    numbers = [numbers_of(question, findings[question.claim.key]) for question in asked]
    adjusted = holm([difference_p(values) for values in numbers])
    lines = [
        "## Open questions",
        "",
        "Believed or published, but not true everywhere, and at this size contradicted by pilots or by others. They "
        "are not graded; this is what the runs above say about them. The last column follows from two tests: one for a "
        f"difference (p ≤ {ALPHA:g} after Holm's correction over all rows), one for equivalence within the margin.",
        "",
        "| question | common answer | measured | margin | result here |",
        "| --- | --- | --- | --- | --- |",
    ]
    for question, values, p in zip(asked, numbers, adjusted, strict=True):
        n = len(findings[question.claim.key].seeds)
        verdict = verdict_name(verdict_of(p, equality_p(values, question.margin)))
        diverged = f"; {n - len(values)} of {n} diverged" if len(values) < n else f"; none of {n} diverged"
        found = with_unit(interval_in_words(estimate(values)), question.unit)
        lines.append(
            f"| {question.question} | {question.believed} | {question.what}: {found}{diverged} | "
            f"±{question.margin:g} {question.unit} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def numbers_of(question: Question, finding: Finding) -> list[float]:
    numbers = [question.number(results) for results in finding.seeds]
    return [value for value in numbers if math.isfinite(value)]
