"""What looks into trained models: a process of its own, its tasks, and a cache of their results."""
