"""The options of a training: what holds where nothing is said, what is allowed, and what a slider offers.

Whoever leaves an option out gets the same run in every edition, and a recorded run is never refused by a later one. So
the numbers stand here again.
"""

import math

import pytest

from tlab import ComputeConfig, ConfigError, TrainConfig
from tlab.config import options

DEFAULTS = {
    "steps": 1000, "batch_size": 16, "learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 50,
    "min_learning_rate": None, "optimizer": "adamw", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "momentum": 0.9,
    "weight_decay": 0.1, "gradient_clip": 1.0, "validation_every": 250, "max_loss": 1000.0, "seed": 0,
    "data_seed": None,
}  # fmt: skip
ALLOWED = {  # the smallest and the largest value
    "steps": (1, math.inf), "batch_size": (1, math.inf), "warmup_steps": (0, math.inf), "min_learning_rate": (0, 3e-3),
    "beta1": (0, 0.9999), "beta2": (0, 0.99999), "momentum": (0, 0.9999), "weight_decay": (0, math.inf),
    "gradient_clip": (0, math.inf), "validation_every": (0, math.inf), "seed": (0, 2**32 - 1),
    "data_seed": (0, 2**32 - 1), "z_loss": (0, math.inf), "label_smoothing": (0, 0.99),
    "dropout": (0, 0.99), "ema_decay": (0, 0.99999),
}  # fmt: skip
ABOVE_ZERO = ("learning_rate", "epsilon", "max_loss", "adam_ratio")
OFFERED = {
    "steps": (50, 5000), "batch_size": (1, 64), "learning_rate": (1e-5, 1e-1), "warmup_steps": (0, 500),
    "beta1": (0, 0.99), "beta2": (0.9, 0.9999), "epsilon": (1e-10, 1e-4), "momentum": (0, 0.99), "weight_decay": (0, 1),
    "gradient_clip": (0, 10), "validation_every": (0, 1000), "max_loss": (10, 1000), "seed": (0, 100),
    "z_loss": (0, 0.01), "label_smoothing": (0, 0.5), "dropout": (0, 0.5), "ema_decay": (0, 0.995),
    "adam_ratio": (0.01, 10),
}  # fmt: skip


def test_a_training_of_which_nothing_is_said_is_the_same_in_every_edition():
    assert TrainConfig().to_json() == DEFAULTS
    assert ComputeConfig().to_json() == {"threads": None, "micro_batches": 1, "recompute": False}


@pytest.mark.parametrize("name", ALLOWED)
def test_an_option_may_be_at_either_end_of_its_range_and_not_beyond(name):
    lowest, highest = ALLOWED[name]
    TrainConfig(**{name: lowest})
    with pytest.raises(ConfigError, match=name):
        TrainConfig(**{name: lowest - 1})
    if highest < math.inf:
        TrainConfig(**{name: highest})
        with pytest.raises(ConfigError, match=name):
            TrainConfig(**{name: highest + (1 if isinstance(highest, int) else 1e-6)})


@pytest.mark.parametrize("name", ABOVE_ZERO)
def test_what_has_to_be_above_zero_may_be_as_small_as_one_likes(name):
    TrainConfig(**{name: 1e-300, "min_learning_rate": 0})
    for refused in (0.0, -1e-300):
        with pytest.raises(ConfigError, match=f"{name} = .*: must be more than 0"):
            TrainConfig(**{name: refused, "min_learning_rate": 0})


@pytest.mark.parametrize(("name", "lowest", "highest"), [("threads", 1, 256), ("micro_batches", 1, 10**6)])
def test_a_batch_is_worked_on_in_one_part_at_least(name, lowest, highest):
    ComputeConfig(**{name: lowest})
    ComputeConfig(**{name: highest})
    with pytest.raises(ConfigError, match=f"{name} = {lowest - 1}: must be at least {lowest}"):
        ComputeConfig(**{name: lowest - 1})


def test_no_more_threads_are_allowed_than_machines_have():
    with pytest.raises(ConfigError, match="threads = 257: must be at least 1 and at most 256"):
        ComputeConfig(threads=257)


def test_a_slider_offers_what_is_worth_trying_and_the_default_is_among_it():
    offered = {name: option.typical for name, option in options(TrainConfig).items() if option.typical}
    assert offered == OFFERED
    for name, (low, high) in offered.items():
        assert low <= getattr(TrainConfig(), name) <= high, name
        for end in (low, high):
            assert options(TrainConfig)[name].complaint(end) is None, name


def test_a_schedule_may_stay_at_its_peak():
    assert TrainConfig(learning_rate=1e-3, min_learning_rate=1e-3).final_learning_rate == 1e-3
