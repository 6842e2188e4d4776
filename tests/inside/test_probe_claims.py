"""What each probe says of its numbers is true of models that nobody chose; `probe_claims.py` takes many more."""

import pytest

from inside.probe_claims import CLAIMS, false_claims
from tlab.inside import PROBES


def test_every_probe_has_claims_to_check():
    missing, gone = set(PROBES) - set(CLAIMS), set(CLAIMS) - set(PROBES)
    assert not missing, f"write in tests/inside/probe_claims.py what has to be true of the rows of {missing}"
    assert not gone, f"take {gone} off CLAIMS in tests/inside/probe_claims.py"


@pytest.mark.parametrize("seed", range(4))
def test_what_probes_say_of_their_numbers_is_true_of_a_model_of_random_parts(seed):
    checked, false, silent = false_claims(seed)
    assert not false
    assert checked > 40 and len(silent) < 4
