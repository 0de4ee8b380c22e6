"""Benchmarks: one module each, `python -m bench NAME`, figures as ratios within one run."""
