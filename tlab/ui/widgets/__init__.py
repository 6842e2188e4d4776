"""The components that several tabs share, with their scripts and styles."""
