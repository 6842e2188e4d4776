"""The folder of a sweep: records, manifest, lock, and where the numbers come from."""
