"""Measurements behind every performance claim: one file per claim, run by `python -m benchmarks`."""
