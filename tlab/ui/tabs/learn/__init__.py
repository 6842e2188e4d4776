"""The Learn tab: lessons in steps, and the strip that leads through them on the other tabs."""
