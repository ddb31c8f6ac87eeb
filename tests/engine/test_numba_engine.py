"""The compiled engine: what it keeps, its chunks and threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kanbench.engine import make_engine
from kanbench.engine.numba_engine.engine import CHUNK, CompiledEngine
from kanbench.engine.numba_engine.layout import all_parameters
from kanbench.network.spline_network import SplineLayer, SplineNetwork
from kanbench.plan.config import ROOT
from support.models_at_random import random_model, sample


def test_nothing_is_kept_of_earlier_parameters(network, data):
    """Every evaluation is one of the θ that it is given, whatever came before, and whatever the network's are."""
    theta, engine = network.parameters() + 0.1, make_engine("compiled", network, *data)
    fresh = make_engine("compiled", network.with_parameters(theta - 1), *data)
    before = engine.predict(theta, data[0]), engine.residuals(theta), *engine.loss_and_gradient(theta)
    linearization = engine.linearize(theta)
    jvp = linearization.jvp(theta)
    engine.loss_and_gradient(theta + 1)
    assert not np.array_equal(engine.predict(theta + 1, data[0]), before[0])
    engine.linearize(theta + 2)
    assert np.array_equal(linearization.jvp(theta), jvp)
    for each in (engine, fresh):
        after = each.predict(theta, data[0]), each.residuals(theta), *each.loss_and_gradient(theta)
        assert all(map(np.array_equal, after, before))
        assert np.array_equal(each.linearize(theta).jvp(theta), jvp)


def test_nothing_that_goes_in_changes_and_nothing_that_comes_out_is_shared(network, data):
    theta, (x, y) = network.parameters(), data
    for array in (theta, x, y):
        array.flags.writeable = False
    engine = make_engine("compiled", network, x, y)
    gradient, residuals, predictions = (
        engine.loss_and_gradient(theta)[1],
        engine.residuals(theta),
        engine.predict(theta, x),
    )
    kept = [array.copy() for array in (gradient, residuals, predictions)]
    for array in (gradient, residuals, predictions):
        assert array.flags.writeable and array.flags.owndata
    engine.loss_and_gradient(theta + 1), engine.residuals(theta + 1), engine.predict(theta + 1, x)
    assert all(map(np.array_equal, kept, (gradient, residuals, predictions)))


def test_all_parameters_are_those_of_the_network(network):
    """θ first, and then what is held fixed; every part where its position says."""
    for fixed in ((), ("scale_sp",), ("scale_base", "scale_sp")):
        some = random_model([3, 2], 3, 6, seed=5, fixed=fixed)
        parameters, positions = all_parameters(some)
        assert np.array_equal(parameters[: some.n_parameters], some.parameters())
        every = []
        for (number, name), places in positions.items():
            layer = some.layers[number]
            for (i, j), at in zip(np.argwhere(layer.live), places, strict=True):
                value = layer.coef[i][j] if name == "coef" else getattr(layer, name)[[i], j]
                assert np.array_equal(parameters[at : at + len(value)], value)
                is_trained = name not in fixed and not (name == "scale_base" and layer.fixed_base[i])
                assert (at < some.n_parameters) == is_trained
                every += range(at, at + len(value))
        assert sorted(every) == list(range(len(parameters)))


def test_spans_and_local_coordinates_are_those_of_a_binary_search():
    """Knots far apart, close together and at one place; x on them, just below, between, outside and not finite."""
    random, k = np.random.default_rng(0), 3
    t = np.sort([*np.linspace(-1, 1, 12), *(0.3 + 1e-7 * np.arange(5)), 0.5, 0.5])
    one = np.ones((1, 1))
    layer = SplineLayer((t,), (random.normal(size=(1, len(t) - 1 - k)),), one, one, one, k, np.array([False]))
    x = np.r_[t, np.nextafter(t, -2), random.uniform(-1, 1, 200), -2, 2, np.nan, np.inf, -np.inf]
    engine = CompiledEngine(SplineNetwork((layer,), np.zeros(1)), x[:, None], np.zeros((len(x), 1)))
    inside = (t[0] <= x) & (x < t[-1])
    span = np.where(inside, np.searchsorted(t, x, side="right"), 0)  # numbered from 1
    u = np.where(inside, (x - t[span - 1]) / np.where(inside, t[span] - t[span - 1], 1), 0)
    assert np.array_equal(engine.work.first.span[: len(x)], span)
    np.testing.assert_allclose(engine.work.first.u[: len(x)], u, rtol=0, atol=4e-16)


@pytest.mark.parametrize("outputs", [1, 3])
def test_many_samples_on_any_number_of_threads(outputs):
    """Sums are formed chunk by chunk: of more samples than one, results are the same, and those of the reference."""
    network, n = random_model([3], 3, 5, seed=3, ends=(2, outputs)), 2 * CHUNK + 700
    x, y = sample(network, n, seed=1)
    theta = network.parameters() + 0.1
    alone, together = (make_engine("compiled", network, x, y, threads) for threads in (1, 3))
    (loss, gradient), (same_loss, same_gradient) = (each.loss_and_gradient(theta) for each in (alone, together))
    assert loss == same_loss and np.array_equal(gradient, same_gradient)
    assert np.array_equal(alone.residuals(theta), together.residuals(theta))
    expected = make_engine("torch", network, x, y).loss_and_gradient(theta)
    assert loss == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(gradient, expected[1], rtol=0, atol=1e-12 * np.linalg.norm(expected[1]))


@pytest.mark.slow
def test_same_in_every_process():
    program = """
import numpy as np
from kanbench.engine import make_engine
from kanbench.network.initialization import initialize
x = np.linspace(-1, 1, 200).reshape(100, 2)
network = initialize([2, 5, 1], 5)
engine = make_engine("compiled", network, x, np.sin(x[:, :1]))
loss, gradient = engine.loss_and_gradient(network.parameters())
text = f"{loss.hex()} {gradient.tobytes().hex()}"
"""
    here = {}
    exec(program, here)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    command = [sys.executable, "-c", program + "print(text)"]
    elsewhere = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == here["text"]


@pytest.fixture(scope="module")
def nothing_compiled(tmp_path_factory):
    """The environment of a machine without kernels, whose kernels will check every index; and where they will be.

    Indices do not depend on LLVM's optimization, which takes most of the time.
    """
    folder = tmp_path_factory.mktemp("kernels")
    path = os.pathsep.join([str(ROOT / "workflow"), *sys.path])
    checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_OPT": "1", "NUMBA_CACHE_DIR": str(folder)}
    return os.environ | {"PYTHONPATH": path} | checked, folder


@pytest.mark.slow
def test_an_engine_is_the_first_to_compile(nothing_compiled):
    """For a network from a file: compiling it needs kernels that are not there either."""
    program = """
import numpy as np
from kanbench.engine import make_engine
from kanbench.network.spline_network import SplineLayer, SplineNetwork
t, ones = np.arange(-3.0, 5.0), np.ones((1, 1))
layers = [SplineLayer((t,), (np.ones((1, 4)),), ones, ones, ones, 3) for _ in range(2)]
network = SplineNetwork(tuple(layers), np.zeros(1))
engine = make_engine("compiled", network, np.zeros((2, 1)), np.zeros((2, 1)))
print(engine.loss_and_gradient(network.parameters())[0] > 0)
"""
    environment, _ = nothing_compiled
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.slow
def test_compiled_code_stays_within_its_arrays(nothing_compiled):
    """The quick tests of kernels in double precision, compiled anew with a check of every index."""
    environment, folder = nothing_compiled
    tests = [__file__, str(Path(__file__).with_name("test_linearization.py"))]
    command = [sys.executable, *["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m"], "not slow", "-k", "not float32"]
    result = subprocess.run([*command, *tests], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    assert [*folder.rglob("*.nbc")]
