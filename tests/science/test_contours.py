"""Contours of a class' density: closed forms of a Gaussian, and clouds that fall apart."""

import numpy as np
import pytest

from featdyn_engine.science.contours import FEWEST, density_contours, mass_level


def area(line: np.ndarray) -> float:
    x, y = line.T
    return abs(float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())) / 2


def cloud(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2))


def test_the_region_of_half_a_gaussian_has_its_area() -> None:
    """Half of a standard normal plane lies within radius sqrt(2 ln 2): area 2 pi ln 2 = 4.36."""
    (line,) = density_contours(cloud(4000), 0.5)
    # Smoothing by Scott's rule widens it by n^(-1/3), a few percent here.
    assert area(line) == pytest.approx(2 * np.pi * np.log(2) * (1 + 4000 ** (-1 / 3)), rel=0.06)
    np.testing.assert_array_equal(line[0], line[-1])


def test_more_mass_is_a_larger_region_and_half_of_the_points_lie_inside_half() -> None:
    points = cloud(500)
    areas = [sum(map(area, density_contours(points, mass))) for mass in (0.2, 0.5, 0.9)]
    assert areas == sorted(areas)
    assert areas[2] > 3 * areas[0]


def test_a_cloud_that_falls_apart_has_several_lines() -> None:
    points = np.concatenate([cloud(100), cloud(100, 1) + np.array([12, 0])])
    lines = density_contours(points, 0.5)
    assert len(lines) == 2
    assert sorted(float(line[:, 0].mean().round()) for line in lines) == [0, 12]


def test_few_points_and_points_on_a_line_have_none() -> None:
    assert density_contours(cloud(FEWEST - 1)) == []
    assert density_contours(cloud(30) * [1, 0]) == []
    assert density_contours(np.zeros((30, 2))) == []


def test_the_level_holds_the_mass_asked_for() -> None:
    density = np.array([[4.0, 3.0], [2.0, 1.0]])
    assert mass_level(density, 0.4) == 4
    assert mass_level(density, 0.5) == 3
    assert mass_level(density, 0.95) == 1
    with pytest.raises(ValueError, match="mass: expected above 0 and below 1, got 1"):
        mass_level(density, 1)
