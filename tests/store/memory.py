"""Rows of memory for the study made up by hand, counted from its predictions in plain Python."""

import math
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
EPS, LOSS_EPS, HIGH = 0.05, 0.1, 0.9


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p: a fair coin thrown for each discordant example."""
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n
    return min(2 * tail, 1.0)


def cell_row(
    place: Row, cell: Sequence[bool], own: Sequence[bool], earlier: Sequence[bool], classes: int
) -> Row:
    """One row of ``memory``; ``place``: run_id to deep_step, and the training set's gap."""
    n, held = len(own), sum(own)
    kept = sum(a and b for a, b in zip(cell, own, strict=True))
    lost, gained = held - kept, sum(cell) - kept
    forward = place["shallow_step"] < place["deep_step"]
    drop, share = (lost - gained) / n, kept / held
    return place | {
        "eps": EPS,
        "loss_eps": LOSS_EPS,
        "high": HIGH,
        "n": n,
        "accuracy": sum(cell) / n,
        "own_accuracy": held / n,
        "earlier_accuracy": sum(earlier) / n,
        "lost": drop,
        "lost_low": drop - 0.1,
        "lost_high": drop + 0.1,
        "right_to_wrong": lost,
        "wrong_to_right": gained,
        "p": mcnemar(gained, lost),
        "held": held,
        "kept": kept,
        "share": share,
        "share_low": max(share - 0.1, 0.0),
        "share_high": min(share + 0.1, 1.0),
        "loss": 1.0,
        "own_loss": 1.0,
        "loss_difference": 0.0,
        "loss_bound": math.log1p((classes - 1) * math.exp(-place["gamma"])),
        "empirical": True,
        "implied": False,
        "forgotten": (drop - 0.1 > EPS) if forward else None,
    }


def example_row(place: Row, n: int) -> Row:
    """One row of ``memory_examples``: the first example was never right."""
    values = [None, *((i % 4) / 4 for i in range(1, n))]
    return place | {
        "n": n,
        "checkpoints": 8,
        "known": n - 1,
        "memory": place["memory"],
        "memory_low": place["memory"] - 0.05,
        "memory_high": place["memory"] + 0.05,
        "of_examples": values,
    }


def rows(
    run: str,
    sets: dict[str, str],
    cuts: Sequence[tuple[str, int]],
    steps: Sequence[int],
    train: str,
    right: Callable[[str, str, int, int], list[bool]],
    memory_of: float,
    classes: int,
) -> dict[str, list[Row]]:
    """Every row of a run by the kind of its part.

    sets: splits by eval_id; ``right(eval_id, cut, s, t)`` says on which examples a cell is right.
    """
    cells, examples = [], []
    for eval_id, split in sets.items():
        for cut, depth in cuts:
            place = {
                "run_id": run,
                "eval_id": eval_id,
                "split": split,
                "cut": cut,
                "depth": depth,
                "norm": "inherit",
                "dtype": "float32",
                "gamma": 0.0,
            }
            mean = memory_of - (0 if eval_id == train else 0.125)
            n = len(right(eval_id, cut, steps[0], steps[0]))
            examples.append(example_row(place | {"memory": mean}, n))
            for s in steps:
                for t in steps:
                    found = cell_row(
                        place | {"shallow_step": s, "deep_step": t},
                        right(eval_id, cut, s, t),
                        right(eval_id, cut, t, t),
                        right(eval_id, cut, s, s),
                        classes,
                    )
                    gap = None
                    if eval_id != train:
                        of_train, of_network = right(train, cut, s, t), right(train, cut, t, t)
                        gap = (sum(of_network) - sum(of_train)) / len(of_train) - found["lost"]
                    found |= {
                        "train_eval_id": "none" if gap is None else train,
                        "gap": gap,
                        "gap_low": None if gap is None else gap - 0.2,
                        "gap_high": None if gap is None else gap + 0.2,
                    }
                    cells.append(found)
    return {"memory": cells, "memory_examples": examples}
