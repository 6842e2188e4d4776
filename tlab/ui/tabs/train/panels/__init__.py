"""Panels of the Train tab about many runs at once."""
