import numpy as np

from kanbench import problem


@problem(domain=[(0, 100), (-1, 1)])
def decay(t, x):
    """A wave that decays: one argument for every input, arrays of shape (n,)."""
    return np.exp(-t / 50) * np.sin(3 * x)


@problem(domain=[(-1, 1)] * 4, width=[4, 4, 2, 1])
def bumps(x):
    """The same for any number of inputs: one argument, an array of shape (n, 4)."""
    return np.exp(-(x**2)).prod(axis=1)
