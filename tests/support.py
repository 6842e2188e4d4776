"""What tests share that is no fixture: tiny models, a text, and marks."""

import itertools
import math

import numpy as np
import pytest

from tlab import ModelConfig
from tlab.nn.activations import ACTIVATIONS
from tlab.nn.norms import NORMS
from tlab.nn.positions import POSITIONS
from tlab.nn.residuals import RESIDUALS

EVIL = '<img src=x onerror="window.hacked=1">'  # what a browser would obey if it were not escaped
SMALL = {"context_length": 8, "hidden_dim": 8, "num_layers": 1, "num_heads": 2}  # a model for the app's forms
VERSE = "the quick brown fox jumps over the lazy dog while five wizards box; "


NOISE_OF_GRADIO = (
    # Its servers and clients leave these open: only what says so is let pass, in the modules that start it.
    "ignore:unclosed event loop:ResourceWarning",
    "ignore:unclosed <socket.socket:ResourceWarning",
    # Its queue's statistics, under a new pandas; raised there, they would end the queue.
    "ignore:'future.no_silent_downcasting' is deprecated",
    "ignore:The copy keyword is deprecated",
)


# Of a module that starts Gradio: pytestmark = GRADIO
GRADIO = [pytest.mark.filterwarnings(*NOISE_OF_GRADIO), pytest.mark.usefixtures("leftovers_of_gradio")]


TINY_SWEEP = {"context_length": (8,), "hidden_dim": (8,), "num_heads": (2,), "num_layers": (1,), "steps": (5,)}


def tiny(**changes) -> ModelConfig:
    """A model of every part, as small as it can be without hiding a mistake: no two of its sizes are equal."""
    return ModelConfig(
        **{
            "vocab_size": 11,
            "context_length": 8,
            "hidden_dim": 12,
            "num_layers": 2,
            "num_heads": 3,
            "mlp_ratio": 2.5,
            **changes,
        }
    )


def all_combinations() -> list:
    """Norm x activation x residual x position, as registered now."""
    return [
        pytest.param(
            tiny(norm=norm, activation=activation, residual=residual, position=position),
            id=f"{norm}-{activation}-{residual}-{position}",
        )
        for norm, activation, residual, position in itertools.product(NORMS, ACTIVATIONS, RESIDUALS, POSITIONS)
    ]


# ------------------------------------------------------------------------------------------ losses over learning rates

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)


def parabola(optimum, curvature=0.1, seeds=3, rates=RATES, noise=0.0, lowest=2.0):
    """Losses on a parabola over log rate; a seed moves them all by a tenth of its number, and some noise each."""
    rng = np.random.default_rng(0)
    return {
        rate: {
            seed: lowest + seed / 10 + curvature * math.log(rate / optimum) ** 2 + noise * rng.standard_normal()
            for seed in range(seeds)
        }
        for rate in rates
    }
