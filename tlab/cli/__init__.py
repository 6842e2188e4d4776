"""The command `tlab`: its commands, their flags, and what they print."""
