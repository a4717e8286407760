"""Names from a store or a link, on their way into sentences that Streamlit reads as Markdown."""

import re

# What Markdown, and Streamlit's own directives, icons and formulas, would read as more than a name.
MARKUP = re.compile(r"([\\`*_\[\]<>~$#|!&:])")
# Letters that can't be seen: controls, and those that turn the direction of writing.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]+")
# Addresses become links even where their punctuation is escaped; a word joiner, unseen, stops it.
ADDRESS = re.compile(r"(//|www(?=\.))", re.IGNORECASE)
LONGEST = 80


def shortened(text: object, most: int = LONGEST) -> str:
    """Return a text on one line, its end left out where it is longer than ``most`` characters."""
    line = " ".join(UNSEEN.sub(" ", str(text)).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def plain(text: object, most: int = LONGEST) -> str:
    """Return a text as Markdown that shows it, shortened, letter by letter: no link, no markup."""
    escaped = MARKUP.sub(r"\\\1", shortened(text, most))
    return ADDRESS.sub(lambda found: f"{found[0][:-1]}\u2060{found[0][-1]}", escaped)


def counted(number: int, noun: str) -> str:
    """Say how many there are of something whose plural ends in s.

    >>> counted(1, "run"), counted(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
