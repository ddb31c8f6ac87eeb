"""The arrays that the kernels work on; see `kanbench.engine.numba_engine.kernels`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kanbench.io.kernel_cache import compiled

# Samples: about the fastest of 64 to 1024; not 512, whose arrays would all begin in the same lines of cache.
BLOCK = 504
LINE = 64  # bytes of a line of cache
Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Records = NDArray[np.void]
Window = tuple[int, ...]  # of W = k + 1 numbers, all 0: the compiler knows their number from its type
Record = Any  # an element of Records: attributes are its fields in compiled code, not in Python

# A node with outgoing edges; nodes are numbered layer by layer.
NODE = np.dtype(
    [
        ("first_bucket", np.int64),  # of the search for the span that holds x
        ("last_bucket", np.float64),  # the number of the node's buckets - 1
        ("steps", np.int64),  # the most spans that begin in one bucket
        ("lowest", np.float64),  # the first knot
        ("highest", np.float64),  # the last knot
        ("density", np.float64),  # buckets per length
        ("first_span", np.int64),
        ("n_spans", np.int64),
        ("lanes", np.int64),  # 0, 1, or a multiple of LANES
        ("first_target", np.int64),  # the node of the next layer in lane 0
        ("first_row", np.int64),  # in the table of a: a row for no span, and for each
        ("row", np.int64),  # its length: W × lanes; LANES for one lane
        ("first_coef", np.int64),  # in the array of e: rows of lanes
        ("first_base", np.int64),  # in the array of b
    ],
    align=True,
)

# A live edge, and where its parameters are in the vector of all: first the trained ones, then those held fixed.
EDGE = np.dtype(
    [
        ("node", np.int64),  # its source
        ("lane", np.int64),
        ("mask", np.float64),
        ("n_coef", np.int64),
        ("coef_at", np.int64),  # of the first coefficient
        ("base_at", np.int64),
        ("sp_at", np.int64),
    ],
    align=True,
)

# A layer, and one for the outputs of the network.
LAYER = np.dtype([("first_node", np.int64), ("width", np.int64), ("stride", np.int64), ("at", np.int64)], align=True)


class Layout(NamedTuple):
    """A network without its parameters, in arrays."""

    layers: Records  # (layers + 1,), of LAYER; `stride` and `at` are those of its values for a block of samples
    nodes: Records  # (nodes,), of NODE
    edges: Records  # (edges,), of EDGE
    buckets: Integers  # last span that begins in an earlier bucket
    left: Floats  # (spans,), float64: the knot where a span begins
    right: Floats  # (spans,), float64: where it ends
    density: Floats  # (spans,), float64: 1 / width
    window: Integers  # (spans,): the first coefficient
    polynomials: Floats  # (spans, W basis functions, LANES): coefficients of u^q, and zeros for q ≥ W
    base_kind: int
    w: Window


class Inputs(NamedTuple):
    """The values of nodes as their outgoing edges use them; node by node, sample by sample."""

    span: Integers  # knot span of the node, from 1; 0 where no basis function is
    u: Floats  # local coordinate
    base: Floats  # base function
    base_slope: Floats  # its derivative; not for the first layer


class Tables(NamedTuple):
    """The parameters of the edges, or derivatives by them, as they are used."""

    e: Floats  # node by node: coefficients × lanes
    b: Floats  # node by node: lanes
    a: Floats  # node by node: spans × lanes, LANES at once × W powers
    slopes: Floats  # the splines' derivatives by x, likewise: for u^(q-1) at the place of u^q; not of the first layer


class Buffers(NamedTuple):
    """The intermediates of BLOCK samples; overwritten by those of the next."""

    inputs: Inputs  # of all layers, a node after another
    values: Floats  # at the inputs of all layers and at the output, a layer after another, a sample after another
    delta: Floats  # their δ, likewise
    column: Floats  # float64, (BLOCK,)


class Workspace(NamedTuple):
    """All that an evaluation reads and writes beside the vector of parameters."""

    layout: Layout
    x: Floats  # (n, d): the inputs
    y: Floats  # (n · outputs,): the targets, a sample after another; not read for values alone
    first: Inputs  # of the first layer, for all samples, or empty: then they are computed
    tables: Tables  # the parameters
    derivatives: Tables  # float64: sums over samples; two of a, see `kernels.edge_back`, none of slopes
    buffers: Buffers


@compiled
def zeros(size: int, like: np.floating) -> Floats:
    """Zeros in the precision of `like` that begin where a line of cache does.

    A vector that lies in two lines takes twice as long to load; rows of LANES float64 then lie in one.
    """
    array = np.zeros(size + LINE, type(like))
    start = -array.ctypes.data % LINE // array.itemsize
    return array[start : start + size]
