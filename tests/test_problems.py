"""The targets against the Laplacians of the solutions they come from."""

import pytest
import torch
from torch import pi

from kanbench.problems import DIMENSIONS, PROBLEMS

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


@pytest.mark.parametrize("name", SOLUTIONS)
def test_target_is_the_laplacian_of_a_known_solution(name):
    u, sign = SOLUTIONS[name]
    points = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def value(point):
        return u(point[0], point[1])

    laplacian = torch.stack([torch.func.hessian(value)(point).trace() for point in points])
    target = PROBLEMS[name].target(points)
    assert target.shape == (200, 1)
    torch.testing.assert_close(target.squeeze(1), sign * laplacian, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_target_is_the_laplacian_in_any_dimension(name, d):
    u, sign = PRODUCTS[name]
    points = torch.rand(5, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    points[4, 1] = 0.0  # where factors vanish
    laplacian = torch.stack([torch.func.hessian(u)(point).trace() for point in points])
    target = PROBLEMS[f"poisson_{d}d_{name}"].target(points)
    assert target.shape == (5, 1)
    scale = laplacian.abs().max().item()
    torch.testing.assert_close(target.squeeze(1), sign * laplacian, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_targets_of_the_square_are_those_of_two_dimensions(name):
    points = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    general = PROBLEMS[f"poisson_3d_{name}"].target
    torch.testing.assert_close(general(points), PROBLEMS[f"poisson_2d_{name}"].target(points), rtol=1e-12, atol=1e-11)


def test_names_and_domains():
    square = ["poisson_2d_sin", "poisson_2d_poly", "poisson_2d_highfreq", "poisson_2d_spec"]
    assert list(PROBLEMS)[:4] == square
    assert set(PROBLEMS) == {f"poisson_{d}d_{name}" for d in (2, 3, 4, 10, 100) for name in PRODUCTS}
    for name, problem in PROBLEMS.items():
        assert problem.name == name
        assert problem.domain == ((-1, 1),) * int(name.split("_")[1].removesuffix("d"))
