"""The transformer, in reading order: activations, norms ... attention, residuals, model."""
