"""How the grids of a model change between and within the stages of a training.

A spline with knots t and coefficients c is one function on the whole real line, zero outside the knots. Inserting a
knot between two others (Boehm, 1980) or adding one outside with a zero coefficient gives the same function with one
more basis function. pykan's domain [t_k, t_{n-k}] holds the G intervals; the k knots on either side belong to the
spline all the same, so they are kept too.

Nodes may have different numbers of intervals. pykan stores the rows of a layer in one array, so shorter rows are
padded: with knots to the right of their own, and coefficients of zero that are never trained
(`kanbench.models.live_entries`). To pykan it is a model like any other.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from kan import KAN
from kan.KANLayer import KANLayer
from numpy.typing import NDArray
from torch import Tensor

from kanbench.attribution import important_nodes, node_scores
from kanbench.engine.torch_layers import layer_inputs
from kanbench.knots import halve_intervals
from kanbench.models import (
    default_dtype,
    global_random_state_kept,
    intervals,
    quiet,
    with_intervals,
)

Array = NDArray[np.float64]


class GridPolicy(Protocol):
    """How grids change.

    Attributes
    ----------
    columns : dict
        What a row of the history says about the grids, beside their size.
    """

    columns: dict[str, Any]

    def begin(self, model: KAN, x: Tensor) -> None:
        """Called before the first stage, whose grids are the model's, for training inputs x of shape (n, d)."""

    def refine(self, model: KAN, grid: int, x: Tensor) -> KAN:
        """The model for the next stage, of `grid` intervals."""

    def update(self, model: KAN, epoch: int, x: Tensor) -> bool:
        """Called before each epoch of a stage, numbered from 0; return whether the grids were changed, in place."""


class Preserve:
    """Every node gets the stage's grid, and the function stays; between refinements the grids stay too."""

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def begin(self, model: KAN, x: Tensor) -> None:
        pass

    def refine(self, model: KAN, grid: int, x: Tensor) -> KAN:
        return refine_nodes(model, [[grid] * layer.in_dim for layer in model.act_fun], x)

    def update(self, model: KAN, epoch: int, x: Tensor) -> bool:
        return False


class ByImportance(Preserve):
    """As `Preserve`, but the grid of a node depends on its attribution score at the beginning of the stage.

    Parameters
    ----------
    approach : str
        `baseline`: every node gets the stage's grid. `adaptive_only`: the important nodes get it, the others keep
        theirs. `adaptive_regular`: every node gets it, the important ones `density` times as many intervals.
    rule, fraction, threshold
        What is important; see `kanbench.attribution.important_nodes`. Every node of the baseline is.
    density : float
    """

    def __init__(self, approach: str, rule: str, fraction: float, threshold: float, density: float) -> None:
        super().__init__()
        self.approach, self.density = approach, density
        self.importance = {"rule": rule, "fraction": fraction, "threshold": threshold}

    def begin(self, model: KAN, x: Tensor) -> None:
        self._important(model, x)

    def refine(self, model: KAN, grid: int, x: Tensor) -> KAN:
        finer = {
            "baseline": lambda important: grid,
            "adaptive_only": lambda important: grid if important else 1,  # less than a node has leaves it alone
            "adaptive_regular": lambda important: max(round(self.density * grid), grid + 1) if important else grid,
        }[self.approach]
        return refine_nodes(model, [[finer(node) for node in layer] for layer in self._important(model, x)], x)

    def _important(self, model: KAN, x: Tensor) -> list[list[bool]]:
        if self.approach == "baseline":  # needs no scores, and must not pay for them
            important, threshold = [[True] * layer.in_dim for layer in model.act_fun], 0.0
        else:
            selected, threshold = important_nodes(node_scores(model, x), **self.importance)
            important = [layer.tolist() for layer in selected]
        self.columns = {
            "attribution_threshold": threshold,
            "important_neurons": sum(map(sum, important)),
            "total_neurons": sum(map(len, important)),
        }
        return important


class Pykan:
    """pykan's own `refine` and grid updates, as in `MultKAN.fit`. Neither keeps the function.

    They run on the CPU: a GPU's least squares take only matrices of full rank, which pykan's are not.

    Parameters
    ----------
    update_every : int
        Epochs between grid updates in a stage; 0 for none. pykan's default is 5.
    """

    STOP_UPDATES = 50  # pykan's stop_grid_update_step

    def __init__(self, update_every: int) -> None:
        self.columns: dict[str, Any] = {}
        self.update_every = update_every

    def begin(self, model: KAN, x: Tensor) -> None:
        pass

    def refine(self, model: KAN, grid: int, x: Tensor) -> KAN:
        model = _on_cpu(model)
        model.cache_data = x.cpu()  # pykan fits the refined splines on these samples,
        model.save_act = True  # and needs the activations
        with global_random_state_kept(), default_dtype(x.dtype), contextlib.redirect_stdout(io.StringIO()):
            return quiet(model.refine(grid).to(x.device))

    def update(self, model: KAN, epoch: int, x: Tensor) -> bool:
        if not self.update_every or epoch % self.update_every or epoch >= self.STOP_UPDATES:
            return False
        updated = _on_cpu(model)
        updated.update_grid(x.cpu())
        for layer, changed in zip(model.act_fun, updated.act_fun, strict=True):
            layer.grid.data.copy_(changed.grid)
            layer.coef.data.copy_(changed.coef)
        return True


def _on_cpu(model: KAN) -> KAN:
    """The model if it is there, or else a copy."""
    return model if torch.device(model.device).type == "cpu" else copy.deepcopy(model).to("cpu")


POLICIES = {"preserve": Preserve, "pykan": Pykan, "importance": ByImportance}


def make_policy(policy: str, **settings: Any) -> GridPolicy:
    return POLICIES[policy](**settings)


def refine_nodes(model: KAN, sizes: Sequence[Sequence[int]], x: Tensor) -> KAN:
    """Refine the grids of single nodes in place, without changing the model's function.

    Parameters
    ----------
    sizes : sequences of int
        For every layer the wanted intervals of each of its input nodes. A node that has as many or more keeps its own.
    x : Tensor of shape (n, d)
        The training inputs: new knots go where their activations are.
    """
    rows = []
    for layer, wanted, inputs in zip(model.act_fun, sizes, layer_inputs(model, x), strict=True):
        samples = np.sort(inputs.cpu().double().numpy(), axis=0).T
        rows.append(
            [
                refine_row(t, c, layer.k, max(size, len(t) - 1 - 2 * layer.k), s)
                for (t, c), size, s in zip(live_rows(layer), wanted, samples, strict=True)
            ]
        )
    return set_rows(model, rows)


def live_rows(layer: KANLayer) -> list[tuple[Array, Array]]:
    """The knots, shape (G + 1 + 2k,), and coefficients, shape (out_dim, G + k), of every input node, unpadded."""
    knots, coef = (part.detach().cpu().double().numpy() for part in (layer.grid, layer.coef))
    counts = zip(knots, coef, intervals(layer), strict=True)
    return [(t[: count + 1 + 2 * layer.k], c[:, : count + layer.k]) for t, c, count in counts]


def set_rows(model: KAN, rows: Sequence[Sequence[tuple[Array, Array]]]) -> KAN:
    """Give every input node of every layer its knots and coefficients, padded to the longest row of the model."""
    counts = [[len(t) - 1 - 2 * layer.k for t, _ in nodes] for layer, nodes in zip(model.act_fun, rows, strict=True)]
    grid = max(map(max, counts))
    for layer, nodes in zip(model.act_fun, rows, strict=True):
        padded = [_padded(t, c, grid + 1 + 2 * layer.k) for t, c in nodes]
        knots, coef = (torch.from_numpy(np.stack(part)) for part in zip(*padded, strict=True))
        # Copied into torch's own memory: results of MKL depend on how its operands are aligned.
        layer.grid = torch.nn.Parameter(knots.to(layer.grid, copy=True), requires_grad=False)
        layer.coef = torch.nn.Parameter(coef.to(layer.coef, copy=True))
        layer.num = grid
    model.grid = grid
    return with_intervals(model, counts)


def _padded(t: Array, c: Array, n_knots: int) -> tuple[Array, Array]:
    """A row with spare knots to the right of its own, whose splines have zero coefficients.

    The spare knots go on at the distance of the row's mean interval: pykan divides by the distances.
    """
    spare = n_knots - len(t)
    step = (t[-1] - t[0]) / (len(t) - 1)
    return np.append(t, t[-1] + step * np.arange(1, spare + 1)), np.pad(c, ((0, 0), (0, spare)))


def refine_row(t: Array, c: Array, k: int, grid: int, samples: Array) -> tuple[Array, Array]:
    """Refine the splines that share one row of knots, without changing them.

    Parameters
    ----------
    t : array of shape (G + 1 + 2k,)
    c : array of shape (out_dim, G + k)
    k : int
        The order of the splines.
    grid : int
        The wanted number of intervals, at least G.
    samples : array of shape (n,), sorted
        The activations at this node. The domain grows until it covers them, as far as the new knots suffice; each of
        the other new knots halves the widest interval that holds samples.

    Returns
    -------
    t, c : arrays of shapes (grid + 1 + 2k,) and (out_dim, grid + k)
    """
    spare = grid + 1 + 2 * k - len(t)
    if spare < 0:
        raise ValueError(f"a grid of {len(t) - 1 - 2 * k} intervals cannot be refined to {grid}")
    zeros = np.zeros((len(c), 1))
    while spare and samples[0] < t[k]:
        t, c, spare = np.append(next_knots(t, k)[0], t), np.hstack([zeros, c]), spare - 1
    while spare and samples[-1] > t[-k - 1]:
        t, c, spare = np.append(t, next_knots(t, k)[1]), np.hstack([c, zeros]), spare - 1
    n_knots = len(t)
    t, c = np.pad(t, (0, spare)), np.pad(c, ((0, 0), (0, spare)))
    halve_intervals(t, c, k, n_knots, samples)
    return t, c


def next_knots(t: Array, k: int) -> tuple[float, float]:
    """Where the next knots outside go, on the left and on the right.

    As far from the last knot as that is from the one before, but no less than three quarters of the domain's mean
    interval: knots that stand for a repeated one (`kanbench.merging`) are very near each other.
    """
    least = 0.75 * (t[-k - 1] - t[k]) / (len(t) - 1 - 2 * k)
    return min(2 * t[0] - t[1], t[0] - least), max(2 * t[-1] - t[-2], t[-1] + least)
