"""The lab of false winners: eight mistakes of method, each of which makes one of two equal models win."""
