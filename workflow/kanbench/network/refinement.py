"""How the grids of a network change between and within the stages of a training.

A spline with knots t and coefficients c is one function on the whole real line, zero outside the knots. Inserting a
knot between two others (Boehm, 1980) or adding one outside with a zero coefficient gives the same function with one
more basis function. pykan's domain [t_k, t_{n-k}] holds the G intervals; the k knots on either side belong to the
spline all the same, so they are kept too. Nodes may have different numbers of intervals.
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

POINTS_OF_REFIT = 8  # for every coefficient


class KnotInsertion:
    """A policy: every node gets the stage's grid, and the function stays; between refinements the grids stay too.

    Activations are those of the network that is given, on the training samples.

    Attributes:
        columns (dict): What a row of the history says about the grids, beside their size.
    """

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def begin(self, network: SplineNetwork, activations: Activations) -> None:
        """Called before the first stage, whose grids are the network's."""

    def refine(self, network: SplineNetwork, grid: int, activations: Activations) -> SplineNetwork:
        """The network for the next stage, of `grid` intervals."""
        return refine(network, [[grid] * layer.inputs for layer in network.layers], activations)

    def updates(self, epoch: int) -> bool:
        """Whether grids change before this epoch of a stage, numbered from 0."""
        return False

    def update(self, network: SplineNetwork, activations: Activations) -> SplineNetwork:
        """The network with other grids of the same size."""
        return network

    def state(self) -> dict[str, Any]:
        """What a policy of the same settings needs to continue from here: numbers, text, lists and dicts."""
        return {"columns": dict(self.columns)}

    def resume(self, state: dict[str, Any]) -> None:
        self.columns = dict(state["columns"])


class UniformRefit(KnotInsertion):
    """Uniform grids over the range of the activations; their splines are fitted to those of before, by least squares.

    Knot insertion keeps the function, and so the widest intervals of before, halved: those of 50 that come from 20 are
    as wide as those of 40. Here all are alike, and the function changes by what the coarse grid did not resolve.
    """

    def refine(self, network: SplineNetwork, grid: int, activations: Activations) -> SplineNetwork:
        rows = []
        for layer, inputs in zip(network.layers, activations.layer_inputs(), strict=True):
            nodes = zip(layer.knots, layer.coef, inputs.T, strict=True)
            rows.append([refit_row(t, c, layer.order, grid, np.sort(samples)) for t, c, samples in nodes])
        return network.with_rows(rows)


class AttributionRefinement(KnotInsertion):
    """Knot insertion too, but the grid of a node depends on its attribution score at the beginning of the stage.

    Args:
        approach (str): `baseline`: every node gets the stage's grid. `adaptive_only`: the important nodes get it, the
            others keep theirs. `adaptive_regular`: every node gets it, the important ones `refinement_factor` times as
            many intervals.
        rule, fraction, score_threshold: What is important; see `kanbench.network.attribution.important_nodes`. Every
            node of the baseline is.
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
            "adaptive_only": lambda important: grid if important else 1,  # less than a node has leaves it alone
            "adaptive_regular": lambda important: (
                max(round(self.refinement_factor * grid), grid + 1) if important else grid
            ),
        }[self.approach]
        important = self._important(network, activations)
        return refine(network, [[finer(node) for node in layer] for layer in important], activations)

    def _important(self, network: SplineNetwork, activations: Activations) -> list[list[bool]]:
        """Which nodes are important, by layer; recorded in `columns`."""
        if self.approach == "baseline":  # needs no scores, and must not pay for them
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
    """Grid updates on the first grid, when `MultKAN.fit` has them; from then on, knot insertion.

    An update moves a node's grid to where its activations are, and fits its splines anew: it does not quite keep the
    function.

    Args:
        update_every (int): Epochs between grid updates in a stage; 0 for none. pykan's default is 5.
        start, stop (int): The epochs of a stage from which on, and before which, there are updates: pykan's
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
    """pykan's own `refine`, and its own grid updates on every grid. Neither keeps the function.

    They run on the CPU: a GPU's least squares take only matrices of full rank, which pykan's are not. All nodes have
    the same number of intervals.
    """

    def refine(self, network: SplineNetwork, grid: int, activations: Activations) -> SplineNetwork:
        from kanbench.network.pykan import refit

        return refit(network, grid, activations.x)

    def update(self, network: SplineNetwork, activations: Activations) -> SplineNetwork:
        from kanbench.network.pykan import update_grid

        return update_grid(network, activations.x)


def make_policy(policy: str, **settings: Any) -> KnotInsertion:
    """The policy of this name in the configuration, with its settings."""
    policies = {
        "preserve": KnotInsertion,
        "refit": UniformRefit,
        "updates": GridUpdates,
        "pykan": PykanRefit,
        "importance": AttributionRefinement,
    }
    return policies[policy](**settings)


def refine(network: SplineNetwork, sizes: Sequence[Sequence[int]], activations: Activations) -> SplineNetwork:
    """Refine the grids of single nodes without changing the function.

    Args:
        sizes (sequences of int): For every layer the wanted intervals of each of its input nodes. A node that has as
            many or more keeps its own.
        activations (Activations): Of the network, on the training samples: new knots go where they are.
    """
    cache.open()
    rows = []
    for layer, wanted, inputs in zip(network.layers, sizes, activations.layer_inputs(), strict=True):
        nodes = zip(layer.knots, layer.coef, wanted, layer.intervals, inputs.T, strict=True)
        rows.append([refine_row(t, c, layer.order, max(size, has), np.sort(s)) for t, c, size, has, s in nodes])
    return network.with_rows(rows)


def refine_row(t: Array, c: Array, k: int, grid: int, samples: Array) -> tuple[Array, Array]:
    """Refine the splines that share one row of knots, without changing them, in float64.

    Args:
        t (array of shape (G + 1 + 2k,))
        c (array of shape (outputs, G + k))
        grid (int): The wanted number of intervals, at least G.
        samples (array of shape (n,), sorted): The activations at this node. The domain grows until it covers them, as
            far as the new knots suffice; each of the other new knots halves the widest interval that holds samples.

    Returns:
        t, c (arrays of shapes (grid + 1 + 2k,) and (outputs, grid + k))
    """
    spare = grid + 1 + 2 * k - len(t)
    if spare < 0:
        raise ValueError(f"a grid of {len(t) - 1 - 2 * k} intervals cannot be refined to {grid}")
    t, c = np.ascontiguousarray(t, np.float64), np.ascontiguousarray(c, np.float64)  # what kernels are compiled for
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
    """The splines that share one row of knots on a uniform grid instead, as near as it comes to them, in float64.

    Arguments and results are those of `refine_row`; the domain is the samples'. Where these are all alike there is no
    domain: such a row is refined.
    """
    from scipy.interpolate import make_lsq_spline  # takes a fifth of a second

    low, high = float(samples[0]), float(samples[-1])
    step = (high - low) / grid
    if not step > SMALLEST_INTERVAL * (float(t[-1]) - float(t[0])):
        return refine_row(t, c, k, max(grid, len(t) - 1 - 2 * k), samples)
    knots = low + step * np.arange(-k, grid + k + 1)
    at = np.linspace(knots[k], knots[-k - 1], POINTS_OF_REFIT * (grid + k))
    values = evaluate_splines(at, np.asarray(t, float), k, np.asarray(c, float))
    return knots, make_lsq_spline(at, values, knots, k).c.T


def next_knots(t: Array, k: int) -> tuple[float, float]:
    """Where the next knots outside go, on the left and on the right.

    As far from the last knot as that is from the one before, but no less than three quarters of the domain's mean
    interval: knots that stand for a repeated one (`kanbench.network.merge`) are very near each other.
    """
    least = 0.75 * (t[-k - 1] - t[k]) / (len(t) - 1 - 2 * k)
    return min(2 * t[0] - t[1], t[0] - least), max(2 * t[-1] - t[-2], t[-1] + least)
