"""The Train tab: A against B, live."""
