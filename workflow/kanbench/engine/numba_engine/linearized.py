"""The linearization in compiled code: all its arrays in one object, and one call per product with the Jacobian."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.experimental import structref

from kanbench.engine.numba_engine import dense, gram
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


FIELDS = ["work", "places", "values", "rows", "windows", "coef", "factor", "nan_if_nonfinite"]
structref.define_proxy(Linearized, LinearizedType, FIELDS)


@compiled
def new_linearized(
    work: Workspace, places: Places, values: Floats, rows: Floats, windows: Integers, coef: Floats, factor: Floats
) -> Linearized:
    """Make an object to `move_to` a θ."""
    return Linearized(work, places, values, rows, windows, coef, factor, 0.0)


@compiled
def zeros_laid_out(places: Places) -> Floats:
    """Allocate a vector of parameters, laid out, padded for what kernels load beyond the last run with its padding."""
    return np.zeros(len(places.scale_of) + 2 * places.n_scale + 2 * LANES)


@compiled
def move_to(of: Linearized, parameters: Floats) -> None:
    """Linearize at other parameters; `fill` computes the rows."""
    places, coef, factor = of.places, of.coef, of.factor
    laid_out, n_coef = zeros_laid_out(places), len(places.scale_of)
    for i in range(len(parameters)):
        laid_out[np.uintp(places.of_parameter[i])] = parameters[i]
    for c in range(n_coef):
        coef[c], factor[c] = laid_out[c], laid_out[np.uintp(n_coef + places.n_scale + places.scale_of[c])]
    of.nan_if_nonfinite = fill_tables(parameters, of.work.layout, of.work.tables)


@compiled
def fill(of: Linearized, start: int, stop: int) -> None:
    """Fill the rows of samples start to stop, their windows, and f(x)."""
    kernels.fill_rows(start, stop - start, of.work, of.nan_if_nonfinite, of.places, of.values, of.rows, of.windows)


@compiled
def jvp(of: Linearized, step: Floats, products: Floats) -> None:
    """Fill `products` with J δ for the rows in `rows`, δ of shape (P,)."""
    direction = zeros_laid_out(of.places)
    kernels.lay_out(step, of.coef, of.factor, of.places, direction)
    kernels.jvp(of.rows, of.windows, of.places, direction, products)


@compiled
def vjp(of: Linearized, weights: Floats, n_parameters: int) -> Floats:
    """Jᵀ v, shape (P,), for the rows in `rows`, v of shape (rows,); `n_parameters` is P."""
    products, gradient = zeros_laid_out(of.places), np.empty(n_parameters)
    kernels.vjp(of.rows, of.windows, of.places, weights, products)
    kernels.collect(products, of.coef, of.factor, of.places, gradient)
    return gradient


@compiled
def add_dense_products(of: Linearized, n: int, matrix: Floats, n_columns: int, part: tuple[int, int]) -> None:
    """Add to RᵀR, laid out, a part of the products of the first n rows in `rows`; see `dense`."""
    dense.add_dense_products(of.rows, of.windows, n, of.places, matrix, n_columns, part)


@compiled
def normal_matrix(of: Linearized, laid_out: Floats, n_columns: int, matrix: Floats) -> None:
    """Fill the upper triangle of JᵀJ = LᵀRᵀRL; `laid_out` is the lower triangle of RᵀR, laid out, and is extended."""
    places = of.places
    if places.dense:
        dense.fill_scales(laid_out, n_columns, of.coef, places)
    else:
        gram.add_scales(laid_out, n_columns, of.coef, places)
    gram.pick(laid_out, n_columns, of.factor, places.of_parameter[: len(matrix)], matrix)
