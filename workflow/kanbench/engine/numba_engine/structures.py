"""What the kernels of `kanbench.engine.numba_engine.engine` work on; see `kanbench.engine.numba_engine.kernels`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Samples: about the fastest of 64 to 1024; not 512, whose arrays would all begin in the same lines of cache.
BLOCK = 504
Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

# A node that edges leave, numbered layer by layer.
NODE = np.dtype(
    [
        ("first_bucket", np.int64),  # of the search for the piece that holds x
        ("last_bucket", np.float64),  # the number of the node's buckets - 1
        ("steps", np.int64),  # the most pieces that begin in one bucket
        ("lowest", np.float64),  # the first knot
        ("highest", np.float64),  # the last knot
        ("density", np.float64),  # buckets per length
        ("first_piece", np.int64),
        ("n_pieces", np.int64),
        ("lanes", np.int64),  # 0, 1, or a multiple of LANES
        ("first_target", np.int64),  # the node of the next layer in lane 0
        ("first_row", np.int64),  # in the table of a: a row for no piece, and for each
        ("row", np.int64),  # its length: W × lanes; LANES for one lane
        ("first_coef", np.int64),  # in the array of e: rows of lanes
        ("first_base", np.int64),  # in the array of b
    ],
    align=True,
)

# A live edge, and where its parameters are in the vector of all: first the trained ones, then those held fixed.
EDGE = np.dtype(
    [
        ("node", np.int64),  # that it leaves
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

    layers: NDArray  # (layers + 1,), of LAYER; `stride` and `at` are those of its values for a block of samples
    nodes: NDArray  # (nodes,), of NODE
    edges: NDArray  # (edges,), of EDGE
    buckets: Integers  # last piece that begins in an earlier bucket
    left: Floats  # (pieces,), float64: the knot where a piece begins
    right: Floats  # (pieces,), float64: where it ends
    density: Floats  # (pieces,), float64: 1 / width
    window: Integers  # (pieces,): the first coefficient
    polynomials: Floats  # (pieces, W basis functions, LANES): coefficients of u^q, and zeros for q ≥ W
    base_kind: int
    w: tuple  # of W numbers: the compiler knows their number from its type


class Inputs(NamedTuple):
    """What the edges that leave a node need to know of its values; node by node, sample by sample."""

    piece: Integers  # of the node, from 1; 0 where no basis function is
    u: Floats
    base: Floats
    density: Floats  # du/dx; not for the first layer
    base_slope: Floats  # likewise


class Tables(NamedTuple):
    """The parameters of the edges, or derivatives by them, as they are used."""

    e: Floats  # node by node: coefficients × lanes
    b: Floats  # node by node: lanes
    a: Floats  # node by node: pieces × W powers × lanes


class Block(NamedTuple):
    """Room for what is computed of BLOCK samples."""

    inputs: Inputs  # of all layers, a node after another
    values: Floats  # at the inputs of all layers and at the output, a layer after another, a sample after another
    delta: Floats  # their δ, likewise
    column: Floats  # float64, (BLOCK,)


class Workspace(NamedTuple):
    """What an evaluation needs beside the parameters."""

    layout: Layout
    x: Floats  # (n, d): the inputs
    y: Floats  # (n,): the targets; of no use for values alone
    first: Inputs  # of the first layer, for all samples, or empty: then they are computed
    tables: Tables  # the parameters
    derivatives: Tables  # float64: sums over samples; see `kernels.add_derivatives`
    block: Block
