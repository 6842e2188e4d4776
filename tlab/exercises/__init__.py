"""Exercises: write a part of the lab yourself, and hear what is right, what is wrong, and which mistake it is."""

# isort: off
# In the order in which they are best done.
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
from tlab.exercises.checking import Report, check
from tlab.exercises.exercise import EXERCISES
from tlab.exercises.folder import check_answer

__all__ = ["EXERCISES", "Report", "check", "check_answer"]
