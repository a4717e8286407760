"""Corrupted images, made here (C-like) or read from official files."""
