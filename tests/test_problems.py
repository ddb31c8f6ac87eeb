"""The targets against the Laplacians of the solutions they come from."""

import pytest
import torch
from torch import pi

from kanbench.problems import PROBLEMS

SOLUTIONS = {  # name: (u, sign), with target = sign · Δu
    "poisson_2d_sin": (lambda x, y: torch.sin(pi * x) * torch.sin(pi * y), -1),
    "poisson_2d_poly": (lambda x, y: x * (1 - x) * y * (1 - y), -1),
    "poisson_2d_highfreq": (lambda x, y: torch.sin(4 * pi * x) * torch.sin(4 * pi * y), -1),
    "poisson_2d_spec": (lambda x, y: torch.sin(pi * x) * torch.sin(pi * y**2), 1),
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


def test_the_four_problems_are_on_the_square():
    assert list(PROBLEMS) == ["poisson_2d_sin", "poisson_2d_poly", "poisson_2d_highfreq", "poisson_2d_spec"]
    assert all(problem.domain == ((-1, 1), (-1, 1)) for problem in PROBLEMS.values())
