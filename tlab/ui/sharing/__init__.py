"""A run as one zip that repeats it, and back."""
