"""The targets against the Laplacians of the solutions they come from, which torch differentiates."""

import numpy as np
import pytest
import torch
from torch import pi

from kanbench.problems import PROBLEMS
from kanbench.problems.poisson import DIMENSIONS

SOLUTIONS = {  # name: (u, sign), with target = sign · Δu
    "poisson_2d_sin": (lambda x, y: torch.sin(pi * x) * torch.sin(pi * y), -1),
    "poisson_2d_poly": (lambda x, y: x * (1 - x) * y * (1 - y), -1),
    "poisson_2d_highfreq": (lambda x, y: torch.sin(4 * pi * x) * torch.sin(4 * pi * y), -1),
    "poisson_2d_spec": (lambda x, y: torch.sin(pi * x) * torch.sin(pi * y**2), 1),
}
PRODUCTS = {  # the same in any number of dimensions: u at one point
    "sin": (lambda x: torch.sin(pi * x).prod(), -1),
    "poly": (lambda x: (x * (1 - x)).prod(), -1),
    "highfreq": (lambda x: torch.sin(4 * pi * x).prod(), -1),
    "spec": (lambda x: torch.sin(pi * x[0]) * torch.sin(pi * x[1:] ** 2).prod(), 1),
}


def points_of_the_box(n, d):
    return np.random.default_rng(0).uniform(-1, 1, (n, d))


def laplacian(u, points):
    """Of a function of one point, at every point; shape (n, 1)."""
    return np.array([[torch.func.hessian(u)(point).trace().item()] for point in torch.from_numpy(points)])


@pytest.mark.parametrize("name", SOLUTIONS)
def test_target_is_the_laplacian_of_a_known_solution(name):
    u, sign = SOLUTIONS[name]
    points = points_of_the_box(200, 2)
    expected = sign * laplacian(lambda point: u(point[0], point[1]), points)
    np.testing.assert_allclose(PROBLEMS[name].target(points), expected, rtol=1e-12, atol=1e-11, strict=True)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_target_is_the_laplacian_in_any_dimension(name, d):
    u, sign = PRODUCTS[name]
    points = points_of_the_box(5, d)
    points[4, 1] = 0.0  # where factors vanish
    expected, target = sign * laplacian(u, points), PROBLEMS[f"poisson_{d}d_{name}"].target(points)
    np.testing.assert_allclose(target, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max(), strict=True)


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_targets_of_the_square_are_those_of_two_dimensions(name):
    points = points_of_the_box(50, 2)
    general, square = (PROBLEMS[f"poisson_{d}d_{name}"].target(points) for d in (3, 2))
    np.testing.assert_allclose(general, square, rtol=1e-12, atol=1e-11, strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PROBLEMS)
def test_targets_are_in_the_precision_of_the_inputs(name, dtype):
    values = PROBLEMS[name].values(points_of_the_box(7, PROBLEMS[name].dim).astype(dtype))
    assert values.shape == (7, 1) and values.dtype == dtype


def test_names_and_domains():
    square = ["poisson_2d_sin", "poisson_2d_poly", "poisson_2d_highfreq", "poisson_2d_spec"]
    ours = [name for name in PROBLEMS if name.startswith("poisson_")]
    assert ours[:4] == square
    assert set(ours) == {f"poisson_{d}d_{name}" for d in (2, 3, 4, 10, 100) for name in PRODUCTS}
    for name in ours:
        assert PROBLEMS[name].name == name
        assert PROBLEMS[name].domain == ((-1, 1),) * int(name.split("_")[1].removesuffix("d"))
