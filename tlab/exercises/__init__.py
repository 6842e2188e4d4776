"""Exercises: write a part of the lab yourself, and hear what is right, what is wrong, and which mistake it is."""

import tlab.exercises.parts  # noqa: F401, what they define registers itself
from tlab.exercises.checking import Report, check
from tlab.exercises.exercise import EXERCISES
from tlab.exercises.folder import check_answer

__all__ = ["EXERCISES", "Report", "check", "check_answer"]
