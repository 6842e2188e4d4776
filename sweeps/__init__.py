"""Sweeps: grids of training runs, side by side, in tables and figures. `python -m sweeps run --help` tells the rest."""
