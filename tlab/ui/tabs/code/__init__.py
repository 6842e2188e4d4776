"""The Code tab: the formula and the source of every part."""
