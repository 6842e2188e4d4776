"""Claims from the literature, each tested by runs of its own."""
