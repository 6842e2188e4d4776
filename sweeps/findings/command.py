"""`python -m sweeps findings`: run the published claims, judge, draw and report them.

The command line has `FindingsCommand` among its commands and calls `execute`.
"""

from __future__ import annotations

import contextlib
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
from tyro.conf import FlagCreatePairsOff, Positional, arg

from sweeps.findings.both_ways import SEEDS_TO_TUNE, SETTING_PAIRS, SettingPair, TunedPair, judge_pair
from sweeps.findings.claim import Claim
from sweeps.findings.claims import CLAIMS
from sweeps.findings.contested import (
    CHANGES,
    CONTESTED,
    MODEL,
    SEEDS_OF_CONTESTED,
    Contested,
    ContestedRun,
    ContestedRuns,
    rates_tried,
)
from sweeps.findings.page import (
    Finding,
    contested_as_text,
    finding_as_text,
    finding_data,
    judged_claims,
    summary_as_text,
    write_page,
)
from sweeps.findings.trials import read_trials, run_trials, text_of, trials_of
from sweeps.grid.begin import BeginConfig
from sweeps.grid.cell_id import Cell
from sweeps.store.provenance import processor
from sweeps.store.record import Record
from tlab.cli.output import CommandResult
from tlab.cli.terminal import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from tlab.judging.learning_rates import LossesByRate
from tlab.text.corpora import Corpus, CorpusError, load_corpus
from tlab.wording import did_you_mean, several

PAGE = "findings.md"


class FindingsError(ValueError):
    """An invalid command; the message says what was given, what is allowed, and what to do."""


@dataclass(frozen=True, kw_only=True)
class OutputArgs:
    """How the result of a command is printed."""

    json: FlagCreatePairsOff[bool] = False
    """Print the result as JSON, with every digit, and nothing else."""


@dataclass(frozen=True, kw_only=True)
class FindingsCommand(OutputArgs):
    """Repeat published claims and judge each: reproduced, partly, not reproduced, or inconclusive.

    The same command again continues where it stopped: every finished run is kept. More seeds run only the new ones.
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="[NAME ...]", help_behavior_hint="(default: all)")] = ()
    """Keys of claims, such as swiglu or no-norm."""
    quick: FlagCreatePairsOff[bool] = False
    """Only the claims that take seconds."""
    seeds: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: as declared, 3 to 16)")] = None
    """Use the seeds 0 to N - 1 for every claim."""
    tune: FlagCreatePairsOff[bool] = False
    """Train what a claim compares at several learning rates, too, and judge it with each setting at its best."""
    jobs: Annotated[int, arg(metavar="N", help_behavior_hint="(default: one per processor core)")] = field(
        default_factory=joblib.cpu_count
    )
    """Runs at a time, each in a process with one BLAS thread."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("results/findings")
    """Where the runs are kept."""
    page: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: findings.md in --out)")] = None
    """The page to write, with its figures in images/ next to it."""

    def execute(self, argv: Sequence[str] = ()) -> int | CommandResult:
        """Run it; exit code 0 where all was measured, whatever the verdicts; 1 where a run failed."""
        claims, contested = chosen(self.names, quick=self.quick)
        if self.seeds is not None and self.seeds < 1:
            raise FindingsError(f"--seeds {self.seeds}: must be at least 1")
        keys = {claim.key for claim in claims}
        pairs = [pair for pair in SETTING_PAIRS if self.tune and pair.claim in keys]
        settings = list(dict.fromkeys(setting for claim in contested for setting in claim.settings))
        corpora = corpora_of(claims, pairs, settings)
        trials = [trial for claim in claims for each in self.trials(claim, corpora).values() for trial in each]
        trials += [trial for pair in pairs for trial in self.trials_of_pair(pair, corpora)]
        trials += [trial for setting in settings for trial in self.trials_of_setting(setting, corpora)]
        num_claims = len(claims) + len(contested)
        print(f"{several(num_claims, 'claim')}, {several(len(set(trials)), 'run')}; kept in {self.out}", flush=True)
        try:
            ended = run_trials(trials, self.out, corpora, jobs=self.jobs)
        except OSError as error:
            print(f"error: {error}; finished runs are kept, and the same command continues", file=sys.stderr)
            return EXIT_FAILED
        if ended.interrupted:
            print("interrupted; finished runs are kept, and the same command continues", file=sys.stderr)
            return EXIT_INTERRUPTED
        if ended.problem:
            print(f"{ended.problem}; the same command continues", file=sys.stderr)
        return self.report(claims, corpora, contested)

    def trials(self, claim: Claim, corpora: Mapping[BeginConfig, Corpus]) -> dict[str, list[Cell]]:
        num_seeds = self.seeds or claim.seeds
        return {label: trials_of(run.measure, run.settings, num_seeds, corpora) for label, run in claim.runs.items()}

    def trials_of_pair(self, pair: SettingPair, corpora: Mapping[BeginConfig, Corpus]) -> list[Cell]:
        """Those of A, then those of B."""
        return [
            trial
            for side in pair.sides
            for rate in pair.rates
            for trial in trials_of(pair.measure, {**side, "learning_rate": rate}, self.seeds or SEEDS_TO_TUNE, corpora)
        ]

    def trials_of_setting(self, setting: str, corpora: Mapping[BeginConfig, Corpus]) -> list[Cell]:
        """Those of one setting of the contested claims, at all of its rates."""
        num_seeds = self.seeds or SEEDS_OF_CONTESTED
        return [
            trial
            for rate in rates_tried(setting)
            for trial in trials_of("attended", {**MODEL, **CHANGES[setting], "learning_rate": rate}, num_seeds, corpora)
        ]

    def report(
        self, claims: Sequence[Claim], corpora: Mapping[BeginConfig, Corpus], contested: Sequence[Contested] = ()
    ) -> CommandResult:
        findings = {}
        for claim in CLAIMS.values():  # the page has all results, whichever claims were asked for
            with contextlib.suppress(CorpusError):  # without its text a claim has no results
                finding = self.finding(claim, {**corpora_of([claim]), **corpora})
                if finding is not None:
                    findings[claim.key] = finding
        complete = [findings[claim.key] for claim in claims if claim.key in findings]
        for finding in complete:
            print(finding_as_text(finding))
        page = self.page or self.out / PAGE
        runs = self.runs(corpora)
        judged = judged_claims(runs)
        for claim in contested:
            if claim.key in judged:
                print(contested_as_text(claim, judged[claim.key]))
        write_page(page, findings, self.tuned(corpora), machine(), runs)
        print(f"\n{summary_as_text(complete)}\n{page}, with its figures in {page.parent / 'images'}")
        is_complete = len(complete) == len(claims) and all(claim.key in judged for claim in contested)
        result = {
            "page": str(page),
            "claims": {finding.claim.key: finding_data(finding) for finding in complete},
            "contested": {
                claim.key: {f"{b} - {a}": pair.verdict for pair in judged[claim.key] for a, b in [pair.names]}
                for claim in contested
                if claim.key in judged
            },
        }
        return CommandResult(result, EXIT_OK if is_complete else EXIT_FAILED)

    def runs(self, corpora: Mapping[BeginConfig, Corpus]) -> ContestedRuns:
        """Of each setting of the contested claims, where every one has ended."""
        found = {}
        for setting in CHANGES:
            with contextlib.suppress(CorpusError):
                trials = self.trials_of_setting(setting, {**corpora_of([], settings=[setting]), **corpora})
                records = read_trials(trials, self.out)
                if all(trial.cell_id in records for trial in trials):
                    by_rate: dict[float, dict[int, ContestedRun]] = {}
                    for trial in trials:
                        record = records[trial.cell_id]
                        outcome = record.measured or {}
                        by_rate.setdefault(trial.train.learning_rate, {})[trial.seed] = ContestedRun(
                            outcome["val_loss"], outcome["first_token"], record.wall_seconds
                        )
                    found[setting] = by_rate
        return found

    def tuned(self, corpora: Mapping[BeginConfig, Corpus]) -> dict[SettingPair, TunedPair]:
        """The pairs of which every run has ended."""
        found = {}
        for pair in SETTING_PAIRS:
            with contextlib.suppress(CorpusError):
                trials = self.trials_of_pair(pair, {**corpora_of([], [pair]), **corpora})
                records = read_trials(trials, self.out)
                if all(trial.cell_id in records for trial in trials):
                    found[pair] = judge_pair(pair, losses_by_side(pair, trials, records))
        return found

    def finding(self, claim: Claim, corpora: Mapping[BeginConfig, Corpus]) -> Finding | None:
        """A claim with its results; None where a run is missing."""
        trials = self.trials(claim, corpora)
        records = read_trials([trial for each in trials.values() for trial in each], self.out)
        if any(trial.cell_id not in records for each in trials.values() for trial in each):
            return None
        found = {label: [records[trial.cell_id] for trial in each] for label, each in trials.items()}
        num_seeds = len(next(iter(found.values())))
        seeds = [{label: each[seed].measured or {} for label, each in found.items()} for seed in range(num_seeds)]
        return Finding(claim, seeds, sum(record.wall_seconds for each in found.values() for record in each))


def chosen(names: Sequence[str], *, quick: bool) -> tuple[list[Claim], list[Contested]]:
    """The graded and the contested claims that were asked for, in the order of their declaration.

    Raises:
        FindingsError: there is no such claim, or none that is quick.
    """
    known = [*CLAIMS, *CONTESTED]
    for name in names:
        if name not in known:
            raise FindingsError(f"unknown claim {name!r}; allowed: {', '.join(known)}.{did_you_mean(name, known)}")
    claims = [claim for key, claim in CLAIMS.items() if not names or key in names]
    contested = [claim for key, claim in CONTESTED.items() if not names or key in names]
    if quick:  # no contested claim is
        claims, contested = [claim for claim in claims if claim.quick], []
    if not claims and not contested:
        fast = ", ".join(key for key, claim in CLAIMS.items() if claim.quick)
        raise FindingsError(f"none of {', '.join(names)} takes only seconds; leave out --quick, or choose from {fast}")
    return claims, contested


def corpora_of(
    claims: Sequence[Claim], pairs: Sequence[SettingPair] = (), settings: Sequence[str] = ()
) -> dict[BeginConfig, Corpus]:
    """Every corpus that they need, `settings` those of contested claims; a CorpusError where one cannot be loaded."""
    read = [run.settings for claim in claims for run in claim.runs.values()]
    read += [side for pair in pairs for side in pair.sides]
    read += [{**MODEL, **CHANGES[setting]} for setting in settings]
    return {text: load_corpus(text.corpus, text.tokenizer) for text in dict.fromkeys(map(text_of, read))}


def losses_by_side(
    pair: SettingPair, trials: Sequence[Cell], records: Mapping[str, Record]
) -> tuple[LossesByRate, LossesByRate]:
    """The losses of A and B in the pair's unit, None of a run that diverged; `trials` are A's, then B's."""

    def of_side(trials: Sequence[Cell]) -> LossesByRate:
        found: dict[float, dict[int, float | None]] = {}
        for trial in trials:
            loss = pair.loss(records[trial.cell_id].measured or {})
            found.setdefault(trial.train.learning_rate, {})[trial.seed] = loss if math.isfinite(loss) else None
        return found

    half = len(trials) // 2
    return of_side(trials[:half]), of_side(trials[half:])


def machine() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # NumPy's; SciPy brings another one
    return (
        f"{processor()}, {joblib.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__} with "
        f"{blas['name']} {blas['version']}"
    )
