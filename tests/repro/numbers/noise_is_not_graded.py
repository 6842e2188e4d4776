"""A claim that weak data would uphold has no verdict; how much better a norm is, is tested for equivalence alone."""

import numpy as np

from sweeps.findings.claims import CLAIMS
from sweeps.findings.setups import BASELINE, MODIFICATIONS
from sweeps.findings.verdicts import REPRODUCED, judge_checks, verdict_of_claim

WORSE, SPREAD = 0.03, 0.013  # RMSNorm really is worse, by more than the margin of 0.02
CASES = 100
rng = np.random.default_rng(0)
reproduced = 0
for _ in range(CASES):
    differences = {BASELINE: 0.0, **dict.fromkeys(MODIFICATIONS, 0.0), "RMSNorm": WORSE, "LayerNorm": 0.0}
    seeds = [
        {label: {"val_loss": 2 + gap + SPREAD * rng.standard_normal()} for label, gap in differences.items()}
        for _ in range(5)
    ]
    assert verdict_of_claim(judge_checks(CLAIMS["noise-floor"].checks, seeds)) != REPRODUCED
    reproduced += verdict_of_claim(judge_checks(CLAIMS["rmsnorm-parity"].checks, seeds)) == REPRODUCED
assert reproduced <= 0.05 * CASES
print("ok")
