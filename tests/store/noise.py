"""Made-up rows of ``noise`` and its companions, for the study of ``cube.py``."""

from typing import Any

Row = dict[str, Any]
SOURCES = ("sgd", "global", "tensorwise")
STEPS, LATER = (0, 20), {0: 10, 20: 40}
EXAMPLES = (3, 7)
DRAWS, CHANNELS = 20, 4
BATCH_SIZES = (8, 32)
EFFECTS = ("participation_ratio", "first_share", "components_90", "effective_rank", "slope")
TESTS = ("mauchly", "john", "ledoit_wolf", "tracy_widom", "spatial_sign")


def _places(run: str, eval_id: str, cuts: tuple[tuple[str, int], ...]) -> list[Row]:
    named: list[tuple[str, int, int]] = [("parameters", 0, -1)]
    named += [(cut, depth, example) for cut, depth in cuts for example in EXAMPLES]
    return [
        {
            "run_id": run,
            "eval_id": eval_id,
            "split": "test",
            "cut": cut,
            "depth": depth,
            "step": step,
            "example": example,
            "norm": "inherit",
            "batch_size": size,
            "step_rule": "sgd",
            "representation": "channel_means" if example >= 0 else "parameters",
            "source": source,
            "n": DRAWS,
            "p": CHANNELS,
        }
        for step in STEPS
        for cut, depth, example in named
        for size in BATCH_SIZES
        for source in (SOURCES if example >= 0 else SOURCES[:1])
    ]


def rows(run: str, eval_id: str, cuts: tuple[tuple[str, int], ...]) -> dict[str, list[Row]]:
    """Rows of each part of one unit. Noise of SGD moves in half as many directions as controls."""
    places = _places(run, eval_id, cuts)
    spectra = [
        place
        | {"rank": rank, "eigenvalue": 1.0 / rank, "band_low": 0.4 / rank, "band_high": 1.5 / rank}
        for place in places
        for rank in range(1, CHANNELS + 1)
    ]
    tests = [place | _tested(place) for place in places]
    aligned = [
        place | _aligned(place) | {"later_step": LATER[place["step"]]}
        for place in places
        if place["example"] >= 0
    ]
    return {"noise": spectra, "noise_tests": tests, "noise_alignment": aligned}


def _tested(place: Row) -> Row:
    of_control = place["source"] != "sgd"
    dimension = 2.0 if of_control else 1.0
    row: Row = {"lr": 0.1, "augmentation": "none", "optimizer_state": "none"}
    row |= {"mauchly_null": "monte carlo"}
    row |= {"pr_sign": dimension, "pr_sign_low": dimension / 2, "pr_sign_high": dimension * 2}
    row |= {name + end: 1.0 for name in EFFECTS for end in ("", "_isotropic")}
    row |= {"slope_first": 1, "slope_last": 2, "edge_low": 0.3, "edge_high": 2.0}
    row |= {name + end: 0.01 for name in TESTS for end in ("", "_p")}
    delta = {"delta": -0.7, "delta_low": -0.9, "delta_high": -0.5}
    delta |= {"delta_p": 0.001, "delta_p_holm": 0.002, "delta_p_bh": 0.001}
    row |= {name: value if of_control else None for name, value in delta.items()}
    return row | {"verdict": "anisotropic" if of_control else None}


def _aligned(place: Row) -> Row:
    row: Row = {"k": 2, "m": 2, "overlap": 0.6, "overlap_random": 0.5}
    row["alignment"] = 0.8 if place["source"] == "sgd" else 0.7
    for name in ("uniform", "features"):
        row |= {name: 0.5, f"{name}_low": 0.1, f"{name}_high": 0.9}
    return row
