"""Training: the step, its optimizer and schedule, threads, and what is saved."""
