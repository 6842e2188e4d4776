"""One folder per tab: its handlers, its view, its scripts and its style."""
