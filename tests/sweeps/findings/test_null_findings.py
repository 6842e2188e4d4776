"""A small run of `python -m benchmarks.null_findings`: the findings seldom say what is false."""

import math

import numpy as np
import pytest

from benchmarks.null_findings import (
    JUST_FALSE,
    JUST_TRUE,
    false_answer,
    false_modification,
    false_shares,
    false_statements,
    judged_made_up,
    main,
    patterns,
)
from benchmarks.null_sweeps import NOISES, SHARE_LOST
from sweeps.findings.claims import CLAIMS
from sweeps.findings.verdicts import NOT_REPRODUCED, REPRODUCED

FINDINGS = 300
HIGHEST = 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / FINDINGS)


@pytest.mark.parametrize("lost", [0.0, SHARE_LOST])
@pytest.mark.parametrize("key", ["residual-growth", "extrapolation", "rmsnorm-parity"])
def test_a_claim_that_is_just_true_or_just_not_is_seldom_judged_wrongly(key, lost):
    rng = np.random.default_rng(0)
    for truths in patterns(CLAIMS[key])[:2]:
        shares = false_shares(CLAIMS[key], truths, "normal", lost, FINDINGS, rng)
        assert max(shares.values()) <= HIGHEST, shares


@pytest.mark.parametrize("noise", NOISES)
def test_where_nothing_differs_no_modification_is_real_and_no_question_is_answered(noise):
    rng = np.random.default_rng(0)
    for lost in (0.0, SHARE_LOST):
        assert np.mean([false_modification(NOISES[noise], lost, rng) for _ in range(FINDINGS)]) <= HIGHEST
    for difference in (0.0, 1.0):
        assert np.mean([false_answer(NOISES[noise], difference, rng) for _ in range(FINDINGS)]) <= HIGHEST


def test_a_statement_is_false_where_the_truth_is_another():
    rng = np.random.default_rng(0)
    claim = CLAIMS["gradient-depth"]
    judged = judged_made_up(claim, [JUST_TRUE] * 4, NOISES["normal"], 0.0, rng)
    holding = [one._replace(verdict=REPRODUCED) for one in judged]
    failing = [one._replace(verdict=NOT_REPRODUCED) for one in judged]
    mixed = [*holding[:1], *failing[1:]]
    told = [(holding, JUST_FALSE), (failing, JUST_TRUE), (mixed, JUST_TRUE), (mixed, JUST_FALSE)]
    false = [{kind for kind, is_false in false_statements(o, [t] * 4).items() if is_false} for o, t in told]
    assert [kinds & {f"the claim is {word}reproduced" for word in ("", "not ", "partly ")} for kinds in false] == [
        {"the claim is reproduced"},
        {"the claim is not reproduced"},
        {"the claim is partly reproduced"},
        {"the claim is partly reproduced"},
    ]
    assert not any(false_statements(holding, [JUST_TRUE] * 4).values())
    assert not any(false_statements(failing, [JUST_FALSE] * 4).values())
    assert {"a check fails", "a part is not reproduced"} <= false[1] and {"a check holds"} <= false[0]


def test_every_kind_is_printed_with_its_shares(capsys):
    main(findings=1)
    printed = capsys.readouterr().out
    assert printed.count("the claim is partly reproduced") == 4 and printed.count("a modification is real") == 2
