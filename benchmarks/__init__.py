"""Benchmarks: ours beside a reference in one run; one JSON each in results/."""
