"""Lessons: files of data in texts/, what a learner does in them, and what came of it in the learner's own runs."""
