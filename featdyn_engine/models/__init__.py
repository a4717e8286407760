"""Networks as ordered lists of named blocks."""
