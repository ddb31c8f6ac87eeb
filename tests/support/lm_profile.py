"""Where the time of an LM step goes, and the Cholesky factorisation against OpenBLAS's.

python tests/support/lm_profile.py    # two Markdown tables

The first table has the shares of the first ten steps with 1000 samples, in processor time.
"""

from time import thread_time

import numpy as np
from scipy.linalg.lapack import dpotrf
from tabulate import tabulate

from kanbench.benchmark.cases import Case
from kanbench.benchmark.contenders import STEPS, Kanbench
from kanbench.benchmark.hardware import one_thread
from kanbench.engine.numba_engine import cholesky, lapack, sparse
from kanbench.engine.numba_engine.simd import LANES
from kanbench.plan.config import load_config

MODELS = [((2, 5, 1), grid) for grid in (3, 20, 50, 100)] + [((2, 5, 5, 1), 5), ((2, 5, 5, 5, 1), 5)]
PARTS = {"factorise": "Cholesky", "normal_matrix": "JᵀJ", "dual_gram": "JJᵀ", "dsyrk": "of which `dsyrk`"}
UNKNOWNS = 120, 375, 825, 1000  # parameters at G = 3, 20 and 50; at G = 100, residuals
REPETITIONS = 10
MEASUREMENTS = 50


def seconds_of_parts(width, grid):
    """`{function: processor time of it in `REPETITIONS` of the first ten steps}`; `lm_step` is the whole."""
    spent = {}

    def timed(owner, name):
        function = getattr(owner, name)

        def measured(*arguments, **options):
            start = thread_time()
            result = function(*arguments, **options)
            spent[name] = spent.get(name, 0.0) + thread_time() - start
            return result

        setattr(owner, name, measured)
        return owner, name, function

    linearization = sparse.SparseLinearization
    owners = cholesky, linearization, linearization, lapack
    kept = [timed(owner, name) for owner, name in zip(owners, PARTS, strict=True)] + [timed(Kanbench, "lm_step")]
    side = Kanbench(Case(width, grid), "compiled", load_config()["optimizers"]["lm"])
    for repetition in range(1 + REPETITIONS):
        side.begin_lm()
        if repetition == 1:  # the first warms up
            spent.clear()
        for _ in range(STEPS):
            side.lm_step()
    for owner, name, function in kept:
        setattr(owner, name, function)
    return spent


def least(function, prepare=lambda: None):
    """The least seconds of a call, without those of `prepare` before it."""
    found = []
    for _ in range(MEASUREMENTS):
        prepare()
        start = thread_time()
        function()
        found.append(thread_time() - start)
    return min(found)


def factorisation(n):
    """Seconds of our factorisation, of `dpotrf` in place, and of a product of two matrices of 1000 rows."""
    random = np.random.default_rng(0)
    rows, square = random.standard_normal((n, n)), random.standard_normal((1000, 1000))
    matrix = rows @ rows.T + n * np.eye(n)
    strips = np.empty(cholesky.begin_of(-(-n // LANES) * LANES))
    copy = np.empty((n, n), order="F")
    ours = least(lambda: cholesky.factorise(matrix, 0.0, strips))
    theirs = least(lambda: dpotrf(copy, lower=False, overwrite_a=True, clean=False), lambda: np.copyto(copy, matrix))
    return ours, theirs, least(lambda: square @ square)


def main():
    rows = []
    for width, grid in MODELS:
        spent = seconds_of_parts(width, grid)
        whole = spent.pop("lm_step")
        shares = [f"{spent[part] / whole:.0%}" if part in spent else "" for part in PARTS]
        rows.append([list(width), grid, f"{whole / (STEPS * REPETITIONS) * 1000:.2g} ms", *shares])
    print(tabulate(rows, ["width", "G", "step", *PARTS.values()], "github"), end="\n\n")
    rows = []
    for n in UNKNOWNS:
        ours, theirs, product = factorisation(n)
        rate = (n**3 / 3 / ours) / (2 * 1000**3 / product)
        rows.append([n, f"{ours * 1e6:.0f} µs", f"{ours / theirs:.0%}", f"{rate:.0%}"])
    heads = ["unknowns", "Cholesky", "of the time of `dpotrf`", "of the rate of a matrix product"]
    print(tabulate(rows, heads, "github"))


if __name__ == "__main__":
    with one_thread():
        main()
