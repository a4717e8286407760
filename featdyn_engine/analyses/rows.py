"""What the rows of all analyses have in common."""


def null(value: float) -> float | None:
    """Return NaN as null: SQL would count it as a number."""
    return None if value != value else value
