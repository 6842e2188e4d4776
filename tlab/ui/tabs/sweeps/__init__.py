"""The Sweeps tab: the results of a sweep as a map."""
