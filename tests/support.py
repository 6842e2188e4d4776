"""What tests share that is no fixture: tiny models, a text, and marks."""

import itertools

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
