"""The probes, one file per family; each is one registered class."""

from tlab.registry import register_all

register_all(__name__)
