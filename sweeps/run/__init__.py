"""Training the cells of a plan: driver, workers and backends."""
