"""The recursion of L-BFGS (Nocedal & Wright, Algorithm 7.4)."""

from kanbench.engine.structures import compiled

SMALLEST_CURVATURE = 1e-10  # torch's: pairs with less are not remembered


@compiled
def remember_and_apply(q, change, difference, s, y, rho, alpha, scale, newest, count):
    """Remember a pair, and make q the direction -H q, in place.

    H is the inverse Hessian that the remembered pairs make of scale · I.

    Parameters
    ----------
    change, difference : arrays of shape (P,)
        Δθ and Δgradient of the last iteration.
    s, y : arrays of shape (m, P)
        The pairs, in a ring: `newest` is the last that was filled, and `count` are there.
    rho, alpha : arrays of shape (m,)
        1 / (s · y), and room.

    Returns
    -------
    scale, newest, count
    """
    curvature = change @ difference
    if curvature > SMALLEST_CURVATURE:
        newest, count = (newest + 1) % len(s), min(count + 1, len(s))
        s[newest], y[newest], rho[newest] = change, difference, 1 / curvature
        scale = curvature / (difference @ difference)
    for age in range(count):
        i = (newest - age) % len(s)
        alpha[i] = rho[i] * (s[i] @ q)
        q -= alpha[i] * y[i]
    q *= -scale
    for age in range(count - 1, -1, -1):
        i = (newest - age) % len(s)
        q -= (alpha[i] + rho[i] * (y[i] @ q)) * s[i]
    return scale, newest, count
