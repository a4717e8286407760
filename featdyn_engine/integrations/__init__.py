"""Recorders for training libraries; each module imports its library when it is imported."""
