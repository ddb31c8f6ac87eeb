"""The two-loop recursion of L-BFGS (Nocedal & Wright, Algorithm 7.4)."""

from kanbench.engine.kernels import compiled


def two_loops(q, s, y, rho, alpha, scale, newest, count):
    """q = H q, for arrays or tensors.

    H is the inverse Hessian that `count` pairs s, y make of scale · I. The rows of s and y are a ring, and `newest` is
    the last that was filled; rho are 1 / (s · y), and alpha, as long, is overwritten.
    """
    for age in range(count):
        i = (newest - age) % len(s)
        alpha[i] = rho[i] * (s[i] @ q)
        q -= alpha[i] * y[i]
    q *= scale
    for age in range(count - 1, -1, -1):
        i = (newest - age) % len(s)
        q += (alpha[i] - rho[i] * (y[i] @ q)) * s[i]


compiled_two_loops = compiled(two_loops)
