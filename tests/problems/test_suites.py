"""The problems of published suites: formulas against other evaluations, and the figures that are published of them."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import integrate, optimize, special

from kanbench.problems import PROBLEMS, feynman, multilevel
from kanbench.problems.published import PUBLISHED, published_of
from kanbench.problems.samples import make_dataset

POINT = (0.3, -0.7, 0.4)
SUITES = ("initialization_", "feynman_", "kan_paper_", "multilevel", "section1_")


def value(name, *point):
    """Of a problem at one point."""
    return PROBLEMS[name].values(np.array([point], float)).item()


def values(name, points):
    return PROBLEMS[name].values(points).ravel()


def test_what_planning_imports_imports_no_scipy_special():
    code = "import sys, kanbench.problems.published; print('scipy.special' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name.startswith(SUITES)])
def test_targets_are_finite_on_their_samples(name):
    problem = PROBLEMS[name]
    for dtype in (np.float32, np.float64):
        data = make_dataset(problem, 100, 10, 500, 0, dtype)
        for label in (data.train_label, data.dense_label):
            assert label.dtype == dtype
            assert np.isfinite(label).all()
    assert problem.width is None or problem.width[0] == problem.dim


# --- initialization: integrals and series, worked out without scipy.special ---


def bessel_i1(x):
    """By its power series."""
    return sum((x / 2) ** (2 * m + 1) / (math.factorial(m) * math.factorial(m + 1)) for m in range(20))


def f3(x, y):
    return bessel_i1(x) + math.exp(math.exp(-abs(y)) * bessel_i1(y)) + math.sin(x * y)


def inverse_erf(y):
    return optimize.brentq(lambda z: math.erf(z) - y, -6, 6, xtol=1e-15)


@pytest.mark.parametrize(("x", "y"), [(0.3, -0.7), (-0.9, 0.2), (0.8, 0.9), (0.0, 0.0)])
def test_functions_of_the_study_of_initialization(x, y):
    assert value("initialization_f1", x, y) == x * y
    assert value("initialization_f2", x, y) == pytest.approx(math.exp(math.sin(math.pi * x) + y * y), rel=1e-14)
    assert value("initialization_f3", x, y) == pytest.approx(f3(x, y), rel=1e-13)
    z = f3(x, y) + inverse_erf(y)
    parts = [integrate.quad(lambda t, f=f: f(math.pi * t * t / 2), 0, z, epsabs=1e-13)[0] for f in (math.sin, math.cos)]
    assert value("initialization_f4", x, y) == pytest.approx(math.prod(parts), abs=1e-12)
    last = x * y if x * y < 1 else 1 / (x * y)
    expected = y * (1 if x < 0.5 else -1) + math.erf(x) * min(x * y, last)
    assert value("initialization_f5", x, y) == pytest.approx(expected, rel=1e-13, abs=1e-15)


# --- feynman ---

A, B, C = POINT
FEYNMAN = {  # at POINT, written in another way than the code where there is one
    1: math.sqrt(1 / (2 * math.pi)) / abs(B) * math.exp(-((A / B) ** 2) / 2),
    2: math.sqrt(1 / (2 * math.pi)) / abs(C) * math.exp(-(((A - B) / C) ** 2) / 2),
    3: 1 + A * math.sin(B),
    4: A / B - A,
    5: math.tanh(math.atanh(A) + math.atanh(B)),
    6: (1 + A * B) / (1 + A),
    7: math.pi / 2 - math.acos(A * math.sin(B)),
    8: (1 + A * B) ** -1,
    9: abs(1 - A * complex(math.cos(B - C), math.sin(B - C))),
    10: (1 - math.cos(A * B)) / (1 - math.cos(B)),
    11: A / math.exp(B),
    12: math.cos(A) + B * (1 + math.cos(2 * A)) / 2,
    13: A * B - B,
    14: C * abs(complex(A, B)) / (4 * math.pi),
    15: A + A * B * math.cos(C),
    16: 1 / (1 / (A * B) - 1 / 3),
    17: A / (2 * math.cosh(B)),
    18: A + B * C,
    19: math.dist((1, A, B), (0, 0, 0)),
    20: B + A * B * math.cos(C),
}


@pytest.mark.parametrize("number", FEYNMAN)
def test_equations_of_feynman(number):
    name = f"feynman_{number:02d}"
    problem = PROBLEMS[name]
    assert problem.width == (problem.dim, 8, 8, 1)
    assert value(name, *POINT[: problem.dim]) == pytest.approx(FEYNMAN[number], rel=1e-13)


def test_there_are_twenty_equations_of_which_five_are_singular():
    names = [name for name in PROBLEMS if name.startswith("feynman_")]
    assert names == [f"feynman_{number:02d}" for number in range(1, 21)]
    assert [name for name in names if PROBLEMS[name].dim == 3] == [f"feynman_{n:02d}" for n in (2, 9, 14, 15, 18, 20)]
    assert len(feynman.SINGULAR) == 5
    # On 100 times nearer a singularity targets grow, in the others they do not.
    for name in names:
        d, near = PROBLEMS[name].dim, 1e-3
        corner = {"feynman_06": (-1 + near, 0.5), "feynman_08": (-1 + near, 1 - near)}.get(name, (near,) * d)
        assert (abs(value(name, *corner)) > 10) == (name in feynman.SINGULAR and name != "feynman_04")
    assert value("feynman_04", 1, 1e-3) == pytest.approx(999)


def test_where_an_equation_divides_by_an_input_it_is_kept_from_zero():
    assert value("feynman_04", 1.0, 0.0) == pytest.approx(1e6 - 1)
    assert value("feynman_10", 0.5, 0.0) == pytest.approx(0.25, rel=1e-9)
    assert value("feynman_01", 0.0, -0.0) == pytest.approx(1e6 / math.sqrt(2 * math.pi))


# --- the KAN paper ---


def test_functions_of_the_kan_paper():
    points = np.random.default_rng(0).uniform(-1, 1, (50, 100))
    x, y, z, w = points[:, :4].T
    exp_sin = np.exp(np.sin(np.pi * x)) * np.exp(y * y)
    for name in ("kan_paper_exp_sin", "kan_paper_exp_sin_5"):
        np.testing.assert_allclose(values(name, points[:, :2]), exp_sin, rtol=1e-13)
    np.testing.assert_array_equal(values("kan_paper_product", points[:, :2]), x * y)
    squares = [np.hypot(x, y) ** 2, np.hypot(z, w) ** 2]
    expected = np.sqrt(np.prod([np.exp(np.sin(np.pi * square)) for square in squares], axis=0))
    np.testing.assert_allclose(values("kan_paper_exp_sines_4d", points[:, :4]), expected, rtol=1e-12)
    means = (1 - np.cos(np.pi * points)).mean(axis=1) / 2  # sin²(a/2) = (1 - cos a) / 2
    np.testing.assert_allclose(values("kan_paper_exp_sines_100d", points), np.exp(means), rtol=1e-13)


@pytest.mark.parametrize("x", [0.0, 0.11, -0.63, 1.0])
def test_bessels_function(x):
    """By its integral, the mean of cos(20x sin t)."""
    integral = integrate.quad(lambda t: math.cos(20 * x * math.sin(t)), 0, math.pi, epsabs=1e-13, limit=200)[0]
    assert value("kan_paper_bessel", x) == pytest.approx(integral / math.pi, abs=1e-12)
    assert special.j0(20 * x) == value("kan_paper_bessel", x)


# --- multilevel ---


def test_the_function_of_the_multilevel_study():
    x, y, angle = 0.2, 0.9, 0.175
    rotated = complex(x, y) * complex(math.cos(angle), math.sin(angle))
    u, v = rotated.real, rotated.imag
    expected = math.cos(4 * math.pi * u) + math.sin(math.pi * v) + math.sin(2 * math.pi * v)
    expected += abs(math.sin(3 * math.pi * v**2))
    scale = multilevel.HIGHEST - multilevel.LOWEST
    assert value("multilevel", x, y) == pytest.approx((expected - multilevel.LOWEST) / scale, rel=1e-13)


def test_the_multilevel_target_has_the_range_from_0_to_1():
    """Found again from a coarser grid, each of its 50 best points improved."""
    low, high = multilevel.DOMAIN[0]
    axis = np.linspace(low, high, 401)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    target = values("multilevel", grid)
    for sign, end in ((1, 0), (-1, 1)):
        found = [
            optimize.minimize(
                lambda point, sign=sign: sign * value("multilevel", *point),
                start,
                method="Nelder-Mead",
                bounds=multilevel.DOMAIN,
                options={"xatol": 1e-10, "fatol": 1e-14},
            ).fun
            for start in grid[np.argsort(sign * target)[:10]]
        ]
        assert sign * min(found) == pytest.approx(end, abs=1e-12)
    assert target.min() >= 0 and target.max() <= 1


# --- the study's first part ---


def test_problems_of_the_first_part():
    x = np.linspace(-1, 1, 41)[:, None]
    for f in range(1, 6):
        np.testing.assert_allclose(values(f"section1_sine_{f}", x), np.exp(2j * np.pi * f * x).imag.ravel(), atol=1e-14)
    assert [value("section1_piecewise", at) for at in (-1, 0.29, 0.3, 0.59, 0.6, 0.79, 0.8)] == [
        *(-0.5, -0.5, 0.3, 0.3, 1.0, 1.0, -0.2)
    ]
    assert [value("section1_sawtooth", at) for at in (-0.25, -0.125, 0, 0.0625, 0.5)] == [0, 0.5, 0, 0.25, 0]
    np.testing.assert_allclose(values("section1_polynomial", x), (x * (x - 1) ** 2).ravel(), atol=1e-14)
    for f in (1, 2, 3):
        for g in (1, 2, 3):
            assert value(f"section1_sines_{f}_{g}", 0.25 / f, 0.25 / g) == pytest.approx(1)
            assert value(f"section1_sines_{f}_{g}", 0.3, 0.5 / g) == pytest.approx(0, abs=1e-14)
    bumps = 1 + math.exp(-0.08 / 0.02) + math.exp(-0.32 / 0.02)  # at the centre of the one in the middle
    assert value("section1_gaussians", 0.5, 0.5) == pytest.approx(1 + 2 * math.exp(-4), rel=1e-12)
    assert value("section1_gaussians", 0.3, 0.3) == pytest.approx(bumps - math.exp(-4) + math.exp(-8), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "u"),
    [
        ("sin", lambda x: np.sin(np.pi * x)),
        ("poly", lambda x: x * (1 - x)),
        ("highfreq", lambda x: np.sin(4 * np.pi * x)),
    ],
)
def test_sources_in_one_dimension(name, u):
    """-u″ by central differences, whose error is u⁗ h²/12: at most 2100 h²."""
    x, h = np.linspace(-0.9, 0.9, 19)[:, None], 1e-4
    second = (u(x + h) - 2 * u(x) + u(x - h)) / h**2
    np.testing.assert_allclose(values(f"section1_poisson_{name}", x), -second.ravel(), atol=1e-4)


# --- published figures ---


def test_published_figures_are_of_problems():
    assert {figure.problem for figure in PUBLISHED} <= PROBLEMS.keys()
    assert len(PUBLISHED) == 5 * 3 + 20 * 2 + 5 + 4
    assert published_of("poisson_2d_sin") == ()
    assert [figure.value for figure in published_of("feynman_19")] == [2.2e-3, 8.7e-5]
    assert min(figure.value for figure in published_of("multilevel")) == 3.67e-5
    assert {figure.problem for figure in PUBLISHED if figure.singular} == set(feynman.SINGULAR)
    assert all(figure.value > 0 and figure.what and figure.source for figure in PUBLISHED)
