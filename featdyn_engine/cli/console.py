"""What every command has: where it prints, and how it ends."""

from rich.console import Console

EXIT_FINDING = 1
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130

console = Console(highlight=False, markup=False, soft_wrap=True)
