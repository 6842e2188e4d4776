"""The Compare tab: all runs of this visit."""
