"""The probes, one file per family; each is one registered class."""
