"""The first part of an evaluation: knot spans, local coordinates and base functions of the nodes' values.

It does not depend on the parameters, so it runs once per grid for the first layer. See `kernels`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kanbench.engine.numba_engine.simd import LANES, bits, gather, load, polynomial, select, store, wide
from kanbench.engine.numba_engine.structures import BLOCK, Floats, Inputs, Layout, Record, zeros
from kanbench.io.kernel_cache import compiled

SILU, IDENTITY, ZERO = range(3)  # the order of `spline_network.BASE_FUNCTIONS`
LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
SHIFT = 6755399441055744.0  # 1.5 · 2⁵²: adding it rounds to an integer, which is then in the last bits
exp_taylor = polynomial(*(1 / math.factorial(n) for n in range(13, -1, -1)))


@compiled
def copy_column(x: Floats, x_at: int, stride: int, m: int, column: Floats) -> None:
    """column[:m] = x[x_at], x[x_at + stride], …, in float64."""
    for sample in range(m):
        column[sample] = x[np.uintp(x_at + sample * stride)]


@compiled
def bucket_of(x: Any, lowest: float, density: float, last_bucket: float) -> Any:
    """The bucket of x, a number or a vector; monotone in x.

    It rounds by adding SHIFT, the fastest way for vectors; knots and values must be rounded alike.
    """
    position = (x - lowest) * density
    position = select(position > 0, position, 0)  # 0 for nan
    return bits(select(position < last_bucket, position, last_bucket) + SHIFT) & (2**31 - 1)


@compiled
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), for a vector.

    With -x = n ln 2 + s and an integer n, exp(-x) = 2ⁿ exp(s). As |s| < 0.35, the Taylor polynomial of degree 13 has an
    error below one unit in the last place. x is clipped to ±708, because 2ⁿ would leave the range of float64.
    """
    t = x * -1.0
    t = select(t > 708, 708, select(t < -708, -708, t))  # keeps nan
    shifted = t * LOG2_E + SHIFT
    n = shifted - SHIFT
    s = (t - n * LN2_HIGH) - n * LN2_LOW  # ln 2 in two parts: n times the first is exact
    power = bits((bits(shifted) + 1023) << 52)  # 2ⁿ: its exponent
    return 1 / (exp_taylor(s) * power + 1)


@compiled
def fill_inputs(column: Floats, m: int, node: Record, net: Layout, inputs: Inputs, at: int, with_slopes: bool) -> None:
    """Fill the inputs of a node's edges for its m values, padded to the next multiple of LANES.

    Everything is in one loop, so that the lookup of the span overlaps with computing the base function.
    """
    # Here and below, fields of a node are read before loops: the compiler cannot know that stores in a loop leave them
    # unchanged.
    lowest, highest, buckets_per_length, last_bucket = node.lowest, node.highest, node.density, node.last_bucket
    first_bucket, steps, span_before, kind = node.first_bucket, node.steps, node.first_span - 1, net.base_kind
    for sample in range(0, m, LANES):
        x = load(column, sample)
        base, slope = x * 0, x * 0
        if kind == SILU:
            s = sigmoid(x)
            base, slope = x * s, s * (x * (1 - s) + 1)
        elif kind == IDENTITY:
            base, slope = x, x * 0 + 1
        store(base, inputs.base, at + sample)
        if with_slopes:
            store(slope, inputs.base_slope, at + sample)
        within = select((lowest <= x) & (x < highest), x, lowest)
        bucket = bucket_of(within, lowest, buckets_per_length, last_bucket)
        span = wide(gather(net.buckets, bucket + first_bucket))
        for _ in range(steps):
            span = select(gather(net.right, span) <= within, span + 1, span)
        inside, u = within == x, (within - gather(net.left, span)) * gather(net.density, span)
        store(select(inside, span - span_before, 0), inputs.span, at + sample)
        store(select(inside, u, 0), inputs.u, at + sample)


@compiled
def new_inputs(n: int, n_slopes: int, like: np.floating) -> Inputs:
    """Allocate inputs for n samples in total over all nodes, with padding for a vector that starts at the last one."""
    n, n_slopes = n + LANES, n_slopes + LANES
    return Inputs(np.empty(n, np.int32), zeros(n, like), zeros(n, like), zeros(n_slopes, like))


@compiled
def first_inputs(x: Floats, net: Layout, inputs: Inputs) -> None:
    """Fill the inputs of the first layer for x, shape (n, d); the n samples of a node are contiguous.

    Padding written after a node's samples is overwritten by the next node's.
    """
    n, width = x.shape
    column, flat = np.zeros(BLOCK), x.reshape(-1)
    for index in range(width):
        for start in range(0, n, BLOCK):
            m, at = min(BLOCK, n - start), index * n + start
            copy_column(flat, start * width + index, width, m, column)
            fill_inputs(column, m, net.nodes[index], net, inputs, at, False)
