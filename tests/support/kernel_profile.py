"""Where the time of the compiled engine's loss and gradient goes: `python tests/support/kernel_profile.py`.

A line for every kernel, in microseconds for an evaluation: the least of many measurements, each of a few evaluations in
compiled code. Kernels are run alone, on what an evaluation left, so that their sum is not quite the whole. Arguments
are cases, as "2,5,5,1 5 1000 float64": width, grid intervals, samples, precision.
"""

import sys
import time

import numpy as np

from kanbench.benchmark.roofline import flops
from kanbench.engine.numba_engine import inputs, kernels, tables
from kanbench.engine.numba_engine.engine import CompiledEngine
from kanbench.engine.numba_engine.simd import LANES
from kanbench.engine.numba_engine.structures import BLOCK
from kanbench.io.kernel_cache import compiled
from kanbench.network.initialization import initialize

CASES = "2,5,5,1 5 1000 float64", "2,5,1 3 1000 float64", "2,5,1 100 1000 float64"
TIMES = 5  # evaluations in one measurement, all of them in less than the scheduler takes to interrupt one
MEASUREMENTS = 300


@compiled
def nothing(times, parameters, work, gradient, number):
    return None


@compiled
def whole(times, parameters, work, gradient, number):
    for _ in range(times):
        kernels.loss_and_gradient(parameters, work, gradient)


@compiled
def to_tables(times, parameters, work, gradient, number):
    for _ in range(times):
        tables.fill_tables(parameters, work.layout, work.tables)


@compiled
def from_tables(times, parameters, work, gradient, number):
    for _ in range(times):
        for part in work.derivatives:
            part[:] = 0
        tables.tabulate_splines_vjp(work.layout, work.derivatives)
        tables.chain_rule(parameters, work.layout, work.derivatives, gradient)


@compiled
def node_inputs(times, parameters, work, gradient, number):
    net, buffers, n = work.layout, work.buffers, len(work.x)
    layer = net.layers[number]
    for _ in range(times):
        for start in range(0, n, BLOCK):
            m = min(BLOCK, n - start)
            for i in range(layer.width):
                index = layer.first_node + i
                inputs.copy_column(buffers.values, layer.at + i, layer.stride, m, buffers.column)
                inputs.fill_inputs(buffers.column, m, net.nodes[index], net, buffers.inputs, index * BLOCK, True)


@compiled
def edges(times, parameters, work, gradient, number):
    net, buffers, n = work.layout, work.buffers, len(work.x)
    layer, following = net.layers[number], net.layers[number + 1]
    kept = number == 0 and len(work.first.span) > LANES
    values = work.first if kept else buffers.inputs
    for _ in range(times):
        for start in range(0, n, BLOCK):
            m = min(BLOCK, n - start)
            outputs = buffers.values[following.at : following.at + m * following.stride]
            outputs[:] = 0
            for i in range(layer.width):
                index = layer.first_node + i
                at = index * n + start if kept else index * BLOCK
                kernels.add_edges(net.nodes[index], net.w, m, following.stride, values, at, work.tables, outputs)


@compiled
def back(times, parameters, work, gradient, number):
    for _ in range(times):
        for start in range(0, len(work.x), BLOCK):
            kernels.backward(number, start, min(BLOCK, len(work.x) - start), work, True)


def least(function, times=TIMES):
    """Seconds of one of `times` evaluations that function(times) does."""
    found = []
    for _ in range(MEASUREMENTS):
        start = time.perf_counter()
        function(times)
        found.append((time.perf_counter() - start) / times)
    return min(found)


def profile(width, grid, n, dtype):
    """Kernels, and the microseconds that they take."""
    random, network = np.random.default_rng(0), initialize(width, grid=grid, dtype=dtype)
    x, y = random.uniform(-1, 1, (n, width[0])), random.standard_normal((n, width[-1]))
    theta = (network.parameters() + 0.1 * random.standard_normal(network.n_parameters)).astype(dtype)
    engine = CompiledEngine(network, x, y)
    arguments = engine.parameters, engine.work, np.empty_like(theta)
    parts = [("tables from parameters", to_tables, 0)]
    for number in range(len(width) - 1):
        parts += [(f"layer {number + 1}: spans, base function", node_inputs, number)] if number else []
        parts += [(f"layer {number + 1}: edges", edges, number), (f"layer {number + 1}: back", back, number)]
    parts += [("gradient from tables", from_tables, 0)]

    def seconds(kernel, number=0):
        engine.loss_and_gradient(theta)
        kernel(1, *arguments, number)
        return least(lambda times: kernel(times, *arguments, number))

    call = seconds(nothing)  # of a function that does nothing
    found = {name: seconds(kernel, number) - call for name, kernel, number in parts}
    compiled_code = seconds(whole) - call
    found["loss, and kernels interrupting each other"] = compiled_code - sum(found.values())
    found["call from Python"] = least(lambda times: [engine.loss_and_gradient(theta) for _ in range(times)])
    found["call from Python"] -= compiled_code
    return {name: 1e6 * value for name, value in found.items()}


def main():
    for case in sys.argv[1:] or CASES:
        width, grid, n, dtype = case.split()
        sizes = list(map(int, width.split(","))), int(grid), int(n)
        found = profile(*sizes, dtype)
        speed = flops(*sizes[:2], 3, sizes[2]) / sum(found.values()) / 1000
        print(f"\n[{width}], G = {grid}, {n} samples, {dtype}: {sum(found.values()):.0f} µs, {speed:.1f} GFLOP/s")
        for name, microseconds in found.items():
            print(f"  {name:45s} {microseconds:6.1f} µs {microseconds / sum(found.values()):6.1%}")


if __name__ == "__main__":
    main()
