"""Published results for the problems, to compare ours with.

Figures are quoted as printed. Those from arXiv:2509.03417 are medians of five trainings, all others are single
trainings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kanbench.problems.feynman import SINGULAR

Measure = Literal["relative L2", "test RMSE", "train MSE"]


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes:
        problem (str): The name of the problem.
        measure (str): `relative L2` is ‖f̂ - f‖ / ‖f‖ on a regular grid; `test RMSE` and `train MSE` are on samples.
        value (float): The figure.
        what (str): The set-up, in words.
        source (str): The publication.
        grid (int, optional): Intervals of the grid after which it was measured, if the training has several grids.
        parameters (int, optional): The number of parameters of the network.
        singular (bool): Whether the target has a singularity on its domain; such problems are reported separately.
    """

    problem: str
    measure: Measure
    value: float
    what: str
    source: str
    grid: int | None = None
    parameters: int | None = None
    singular: bool = False

    @property
    def set_up(self) -> str:
        """The set-up in words, with grid and number of parameters if known."""
        grid = None if self.grid is None else f"G = {self.grid}"
        size = None if self.parameters is None else f"{self.parameters} parameters"
        return ", ".join(filter(None, (self.what, grid, size)))


INITIALIZATION = "arXiv:2509.03417"
NOTEBOOK = "pykan, Example_8_scaling"
MULTILEVEL = "arXiv:2603.04827, table 2"

# By function: default and Glorot initialization at [2, 8, 1] and G = 20, then the best of all sizes and schemes, and
# where it was found.
_INITIALIZATION: dict[str, tuple[float, float, float, str]] = {
    "f1": (2.1e-2, 5.4e-3, 2.5e-3, "[2, 64, 1], G = 40"),
    "f2": (1.9e-2, 4.5e-3, 1.1e-3, "[2, 64, 1], G = 20"),
    "f3": (1.7e-2, 3.6e-3, 1.1e-3, "[2, 64, 1], G = 20"),
    "f4": (9.5e-2, 7.7e-2, 4.9e-2, "4 hidden layers of 16, G = 40"),
    "f5": (8.4e-2, 7.2e-2, 5.0e-2, "4 hidden layers of 32, G = 5"),
}

# By equation: the small network ([d, 8, 8, 1], G = 5) and the large one ([d, 32, 32, 32, 1], G = 20).
_FEYNMAN: tuple[tuple[float, float], ...] = (
    (4.0e-1, 3.9e-1),
    (4.3e-1, 4.6e-1),
    (1.1e-3, 1.7e-4),
    (7.6e-1, 1.1),
    (2.9e-2, 1.5e-2),
    (1.0, 1.0),
    (3.1e-3, 1.3e-3),
    (1.0, 1.0),
    (6.8e-3, 2.6e-3),
    (1.7e-3, 4.2e-4),
    (1.8e-3, 6.2e-4),
    (1.2e-3, 2.2e-4),
    (1.4e-3, 5.0e-4),
    (1.9e-2, 4.4e-3),
    (4.1e-3, 3.0e-3),
    (2.7e-3, 1.9e-3),
    (1.5e-3, 7.8e-4),
    (3.4e-3, 4.9e-3),
    (2.2e-3, 8.7e-5),
    (4.4e-3, 3.0e-3),
)

# By grid: exp(sin πx + y²) with 3000 training samples.
_EXP_SIN = {5: 6.77e-3, 10: 3.35e-4, 20: 1.86e-5, 50: 4.93e-7, 100: 3.27e-8}

# By training, with [2, 5, 1].
_MULTILEVEL: dict[str, tuple[float, int | None]] = {
    "multilevel": (3.67e-5, 230),
    "best perceptron": (3.3e-4, None),
    "coarse grid alone": (1.65e-3, None),
    "fine grid alone": (2.54e-3, None),
}


def _every() -> Iterable[Published]:
    for name, (default, glorot, best, where) in _INITIALIZATION.items():
        for value, what in (
            (default, "[2, 8, 1], G = 20, default initialization"),
            (glorot, "[2, 8, 1], G = 20, Glorot"),
            (best, f"best of all sizes and schemes: {where}"),
        ):
            yield Published(f"initialization_{name}", "relative L2", value, what, INITIALIZATION)
    for number, values in enumerate(_FEYNMAN, start=1):
        name = f"feynman_{number:02d}"
        for value, what in zip(values, ("[d, 8, 8, 1], G = 5", "[d, 32, 32, 32, 1], G = 20"), strict=True):
            yield Published(name, "relative L2", value, what, INITIALIZATION, singular=name in SINGULAR)
    for grid, value in _EXP_SIN.items():
        yield Published("kan_paper_exp_sin", "test RMSE", value, "[2, 1, 1], 3000 samples", NOTEBOOK, grid)
    for what, (value, parameters) in _MULTILEVEL.items():
        yield Published("multilevel", "train MSE", value, what, MULTILEVEL, parameters=parameters)


PUBLISHED: tuple[Published, ...] = tuple(_every())


def published_of(problem: str) -> tuple[Published, ...]:
    """The published figures of a problem; empty if there are none."""
    return tuple(figure for figure in PUBLISHED if figure.problem == problem)
