"""The linearization in compiled code: all its arrays in one object, and one call per product with the Jacobian."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.experimental import structref

from kanbench.engine.numba_engine import rows as kernels
from kanbench.engine.numba_engine.kernels import fill_tables
from kanbench.engine.numba_engine.rows import Places
from kanbench.engine.numba_engine.simd import LANES
from kanbench.engine.numba_engine.structures import Floats, Integers, Workspace
from kanbench.io.kernel_cache import compiled


@structref.register
class LinearizedType(types.StructRef):
    """The numba type of a `Linearized`."""


class Linearized(structref.StructRefProxy):
    """The data of products; see `Objective` for why it is one object, and `sparse` for its contents."""


FIELDS = ["work", "places", "values", "rows", "windows", "coef", "factor", "at_once", "kept", "nan_if_nonfinite"]
structref.define_proxy(Linearized, LinearizedType, FIELDS)


@compiled
def new_linearized(
    work: Workspace,
    places: Places,
    values: Floats,
    rows: Floats,
    windows: Integers,
    coef: Floats,
    factor: Floats,
    at_once: int,
    kept: bool,
) -> Linearized:
    """Make an object to `move_to` a θ.

    Args:
        at_once (int): Number of samples whose rows fit in `rows`.
        kept (bool): Whether these are all samples; rows are then stored, not recomputed for every product.
    """
    return Linearized(work, places, values, rows, windows, coef, factor, at_once, kept, 0.0)


@compiled
def zeros_laid_out(places: Places) -> Floats:
    """Allocate a vector of parameters, laid out, padded for what kernels load beyond the last run with its padding."""
    return np.zeros(len(places.scale_of) + 2 * places.n_scale + 2 * LANES)


@compiled
def move_to(of: Linearized, parameters: Floats) -> None:
    """Linearize at other parameters; rows are computed now only if they are stored."""
    places, coef, factor = of.places, of.coef, of.factor
    laid_out, n_coef = zeros_laid_out(places), len(places.scale_of)
    for i in range(len(parameters)):
        laid_out[np.uintp(places.of_parameter[i])] = parameters[i]
    for c in range(n_coef):
        coef[c], factor[c] = laid_out[c], laid_out[np.uintp(n_coef + places.n_scale + places.scale_of[c])]
    of.nan_if_nonfinite = fill_tables(parameters, of.work.layout, of.work.tables)
    if of.kept:
        fill(of, 0, len(of.work.x))


@compiled
def fill(of: Linearized, start: int, stop: int) -> None:
    """Fill the rows of samples start to stop, their windows, and f(x)."""
    kernels.fill_rows(start, stop - start, of.work, of.nan_if_nonfinite, of.places, of.values, of.rows, of.windows)


@compiled
def jvp(of: Linearized, step: Floats) -> Floats:
    """J δ, shape (n · outputs,), for δ of shape (P,)."""
    n, n_outputs = len(of.work.x), len(of.work.y) // len(of.work.x)
    direction, products = zeros_laid_out(of.places), np.empty(len(of.work.y))
    kernels.lay_out(step, of.coef, of.factor, of.places, direction)
    for start in range(0, n, of.at_once):
        stop = min(start + of.at_once, n)
        if not of.kept:
            fill(of, start, stop)
        kernels.jvp(of.rows, of.windows, of.places, direction, products[start * n_outputs : stop * n_outputs])
    return products


@compiled
def vjp(of: Linearized, weights: Floats, n_parameters: int) -> Floats:
    """Jᵀ v, shape (P,), for v of shape (n · outputs,); `n_parameters` is P."""
    n, n_outputs = len(of.work.x), len(of.work.y) // len(of.work.x)
    products, gradient = zeros_laid_out(of.places), np.empty(n_parameters)
    for start in range(0, n, of.at_once):
        stop = min(start + of.at_once, n)
        if not of.kept:
            fill(of, start, stop)
        kernels.vjp(of.rows, of.windows, of.places, weights[start * n_outputs : stop * n_outputs], products)
    kernels.collect(products, of.coef, of.factor, of.places, gradient)
    return gradient
