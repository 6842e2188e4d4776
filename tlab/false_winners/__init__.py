"""The lab of false winners: eight mistakes of method, each of which finds a winner where there is none."""
