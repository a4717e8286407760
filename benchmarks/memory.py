"""What a program holds in memory, with all the processes that it started (Linux)."""

from pathlib import Path


def family(process: int) -> list[int]:
    """Return a process and all that descend from it; nothing of one that has gone."""
    try:
        children = Path(f"/proc/{process}/task").glob("*/children")
        below = [int(each) for path in children for each in path.read_text().split()]
    except OSError:
        return []
    return [process, *(each for child in below for each in family(child))]


def megabytes(process: int) -> int:
    """Memory of a process and its descendants, in MB of 10^6 bytes; a page they share counts once.

    0 where /proc doesn't say.
    """
    kilobytes = 0
    for each in family(process):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        kilobytes += int(text.split("\nPss:")[1].split()[0])
    return kilobytes * 1024 // 10**6
