"""Colours stay apart for people who see two of the three primary colours alike."""

from itertools import combinations

import numpy as np
import pytest

from app.charts.style import ARM_COLOURS, CLASS_COLOURS

# Machado, Oliveira & Fernandes 2009, full severity, on linear RGB.
SIGHTS = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
# In CIELAB; 2.3 is about what can just be told apart side by side.
LEAST = 17.0


def linear(colour: str) -> np.ndarray:
    levels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of linear RGB."""
    x, y, z = TO_XYZ @ rgb.clip(0, 1) / [0.95047, 1, 1.08883]
    f = [np.cbrt(v) if v > (6 / 29) ** 3 else v / (3 * (6 / 29) ** 2) + 4 / 29 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def least(colours: list[str], sight: str) -> float:
    seen = [lab(SIGHTS[sight] @ linear(colour)) for colour in colours]
    return min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2))


def test_lab_of_known_colours() -> None:
    np.testing.assert_allclose(lab(linear("#FFFFFF")), [100, 0, 0], atol=0.02)
    np.testing.assert_allclose(lab(linear("#FF0000")), [53.24, 80.09, 67.20], atol=0.02)


def test_red_and_green_of_one_lightness_are_told_apart_by_usual_sight_alone() -> None:
    pair = ["#C05050", "#708040"]
    assert least(pair, "usual") > 40
    assert least(pair, "deuteranopia") < 20


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("colours", [ARM_COLOURS, CLASS_COLOURS], ids=["arms", "classes"])
def test_any_two_colours_stay_apart(colours: list[str], sight: str) -> None:
    assert least(colours, sight) >= LEAST
