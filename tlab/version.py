"""The version, in a file that needs nothing else."""

VERSION = "0.1.0"
