"""How fast the lab is, and against whom: `python -m benchmarks`."""
