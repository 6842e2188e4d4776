"""What the words of the page mean: a tip on each, and a list of all."""
