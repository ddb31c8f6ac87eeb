"""Floating-point operations, computed from sizes: the same on every machine, in every run and with every engine.

They are those of local splines as evaluated by `kanbench.engine.numba_engine.kernels`, without the padding of vectors.
An addition, multiplication, division or square root is one operation, an exponential is `EXP`; comparisons and the
search for the knot span are none. Extra work of an engine, such as pykan's on splines that are zero, does not count.

Let C = k + 1. A layer has I inputs, E unmasked edges, and, summed over its edges, c = Σ (G + k) coefficients and
s = Σ (G + 2k) knot spans; for the whole network, E, c and the number of parameters P are sums over layers, and m is the
number of outputs. Per sample and layer:

    inputs, except in the first layer  I (2 + base)         local coordinate, base function
    edges forward                      E (2k + 3)           Horner's scheme; b base(x); added to the node
    edges backward                     E (2k + 3)           δ u^q added to ∂/∂a_q, δ base(x) to ∂/∂b
    to the inputs, except the first    E (3k + 3) + I slope δ φ'(x), added to δ of the input
    a row of R (see `numba_engine.rows`)  E (C + 2) + 2 I k C   the basis functions; δ · mask · basis, δ · mask · base

A sample has one row of R and one backward pass per output. In the last layer, these involve only the edges to that
output, so all m together have E edges there and m E in every other layer. For the whole network:

    tables of polynomials, per evaluation   c + 2E + s C (2C - 1)
    their adjoint, per gradient             3c + 2E + 2 s C²
    residual; loss and 2r/n                 m; 4m             per sample
    product with J or Jᵀ                    2n Σ r + 2c, with r = E (C + 1) numbers in each of a sample's rows
    JᵀJ = LᵀRᵀRL                            n Σ r (r + 1) + 4 c (c + E) + P²
    JJᵀ                                     3 E C per row; per pair of rows 4E, and 2 E (C - d) for the edges that both
                                            have of a node whose windows are d < C spans apart
    Cholesky of q rows; solving with it     q³/3 + q²/2; 2q²

The number of overlapping windows depends on the samples. It is counted for samples spread evenly over the G spans of a
node: (G - d)/G² of all pairs are d spans apart, to either side. (The few pairs of rows of one sample are counted in the
same way.)
"""

from __future__ import annotations

import numpy as np

from kanbench.network.spline_network import SplineNetwork

EXP = 33  # as in `numba_engine.inputs.sigmoid`: range reduction, a polynomial of degree 13, and 2ⁿ
BASE = {"silu": EXP + 3, "identity": 0, "zero": 0}  # x / (1 + exp(-x))
SLOPE = {"silu": 4, "identity": 0, "zero": 0}  # s (x (1 - s) + 1)
COORDINATE = 2  # (x - knot) · density
LOSS = 4  # per residual: r² added to the sum, 2 r / n
DEVIATION = 4  # per number: minus the first one, added to the sum, squared, added to the sum of squares

ADAM = 13  # per parameter: two moving averages, and the update
LBFGS_PAIR = 8  # per parameter and stored pair: two scalar products and two sums in the two loops
LBFGS_ITERATION = 7  # per parameter: the differences, s · y, y · y, the scale
LINE_SEARCH = 4  # per parameter and point: the point, and the slope there


class Flops:
    """The operations of one network on n samples.

    Attributes:
        first_inputs (int): Computed from the first layer's inputs once for all evaluations.
        evaluation (int): The residuals.
        loss_and_gradient, linearization (int): Residuals and gradient; residuals and rows of the Jacobian.
        product (int): J δ, or Jᵀ v.
        normal_matrix, dual_gram (int): JᵀJ; JJᵀ.
        layer_inputs (int): The values of all hidden nodes.
        deviations (int): The standard deviations of all edges and nodes.
    """

    def __init__(self, network: SplineNetwork, n: int) -> None:
        base, slope, outputs = BASE[network.base], SLOPE[network.base], network.width[-1]
        tables = adjoint = backward = rows = coefs = edges = nonzeros = 0
        forward, dual = [], 0.0
        in_row = np.zeros(outputs, int)  # numbers in the row of each output
        for number, layer in enumerate(network.layers):
            k, c, live, grid = layer.order, layer.order + 1, layer.live.sum(axis=1), np.array(layer.intervals)
            e, of_layer, spans = int(live.sum()), int(live @ (grid + k)), int(live @ (grid + 2 * k))
            tables += of_layer + 2 * e + spans * c * (2 * c - 1)
            adjoint += 3 * of_layer + 2 * e + 2 * spans * c * c
            hidden = layer.inputs if number > 0 else 0
            to_inputs, slopes = (e * (3 * k + 3) if hidden else 0), hidden * slope
            is_last = number == len(network.layers) - 1
            of_outputs = 1 if is_last else outputs  # number of a sample's rows that contain an edge
            forward.append(e * (2 * k + 3) + hidden * (COORDINATE + base))
            backward += e * (2 * k + 3) + to_inputs + slopes
            rows += of_outputs * (e * (c + 2) + to_inputs) + outputs * 2 * layer.inputs * k * c + slopes
            coefs, edges, nonzeros = coefs + of_layer, edges + e, nonzeros + of_outputs * e * c
            in_row += (c + 1) * (layer.live.sum(axis=0) if is_last else e)
            shares = [float(live @ _share(grid, d)) for d in range(c)]
            overlaps = sum(2 * (c - abs(d)) * shares[abs(d)] for d in range(-k, c))
            q = n * of_outputs  # rows that contain an edge
            dual += q * (q + 1) / 2 * (4 * e + overlaps)
        nodes = sum(network.width[1:])
        self.first_inputs = n * network.width[0] * (COORDINATE + base)
        self.evaluation = tables + n * (sum(forward) + outputs)
        self.loss_and_gradient = self.evaluation + n * (backward + LOSS * outputs) + adjoint
        self.linearization = self.evaluation + n * rows
        self.product = 2 * n * int(in_row.sum()) + 2 * coefs
        self.normal_matrix = n * int(in_row @ (in_row + 1)) + 4 * coefs * (coefs + edges) + network.n_parameters**2
        self.dual_gram = 3 * n * nonzeros + round(dual)
        self.layer_inputs = tables + n * sum(forward[:-1])
        self.deviations = tables + n * (sum(forward) + DEVIATION * (edges + nodes))


def _share(grid: np.ndarray, d: int) -> np.ndarray:
    """Fraction of pairs of evenly spread samples whose spans of a node are d apart, to one side."""
    return np.maximum(grid - d, 0) / grid**2


def cholesky(q: int) -> int:
    """Operations of the Cholesky factorisation of a matrix of q rows."""
    return q**3 // 3 + q**2 // 2


def solve(q: int) -> int:
    """Operations of solving with a Cholesky factor of q rows."""
    return 2 * q**2


def knot_insertion(before: SplineNetwork, after: SplineNetwork) -> int:
    """Operations of Boehm's algorithm: k weights per knot, each for a mean of two coefficients of every spline."""
    return sum(
        3 * layer.order * (1 + layer.outputs) * (sum(refined.intervals) - sum(layer.intervals))
        for layer, refined in zip(before.layers, after.layers, strict=True)
    )
