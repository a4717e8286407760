"""What goes wrong in a way that the user can mend."""


class InputError(ValueError):
    """Wrong input by a user: one line that says what was expected, what came, what to do."""


class RunFailedError(RuntimeError):
    """A training that can't go on: ``step`` counts updates done, the message gives the cause."""

    def __init__(self, step: int, cause: str) -> None:
        super().__init__(cause)
        self.step = step
