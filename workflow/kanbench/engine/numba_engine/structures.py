"""The arrays that the kernels work on; see `kanbench.engine.numba_engine.kernels`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kanbench.io.kernel_cache import compiled

# Samples: about the fastest of 64 to 1024, but not 512, because all arrays would map to the same cache lines.
BLOCK = 504
LINE = 64  # bytes of a cache line
Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Records = NDArray[np.void]
Window = tuple[int, ...]  # W = k + 1 zeros: the length is known to the compiler from the type
Record = Any  # an element of Records: its fields are attributes in compiled code, but not in Python

# A node with outgoing edges; nodes are numbered layer by layer.
NODE = np.dtype(
    [
        ("first_bucket", np.int64),  # in the lookup table of the span that contains x
        ("last_bucket", np.float64),  # the number of the node's buckets - 1
        ("steps", np.int64),  # the most spans that begin in one bucket
        ("lowest", np.float64),  # the first knot
        ("highest", np.float64),  # the last knot
        ("density", np.float64),  # buckets per length
        ("first_span", np.int64),
        ("n_spans", np.int64),
        ("lanes", np.int64),  # 0, 1, or a multiple of LANES
        ("first_target", np.int64),  # the node of the next layer in lane 0
        ("first_row", np.int64),  # in the table of a: one row for "no span", then one per span
        ("row", np.int64),  # length of a row: W × lanes; LANES for one lane
        ("first_coef", np.int64),  # in the array of e: rows of lanes
        ("first_base", np.int64),  # in the array of b
    ],
    align=True,
)

# A live edge, with the positions of its parameters in the vector of all parameters: trained ones, then fixed ones.
EDGE = np.dtype(
    [
        ("node", np.int64),  # its source
        ("lane", np.int64),
        ("mask", np.float64),
        ("n_coef", np.int64),
        ("coef_at", np.int64),  # position of the first coefficient
        ("base_at", np.int64),
        ("sp_at", np.int64),
    ],
    align=True,
)

# A layer; one more describes the outputs of the network.
LAYER = np.dtype([("first_node", np.int64), ("width", np.int64), ("stride", np.int64), ("at", np.int64)], align=True)


class Layout(NamedTuple):
    """A network without its parameters, as arrays."""

    layers: Records  # (layers + 1,), of LAYER; `stride` and `at` locate its values for a block of samples
    nodes: Records  # (nodes,), of NODE
    edges: Records  # (edges,), of EDGE
    buckets: Integers  # for each bucket, the last span that begins in an earlier one
    left: Floats  # (spans,), float64: left knot
    right: Floats  # (spans,), float64: right knot
    density: Floats  # (spans,), float64: 1 / width
    window: Integers  # (spans,): the first coefficient of the window
    polynomials: Floats  # (spans, W basis functions, LANES): coefficients of u^q; zeros for q ≥ W
    base_kind: int
    w: Window


class Inputs(NamedTuple):
    """The values of nodes in the form that their outgoing edges need; node by node, sample by sample."""

    span: Integers  # knot span of the node, from 1; 0 where no basis function is nonzero
    u: Floats  # local coordinate
    base: Floats  # base function
    base_slope: Floats  # its derivative; unused in the first layer


class Tables(NamedTuple):
    """The parameters of the edges in the layout of the kernels, or derivatives with respect to them."""

    e: Floats  # node by node: coefficients × lanes
    b: Floats  # node by node: lanes
    a: Floats  # node by node: spans × groups of LANES edges × W powers × LANES
    slopes: Floats  # like a, for the splines' derivatives in x: u^(q-1) in place of u^q; not for the first layer


class Buffers(NamedTuple):
    """The intermediates of a block of samples; overwritten by the next block."""

    inputs: Inputs  # of all layers, node by node
    values: Floats  # at the inputs of all layers and at the output, layer by layer, sample by sample
    delta: Floats  # their δ, in the same order
    column: Floats  # float64, (BLOCK,): values of one node


class Workspace(NamedTuple):
    """All data of an evaluation except the vector of parameters."""

    layout: Layout
    x: Floats  # (n, d): the inputs
    y: Floats  # (n · outputs,): the targets, sample by sample; not read if only values are computed
    first: Inputs  # of the first layer, for all samples; if empty, they are computed
    tables: Tables  # the parameters
    derivatives: Tables  # float64: sums over samples; two for a (see `kernels.edge_back`), none for slopes
    buffers: Buffers


@compiled
def zeros(size: int, like: np.floating) -> Floats:
    """Allocate zeros in the precision of `like`, aligned to a cache line.

    Rows of LANES float64 then lie in one line; loading a vector that crosses two lines takes twice as long.
    """
    array = np.zeros(size + LINE, type(like))
    start = -array.ctypes.data % LINE // array.itemsize
    return array[start : start + size]
