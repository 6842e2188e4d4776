"""The exercises, one file for those about one kind of part: first these, as they are best done; then others."""

# isort: off
import tlab.exercises.parts.norms
import tlab.exercises.parts.activations
import tlab.exercises.parts.losses
import tlab.exercises.parts.positions
import tlab.exercises.parts.attention
import tlab.exercises.parts.kv_cache
import tlab.exercises.parts.steps
import tlab.exercises.parts.sampling
import tlab.exercises.parts.bpe  # noqa: F401

# isort: on
from tlab.registry import register_all

register_all(__name__)
