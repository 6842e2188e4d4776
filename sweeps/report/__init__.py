"""The report of a sweep: one HTML page, figures, and an archive."""
