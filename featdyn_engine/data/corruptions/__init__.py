"""Corrupted images, made here: the 15 + 4 kinds of Hendrycks & Dietterich, C-like."""
