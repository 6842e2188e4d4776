"""The options of the probes: what holds where nothing is said, and which numbers are allowed."""

import math

import pytest

from tlab.config import ConfigError, options
from tlab.inside import PROBES

NUMBERS = {  # probe -> option -> the default, the smallest and the largest number
    "effect": {"factor": (2.0, -math.inf, math.inf), "count": (16, 2, 512)},
    "next": {"factor": (2.0, -math.inf, math.inf), "place": (-1, -math.inf, math.inf)},
    "patch": {"place": (-1, -math.inf, math.inf)},
    "gradients": {"batch_size": (16, 1, 1024), "seed": (0, 0, math.inf)},
    "noise": {"batches": (16, 2, 256), "batch_size": (4, 1, 256), "seed": (0, 0, math.inf)},
    "saliency": {"place": (-1, -math.inf, math.inf)},
    "induction": {"length": (16, 4, 1024), "draws": (16, 1, 256), "seed": (0, 0, math.inf)},
    "places": {"count": (64, 2, 512)},
    "lengths": {"tokens": (8192, 256, 65536)},
    "neuron": {"layer": (0, 0, math.inf), "neuron": (0, 0, math.inf), "top": (10, 1, 100), "count": (64, 1, 512)},
    "says": {"layer": (0, 0, math.inf), "neuron": (0, 0, math.inf), "top": (5, 1, 50)},
    "units": {"count": (16, 1, 512)},
    "activations": {"bins": (16, 2, 200), "count": (16, 1, 512)},
    "stream": {"depth": (None, 0, math.inf)},
    "attribution": {"place": (-1, -math.inf, math.inf)},
    "lens": {"place": (-1, -math.inf, math.inf)},
    "lens_map": {"places": (32, 1, 512)},
    "update": {"batches": (8, 1, 256), "batch_size": (16, 1, 256), "seed": (0, 0, math.inf)},
    "walk": {"place": (0, 0, math.inf)},
}


@pytest.mark.parametrize(("probe", "name"), [(probe, name) for probe, named in NUMBERS.items() for name in named])
def test_a_number_has_its_default_and_may_be_at_either_end_of_its_range_and_not_beyond(probe, name):
    kind, (default, lowest, highest) = PROBES[probe], NUMBERS[probe][name]
    assert getattr(kind(), name) == default
    for end, beyond in ((lowest, lowest - 1), (highest, highest + 1)):
        if math.isfinite(end):
            kind(**{name: end})
            with pytest.raises(ConfigError, match=name):
                kind(**{name: beyond})


def test_the_histogram_reaches_to_four_by_default_and_anywhere_above_zero():
    kind = PROBES["activations"]
    assert kind().reach == 4.0
    for reach in (1e-9, 1000.0):
        kind(reach=reach)
    for reach in (0.0, -1.0, 1000.5):
        with pytest.raises(ConfigError, match="reach"):
            kind(reach=reach)


def test_no_number_is_left_out():
    numbers = {
        (probe, name)
        for probe, kind in PROBES.items()
        for name, option in options(kind).items()
        if isinstance(getattr(kind(), name), (int, float)) or math.isfinite(option.low)
    }
    assert numbers == {(probe, name) for probe, named in NUMBERS.items() for name in named} | {("activations", "reach")}
