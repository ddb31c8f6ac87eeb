"""torch's random numbers in numpy, so that samples and initial networks equal pykan's without importing torch.

torch's CPU generator is a Mersenne Twister (MT19937), seeded like numpy's `RandomState`. `torch.rand` uses 24 bits of a
32-bit output for each number; `torch.randint` takes the output modulo the range.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

SOBOL_BITS = 30  # torch.quasirandom.SobolEngine.MAXBIT
DIRECTION_NUMBERS = Path(scipy.__file__).parent / "stats" / "_sobol_direction_numbers.npz"  # scipy.stats takes a second


class TorchGenerator:
    """The stream of `torch.Generator().manual_seed(seed)`, for 0 <= seed < 2**32."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def _draw(self, count: int) -> NDArray[np.uint32]:
        return self._state.randint(0, 2**32, size=count, dtype=np.uint32)

    def rand(self, *shape: int) -> NDArray[np.float32]:
        """`torch.rand(*shape)`: uniform in [0, 1), in float32."""
        bits = self._draw(math.prod(shape)) & np.uint32(2**24 - 1)
        return (bits.astype(np.float32) * np.float32(2**-24)).reshape(shape)

    def randint(self, high: int, *shape: int) -> NDArray[np.int64]:
        """`torch.randint(high, shape)`, for `high` below 2**28."""
        return (self._draw(math.prod(shape)) % np.uint32(high)).astype(np.int64).reshape(shape)


def linspace(low: float, high: float, count: int) -> NDArray[np.float32]:
    """`torch.linspace(low, high, count)` in float32: steps from both ends to the middle, each number rounded once."""
    first, last = np.float32(low), np.float32(high)
    step = np.float64((last - first) / np.float32(count - 1))
    i = np.arange(count)
    return np.where(i < count // 2, first + step * i, last - step * (count - 1 - i)).astype(np.float32)


def sobol(count: int, dimension: int, seed: int) -> NDArray[np.float64]:
    """`torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed).draw(count, dtype=torch.float64)`.

    Scrambled by a random lower triangular matrix and a digital shift (Matoušek, 1998).

    Returns:
        array of shape (count, dimension): In [0, 1).
    """
    generator = TorchGenerator(seed)
    shift = generator.randint(2, dimension, SOBOL_BITS) @ (1 << np.arange(SOBOL_BITS))
    lower = np.tril(generator.randint(2, dimension, SOBOL_BITS, SOBOL_BITS), -1) + np.eye(SOBOL_BITS, dtype=np.int64)
    bit = 1 << np.arange(SOBOL_BITS - 1, -1, -1)  # the first row and column are the highest bit
    directions = _directions(dimension)
    digits = (directions[:, None, :] & bit[None, :, None]) != 0  # (dimension, bit, direction)
    directions = bit @ (lower @ digits % 2)
    index = np.arange(1, count)
    lowest_zero = np.log2(index & -index).astype(int)  # lowest zero bit of index - 1, where the Gray code changes
    points = np.bitwise_xor.accumulate(np.vstack([shift, directions[:, lowest_zero].T])) / 2.0**SOBOL_BITS
    points[0] = points[0].astype(np.float32)  # torch rounds the first point
    return points[:count]


def _directions(dimension: int) -> NDArray[np.int64]:
    """The direction numbers of Joe & Kuo (2008) in units of 2**-SOBOL_BITS, shape (dimension, SOBOL_BITS)."""
    with np.load(DIRECTION_NUMBERS) as arrays:
        polynomials, initial = arrays["poly"], arrays["vinit"]  # for 21201 dimensions
    if dimension > len(polynomials):
        raise ValueError(f"{dimension} dimensions; Sobol sequences have at most {len(polynomials)}")
    m = np.ones((dimension, SOBOL_BITS), dtype=np.int64)
    for row, polynomial, start in zip(m[1:], polynomials[1:dimension].tolist(), initial[1:dimension], strict=True):
        degree = polynomial.bit_length() - 1
        row[:degree] = start[:degree]
        for j in range(degree, SOBOL_BITS):  # m_j = 2 a_1 m_(j-1) ^ … ^ 2^s m_(j-s) ^ m_(j-s)
            value = int(row[j - degree])
            for i in range(1, degree + 1):
                if polynomial >> (degree - i) & 1:
                    value ^= int(row[j - i]) << i
            row[j] = value
    return m << np.arange(SOBOL_BITS - 1, -1, -1)
