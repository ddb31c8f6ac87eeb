"""The compiled engine: numba kernels on the CPU."""
