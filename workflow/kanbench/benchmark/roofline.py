"""Roofline model: the arithmetic and memory traffic of one evaluation of loss and gradient, and the hardware's limit.

Counted is the minimum work of a program that evaluates the k + 1 nonzero basis functions of a spline as polynomials and
stores those of the first layer (its inputs change only with the grid). A multiplication and an addition are one
operation each, an exponential is `EXP`. With E_l edges and I_l inputs of layer l, and C = k + 1, per sample:

    bases of an input, l > 1       I_l (2 + 2kC + 2(k-1)C)       local coordinate; Horner, values and derivatives
    base function, l > 1           I_l (EXP + 3 + 4)             x/(1 + exp(-x)) and its derivative
    edges forward                  E_l (2C + 2)                  Σ e_c B_c + b base, added to the node
    edges backward                 E_l (2C + 2)                  ∂/∂e_c and ∂/∂b, added to the sums over samples
    to the inputs, l > 1           E_l (2C + 4)                  δ_j (Σ e_c B'_c + b base'), added to δ_i
    loss                           4                             r, r² added to the sum, 2r/n

and per evaluation, for e = scale_sp coef, b = scale_base and their chain rule, E_l (4 (G + k) + 2).

Traffic per sample: for every input of the first layer C bases, the base function and the index of the knot span, and
the target. Traffic per evaluation: every parameter is read, and every element of the gradient written. All else can
stay in cache.

The limit is min(peak FLOP/s, FLOP/byte · peak bytes/s) (Williams, Waterman & Patterson 2009). If the sample fits in a
cache, traffic is faster than memory, and only the share of peak FLOP/s is meaningful.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

# Operations of an exponential in double precision: range reduction and a polynomial of degree 11 or so. In float32,
# libraries take about as many.
EXP = 20


def flops(width: Sequence[int], grid: int, k: int, n: int) -> int:
    """Operations of one evaluation of loss and gradient for n samples without masked edges, counted as above."""
    c = k + 1
    per_sample, per_evaluation = 4, 0
    for number, (inputs, outputs) in enumerate(itertools.pairwise(width)):
        edges = inputs * outputs
        per_sample += edges * 2 * (2 * c + 2)
        if number > 0:
            per_sample += inputs * (2 + 2 * k * c + 2 * (k - 1) * c + EXP + 7) + edges * (2 * c + 4)
        per_evaluation += edges * (4 * (grid + k) + 2)
    return n * per_sample + per_evaluation


def traffic(width: Sequence[int], grid: int, k: int, n: int, itemsize: int) -> int:
    """Bytes of one evaluation of loss and gradient for n samples without masked edges, counted as above."""
    edges = sum(inputs * outputs for inputs, outputs in itertools.pairwise(width))
    parameters = edges * (grid + k + 2)
    return itemsize * (n * (width[0] * (k + 1 + 2) + 1) + 2 * parameters)


def roofline(flops: int, traffic: int, seconds: float, peak_flops: float, bandwidth: float) -> dict[str, object]:
    """Compute operations and bytes per second, their shares of the peaks, and which of the two is the limit."""
    by_memory = flops / traffic * bandwidth
    return {
        "flops": flops,
        "bytes": traffic,
        "flops_per_second": flops / seconds,
        "bytes_per_second": traffic / seconds,
        "share_of_peak_flops": flops / seconds / peak_flops,
        "share_of_bandwidth": traffic / seconds / bandwidth,
        "bound": "arithmetic" if peak_flops < by_memory else "memory",
        "share_of_limit": flops / seconds / min(peak_flops, by_memory),
    }
