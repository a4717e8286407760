"""Analyses: each plans its units of work, and computes one as a tidy table."""
