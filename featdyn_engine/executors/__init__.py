"""Executors: where units of work run. Each yields what became of a unit, as it ends."""
