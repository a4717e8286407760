"""What other people's readers say about a broken file, made fit for one line."""

from pathlib import Path
from urllib.error import URLError

LONGEST = 300


def reason(problem: BaseException) -> str:
    """Return what went wrong, on one line: an exception's text, or its name where it has none."""
    if isinstance(problem, FileNotFoundError) and problem.filename is not None:
        return f"no file {problem.filename}"
    # The reason of "<urlopen error [Errno 111] Connection refused>", without its wrapping.
    inner = problem.reason if type(problem) is URLError else problem
    text = " ".join(str(inner).split()) or type(problem).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def named(folder: str) -> Path:
    """Return the folder that a user names; ``~`` is the home of the user."""
    return Path(folder).expanduser()
