"""Grid policies: how the grids of a network change between and within the stages of a training.

A spline with knots t and coefficients c is a function on the whole real line, zero outside the knots. Inserting a knot
(Boehm, 1980), or adding one outside with a zero coefficient, gives the same function with one more basis function.
pykan's domain [t_k, t_{n-k}] contains the G intervals; the k knots on either side are part of the spline, so they are
kept too. Nodes may have different numbers of intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kanbench.io.kernel_cache import cache
from kanbench.network.attribution import important_nodes, node_scores
from kanbench.network.evaluation import Activations
from kanbench.network.grid_update import update_grids
from kanbench.network.knot_insertion import SMALLEST_INTERVAL, halve_intervals
from kanbench.network.spline_network import SplineNetwork
from kanbench.network.splines import evaluate_splines
from kanbench.problems import Array

POINTS_OF_REFIT = 8  # per coefficient


class KnotInsertion:
    """The default policy: each node gets the stage's grid by knot insertion, which keeps the function.

    Within a stage the grids do not change. `activations` are always those of the given network on the training samples.

    Attributes:
        columns (dict): Additional columns of the history about the grids.
    """

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def begin(self, network: SplineNetwork, activations: Activations) -> None:
        """Called before the first stage, which uses the network's own grids."""

    def refine(self, network: SplineNetwork, grid: int, activations: Activations) -> SplineNetwork:
        """The network for the next stage, with `grid` intervals."""
        return refine(network, [[grid] * layer.inputs for layer in network.layers], activations)

    def updates(self, epoch: int) -> bool:
        """Whether grids are updated before this epoch of the stage, counted from 0."""
        return False

    def update(self, network: SplineNetwork, activations: Activations) -> SplineNetwork:
        """The network with updated grids of the same sizes."""
        return network

    def state(self) -> dict[str, Any]:
        """The state from which a policy with the same settings can resume: numbers, text, lists and dicts."""
        return {"columns": dict(self.columns)}

    def resume(self, state: dict[str, Any]) -> None:
        self.columns = dict(state["columns"])


class UniformRefit(KnotInsertion):
    """Refit: uniform grids over the range of the activations, with splines fitted to the old ones by least squares.

    Knot insertion can only halve old intervals, so with 50 intervals from 20 the widest are as wide as with 40. Here
    all are equal, but the function changes slightly, because the new splines cannot represent the old ones exactly.
    """

    def refine(self, network: SplineNetwork, grid: int, activations: Activations) -> SplineNetwork:
        rows = []
        for layer, inputs in zip(network.layers, activations.layer_inputs(), strict=True):
            nodes = zip(layer.knots, layer.coef, inputs.T, strict=True)
            rows.append([refit_row(t, c, layer.order, grid, np.sort(samples)) for t, c, samples in nodes])
        return network.with_rows(rows)


class AttributionRefinement(KnotInsertion):
    """Knot insertion in which a node's grid depends on its attribution score at the beginning of the stage.

    Args:
        approach (str): `baseline`: all nodes get the stage's grid. `adaptive_only`: important nodes get it, the others
            keep theirs. `adaptive_regular`: all nodes get it, important ones `refinement_factor` times as many
            intervals.
        rule, fraction, score_threshold: Which nodes are important; see
            `kanbench.network.attribution.important_nodes`. In the baseline, all nodes are.
        refinement_factor (float): For `adaptive_regular`.
    """

    def __init__(
        self, approach: str, rule: str, fraction: float, score_threshold: float, refinement_factor: float
    ) -> None:
        super().__init__()
        self.approach, self.refinement_factor = approach, refinement_factor
        self.rule, self.fraction, self.score_threshold = rule, fraction, score_threshold

    def begin(self, network: SplineNetwork, activations: Activations) -> None:
        self._important(network, activations)

    def refine(self, network: SplineNetwork, grid: int, activations: Activations) -> SplineNetwork:
        finer = {
            "baseline": lambda important: grid,
            "adaptive_only": lambda important: grid if important else 1,  # refine never shrinks a grid
            "adaptive_regular": lambda important: (
                max(round(self.refinement_factor * grid), grid + 1) if important else grid
            ),
        }[self.approach]
        important = self._important(network, activations)
        return refine(network, [[finer(node) for node in layer] for layer in important], activations)

    def _important(self, network: SplineNetwork, activations: Activations) -> list[list[bool]]:
        """Which nodes are important, by layer; recorded in `columns`."""
        if self.approach == "baseline":  # needs no scores, and must not spend time on them
            important, threshold = [[True] * layer.inputs for layer in network.layers], 0.0
        else:
            scores = node_scores(activations.deviations())
            selected, threshold = important_nodes(scores, self.rule, self.fraction, self.score_threshold)
            important = [layer.tolist() for layer in selected]
        self.columns = {
            "attribution_threshold": threshold,
            "important_neurons": sum(map(sum, important)),
            "total_neurons": sum(map(len, important)),
        }
        return important


class GridUpdates(KnotInsertion):
    """Grid updates in the first stage, at the same epochs as in `MultKAN.fit`; then knot insertion.

    An update moves a node's grid to its activations and refits its splines, so it does not keep the function exactly.

    Args:
        update_every (int): Epochs between grid updates in a stage; 0 for none. pykan's default is 5.
        start, stop (int): The range of epochs of a stage with updates, start <= epoch < stop: pykan's
            `start_grid_update_step` and `stop_grid_update_step`.
    """

    def __init__(self, update_every: int, start: int = 0, stop: int = 50) -> None:
        super().__init__()
        self.update_every, self.start, self.stop = update_every, start, stop
        self.updating = True

    def refine(self, network: SplineNetwork, grid: int, activations: Activations) -> SplineNetwork:
        self.updating = False
        return super().refine(network, grid, activations)

    def updates(self, epoch: int) -> bool:
        due = self.update_every > 0 and epoch % self.update_every == 0
        return self.updating and due and self.start <= epoch < self.stop

    def update(self, network: SplineNetwork, activations: Activations) -> SplineNetwork:
        return update_grids(network, activations.x)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "updating": self.updating}

    def resume(self, state: dict[str, Any]) -> None:
        super().resume(state)
        self.updating = state["updating"]


class PykanRefit(GridUpdates):
    """pykan's own `refine`, and its own grid updates in every stage. Neither keeps the function exactly.

    They run on the CPU, because least squares on a GPU need matrices of full rank, and pykan's are not. All nodes have
    the same number of intervals.
    """

    def refine(self, network: SplineNetwork, grid: int, activations: Activations) -> SplineNetwork:
        from kanbench.network.pykan import refit

        return refit(network, grid, activations.x)

    def update(self, network: SplineNetwork, activations: Activations) -> SplineNetwork:
        from kanbench.network.pykan import update_grid

        return update_grid(network, activations.x)


def make_policy(policy: str, **settings: Any) -> KnotInsertion:
    """Make the policy with this name in the settings."""
    policies = {
        "preserve": KnotInsertion,
        "refit": UniformRefit,
        "updates": GridUpdates,
        "pykan": PykanRefit,
        "importance": AttributionRefinement,
    }
    return policies[policy](**settings)


def refine(network: SplineNetwork, sizes: Sequence[Sequence[int]], activations: Activations) -> SplineNetwork:
    """Refine the grids of individual nodes without changing the function.

    Args:
        sizes (sequences of int): By layer, the desired intervals of each input node. Nodes that already have as many
            keep their grids.
        activations (Activations): Of the network on the training samples; they determine where new knots go.
    """
    cache.open()
    rows = []
    for layer, wanted, inputs in zip(network.layers, sizes, activations.layer_inputs(), strict=True):
        nodes = zip(layer.knots, layer.coef, wanted, layer.intervals, inputs.T, strict=True)
        rows.append([refine_row(t, c, layer.order, max(size, has), np.sort(s)) for t, c, size, has, s in nodes])
    return network.with_rows(rows)


def refine_row(t: Array, c: Array, k: int, grid: int, samples: Array) -> tuple[Array, Array]:
    """Refine the splines of one node without changing them, in float64.

    New knots first extend the domain until it covers the samples; each of the rest halves the widest interval that
    contains samples.

    Args:
        t (array of shape (G + 1 + 2k,)): The knots.
        c (array of shape (outputs, G + k)): The coefficients.
        k (int): The order.
        grid (int): The desired number of intervals, at least G.
        samples (array of shape (n,), sorted): The activations at this node.

    Returns:
        t, c (arrays of shapes (grid + 1 + 2k,) and (outputs, grid + k))

    Raises:
        ValueError: `grid` is less than G.
    """
    spare = grid + 1 + 2 * k - len(t)
    if spare < 0:
        raise ValueError(f"a grid of {len(t) - 1 - 2 * k} intervals cannot be refined to {grid}")
    t, c = np.ascontiguousarray(t, np.float64), np.ascontiguousarray(c, np.float64)  # as the kernels are compiled
    zeros = np.zeros((len(c), 1))
    while spare and samples[0] < t[k]:
        t, c, spare = np.append(next_knots(t, k)[0], t), np.hstack([zeros, c]), spare - 1
    while spare and samples[-1] > t[-k - 1]:
        t, c, spare = np.append(t, next_knots(t, k)[1]), np.hstack([c, zeros]), spare - 1
    new_t, new_c = np.zeros(len(t) + spare), np.zeros((len(c), grid + k))
    new_t[: len(t)], new_c[:, : c.shape[1]] = t, c
    halve_intervals(new_t, new_c, k, len(t), samples)
    return new_t, new_c


def refit_row(t: Array, c: Array, k: int, grid: int, samples: Array) -> tuple[Array, Array]:
    """Fit the splines of one node by splines on a uniform grid over the samples, by least squares in float64.

    Arguments and results are as for `refine_row`. If the samples are all equal, the splines are refined instead.
    """
    from scipy.interpolate import make_lsq_spline  # here: takes 0.2 s to import

    low, high = float(samples[0]), float(samples[-1])
    step = (high - low) / grid
    if not step > SMALLEST_INTERVAL * (float(t[-1]) - float(t[0])):
        return refine_row(t, c, k, max(grid, len(t) - 1 - 2 * k), samples)
    knots = low + step * np.arange(-k, grid + k + 1)
    at = np.linspace(knots[k], knots[-k - 1], POINTS_OF_REFIT * (grid + k))
    values = evaluate_splines(at, np.asarray(t, float), k, np.asarray(c, float))
    return knots, make_lsq_spline(at, values, knots, k).c.T


def next_knots(t: Array, k: int) -> tuple[float, float]:
    """The next knots outside a row, on the left and on the right.

    The distance is that of the two outermost knots, but at least 0.75 times the mean interval of the domain, because
    knots that replace a repeated one (`kanbench.network.merge`) are very close together.
    """
    least = 0.75 * (t[-k - 1] - t[k]) / (len(t) - 1 - 2 * k)
    return min(2 * t[0] - t[1], t[0] - least), max(2 * t[-1] - t[-2], t[-1] + least)
