"""Whether the server of the app keeps memory, over many interactions of one visit."""

from benchmarks.big_store import Size, move, visited
from benchmarks.harness import write
from benchmarks.memory import megabytes

GOAL_GROWTH = 1.05


def measure(
    interactions: int = 1000, warm: int = 200, size: Size | None = None
) -> dict[str, object]:
    """Move the cut ``interactions`` times in one visit, over all of its positions and back.

    ratio: the growth allowed from the ``warm``-th interaction on (caches have filled by then) over
    the growth measured.
    """
    size = size or Size(runs=20)
    seen: dict[int, int] = {}
    with visited(size) as (page, slider, process):
        slider.press("Home")
        page.wait_for_timeout(2000)
        for turn in range(interactions + 1):
            if turn % 100 == 0:
                seen[turn] = megabytes(process)
            there = turn // (size.cuts - 1) % 2 == 0
            move(page, slider, "ArrowRight" if there else "ArrowLeft")
    growth = seen[interactions] / seen[warm]
    return write(
        "server_memory",
        {
            "ratio": round(GOAL_GROWTH / growth, 3),
            "goal": 1.0,
            "reference": f"{GOAL_GROWTH:g} times the memory after {warm} interactions",
            "workload": {"interactions": interactions, "runs": size.runs, "rows": size.rows},
            "megabytes": seen,
            "growth": round(growth, 3),
            "n": 1,
        },
    )
