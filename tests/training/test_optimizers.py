"""Optimizers on problems with known minima, and on a KAN against pykan's own training."""

import contextlib
import io
import itertools

import numpy as np
import pytest
import torch

from kanbench.engine import make_engine
from kanbench.engine.torch_engine.linearization import DenseLinearization
from kanbench.network.initialization import initialize
from kanbench.network.pykan import global_random_state_kept, to_pykan
from kanbench.problems import PROBLEMS as TARGETS
from kanbench.problems import Problem
from kanbench.training.optimizers import line_search, make_optimizer
from kanbench.training.optimizers.levenberg_marquardt import DampedModel, Damping
from kanbench.training.optimizers.line_search import MAX_TRIALS, Line, point_at, strong_wolfe
from kanbench.training.optimizers.scaling import SMALLEST, MarquardtScaled
from support.models_at_random import as_array

SETTINGS = {
    "adam": {"lr": 0.05},
    "lbfgs": {"lr": 1.0, "max_iter": 20, "max_eval": 25, "history_size": 10},
    "lm": {"damping": 1e-3, "attempts": 10, "geodesic_acceleration": True, "scaling": "identity"},
}


class NumpyLinearization:
    """See `kanbench.engine.linearization`: plainly, of numpy arrays."""

    def __init__(self, theta, residuals, evaluate, jacobian):
        self.theta, self.residuals, self.evaluate, self.whole = theta, residuals, evaluate, jacobian
        self.shape = jacobian.shape

    def jvp(self, step):
        return self.whole @ step

    def vjp(self, weights):
        return self.whole.T @ weights

    def jacobian(self):
        return self.whole

    def normal_matrix(self):
        return self._lower_triangle(self.whole.T @ self.whole)

    def dual_gram(self, scale=1.0):
        scaled = self.whole * scale
        return self._lower_triangle(scaled @ scaled.T)

    def column_squares(self):
        return np.square(self.whole).sum(axis=0)

    @staticmethod
    def _lower_triangle(matrix):
        return np.where(np.tri(len(matrix), dtype=bool), matrix, np.nan)  # nothing else may be looked at

    def cholesky(self, matrix, shift):
        try:
            factor = np.linalg.cholesky(matrix + shift * np.eye(len(matrix)))
        except np.linalg.LinAlgError:
            return None
        finally:
            matrix[:] = np.nan
        return lambda b: np.linalg.solve(factor.T, np.linalg.solve(factor, b))

    def residuals_at(self, offset):
        return self.evaluate(self.theta + offset)

    def moved(self, offset):
        return self.theta + offset


class Function:
    """An engine on residuals that torch differentiates; its linearizations are of numpy arrays or of tensors."""

    def __init__(self, residuals, jacobian=None, tensors=False):
        self.function, self.tensors, self.y = residuals, tensors, np.zeros(1)
        self.n_evals = self.flops = 0
        self.jacobian = jacobian or torch.func.jacrev(residuals)

    def _residuals(self, theta):
        self.n_evals += 1
        return self.function(theta)

    def residuals(self, theta):
        return self._residuals(torch.tensor(theta)).numpy()

    def loss_and_gradient(self, theta):
        gradient, loss = torch.func.grad_and_value(lambda t: self._residuals(t).square().mean())(torch.tensor(theta))
        return loss.item(), gradient.numpy()

    def run(self, loop, *arguments):
        return loop.py_func(self, *arguments)[1]

    def linearize(self, theta):
        tensor = torch.tensor(theta)
        residuals, jacobian = self._residuals(tensor), self.jacobian(tensor)
        if self.tensors:
            return DenseLinearization(tensor, residuals, self._residuals, jacobian)
        return NumpyLinearization(theta, residuals.numpy(), self.residuals, jacobian.numpy())

    def loss(self, theta):
        return self.function(torch.tensor(theta)).square().mean().item()


def rosenbrock(t):
    return torch.stack([10 * (t[1] - t[0] ** 2), 1 - t[0]])


def powell(t):
    """Powell's singular function: the Jacobian is singular at the minimum, 0."""
    a, b, c, d = t
    return torch.stack([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def helix(t):
    """Fletcher and Powell's helical valley, with its minimum at (1, 0, 0)."""
    angle = torch.atan2(t[1], t[0]) / (2 * torch.pi)
    return torch.stack([10 * (t[2] - 10 * angle), 10 * (t[0].hypot(t[1]) - 1), t[2]])


def underdetermined(t):
    return (t.sum() - 3)[None]


PROBLEMS = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0], [1.0, 1.0]),
    "powell": (powell, [3.0, -1.0, 0.0, 1.0], [0.0] * 4),
    "helix": (helix, [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
    "underdetermined": (underdetermined, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize(
    ("optimizer", "over", "tensors", "steps", "accuracy"),
    [
        ("lbfgs", {}, False, 20, 2e-2),
        ("lm", {}, False, 60, 1e-4),
        ("lm", {}, True, 60, 1e-4),
        ("lm", {"geodesic_acceleration": False}, False, 60, 1e-4),
        ("lm", {"scaling": "marquardt"}, False, 60, 1e-4),
        ("lm", {"scaling": "marquardt"}, True, 60, 1e-4),
        pytest.param("adam", {}, False, 2500, 0.5, marks=pytest.mark.slow),
    ],
    ids=["lbfgs", "lm", "lm of tensors", "plain lm", "scaled lm", "scaled lm of tensors", "adam"],
)
def test_known_minima(optimizer, over, tensors, steps, accuracy, name):
    residuals, start, minimum = PROBLEMS[name]
    engine, theta = Function(residuals, tensors=tensors), np.array(start)
    method = make_optimizer(optimizer, **{**SETTINGS[optimizer], **over})
    for _ in range(steps):
        theta = method.step(engine, theta)
    assert theta.tolist() == pytest.approx(minimum, abs=accuracy)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_returns_new_parameters_in_the_precision_of_the_old(name, dtype):
    random = np.random.default_rng(0)
    x = random.random((40, 2)).astype(dtype)
    network = initialize([2, 3, 1], 3, dtype=dtype)
    engine, theta = make_engine("compiled", network, x, x[:, [0]] * x[:, [1]]), network.parameters()
    theta.flags.writeable = False
    method = make_optimizer(name, **SETTINGS[name])
    losses = [engine.loss_and_gradient(theta)[0]]
    for _ in range(3):
        new = method.step(engine, theta)
        assert new.dtype == dtype and new.shape == theta.shape and not np.shares_memory(new, theta)
        new.flags.writeable = False
        theta = new
        losses.append(engine.loss_and_gradient(theta)[0])
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("tensors", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("shape", [(50, 8), (8, 50)], ids=["primal", "dual"])
def test_the_solution_of_the_damped_system(shape, tensors):
    random, damping = np.random.default_rng(1), 0.3
    residuals, jacobian = random.normal(size=shape[0]), random.normal(size=shape)
    kind, parts = NumpyLinearization, (np.zeros(shape[1]), residuals, None, jacobian)
    if tensors:
        kind, parts = DenseLinearization, [part if part is None else torch.from_numpy(part) for part in parts]
    linearization = kind(*parts)
    step = as_array(DampedModel(linearization).solver(damping)(linearization.residuals))
    stacked = np.vstack([jacobian, damping**0.5 * np.eye(shape[1])])
    expected = np.linalg.lstsq(stacked, np.concatenate([-residuals, np.zeros(shape[1])]))[0]
    np.testing.assert_allclose(step, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)], ids=["primal", "dual"])
def test_a_matrix_that_is_not_definite_is_made_anew(shape):
    random = np.random.default_rng(1)
    residuals, jacobian = random.normal(size=shape[0]), random.normal(size=shape)
    model = DampedModel(NumpyLinearization(np.zeros(shape[1]), residuals, None, jacobian))
    scale = model.scale
    assert scale == pytest.approx(np.square(jacobian).sum(axis=0 if shape[0] > shape[1] else 1).max(), rel=1e-14)
    assert model.solver(-scale) is None
    assert model.scale == scale
    assert model.solver(1.0) is not None


def lm_on(theta, engine, damping=1.0, **settings):
    """The parameters after one step of Levenberg-Marquardt with this λ, and its λ then."""
    method = make_optimizer("lm", **{**SETTINGS["lm"], **settings})
    method.damping.value = damping
    theta = method.step(engine, np.array(theta))
    return theta, method.damping.value


def test_damping_after_steps_of_a_linear_function():
    """There the linear model is exact: λ goes down, and the step is the damped one."""
    theta, damping = lm_on([0.0], Function(lambda t: 2 * t - 6), damping=4.0)
    assert damping == pytest.approx(0.4)
    assert theta.item() == pytest.approx(12 / (4 + 4.0), rel=1e-14)


def test_the_first_damping_is_relative_to_the_gram_matrix_and_goes_on_through_grids():
    """J = 2 everywhere: λ begins at 4 damping, and is divided by 10 by each step of a linear function."""
    engine, method, theta = Function(lambda t: 2 * t - 6), make_optimizer("lm", **SETTINGS["lm"]), np.zeros(1)
    for step in range(1, 4):
        theta = method.step(engine, theta)
        assert method.damping.value == pytest.approx(4 * 1e-3 * 0.1**step, rel=1e-14)
        method.restart()


@pytest.mark.parametrize(("c", "plain"), [(2.0, False), (2.4, False), (2.6, True)])
def test_a_path_that_is_too_curved_is_followed_part_of_the_way(c, plain):
    """r = θ + c θ² - y at θ = 0: J = 1, r'' = 2 c, and so δ = y / (1 + λ), a = -2 c δ² / (1 + λ).

    With more than ten times too much curvature the step is the plain one, and a quarter of it.
    """
    y, damping = 3.0, 1.0
    step = y / (1 + damping)
    acceleration = -2 * c * step**2 / (1 + damping)
    ratio = 2 * abs(acceleration) / step / 0.75
    s = 1 / ratio
    theta, after = lm_on([0.0], Function(lambda t: t + c * t**2 - y), damping)
    assert (ratio > 10) == plain
    expected = (step / 4, damping * 3) if plain else (s * step + s**2 / 2 * acceleration, damping * ratio**0.5)
    assert (theta.item(), after) == pytest.approx(expected, rel=1e-12)


def test_a_deviation_that_is_rounding_bends_no_path():
    """A linear function, but for noise: with targets of a size of which it is rounding, the step is the plain one."""
    noisy = Function(lambda t: 2 * t - 6 + 1e-9 * torch.sin(1e12 * t), lambda t: torch.full((1, 1), 2.0).double())
    noisy.y = np.full(1, 1e7)
    assert lm_on([0.0], noisy, damping=4.0)[0].item() == pytest.approx(1.5, rel=1e-14)
    noisy.y = np.full(1, 6.0)
    assert lm_on([0.0], noisy, damping=4.0)[0].item() != pytest.approx(1.5, rel=1e-14)


def test_points_that_are_no_better_shorten_the_step_and_raise_the_damping():
    """r = θ - 1, but for a wall from 0.05 on: of s = 1, 1/4, 1/16 … the third is the first with θ below it."""
    engine = Function(lambda t: torch.where(t < 0.05, t - 1, 1e6))
    theta, damping = lm_on([0.0], engine, geodesic_acceleration=False)
    assert theta.item() == pytest.approx(0.5 / 16, rel=1e-14)
    assert damping == pytest.approx(3**2)


def test_lm_never_raises_the_loss():
    engine, theta = Function(rosenbrock), np.array([-1.2, 1.0])
    method = make_optimizer("lm", **SETTINGS["lm"])
    losses = [engine.loss(theta)]
    for _ in range(40):
        theta = method.step(engine, theta)
        losses.append(engine.loss(theta))
    assert all(after <= before for before, after in itertools.pairwise(losses))


@pytest.mark.parametrize("tensors", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("hostile", [float("nan"), float("inf"), 1e6])
def test_lm_stays_where_no_trial_lowers_the_loss(hostile, tensors):
    """Residuals that are bad everywhere but at the start."""
    start = torch.zeros(2, dtype=torch.float64)

    def residuals(t):
        return torch.where((t == start).all(), t + 1, t * 0 + hostile)

    engine = Function(residuals, lambda t: torch.eye(2, dtype=torch.float64), tensors)
    method = make_optimizer("lm", **SETTINGS["lm"])
    with np.errstate(all="ignore"):
        theta = method.step(engine, start.numpy())
    assert np.array_equal(theta, [0.0, 0.0])
    assert 1 < method.damping.value / 1e-3 < 1.001 * 10**0.5 * 3**10


def test_lm_stays_where_the_gradient_is_zero():
    """At the minimum of θ² + 1 the step is 0, and so is its curvature."""
    engine = Function(lambda t: torch.stack([t[0], t[0] * 0 + 1]))
    theta, damping = lm_on([0.0], engine)
    assert theta.item() == 0 and engine.n_evals == 1
    assert damping == 0.1


def test_damping_goes_down_to_its_bound_where_nothing_is_promised_and_begins_anew():
    """J = 1 at the minimum of θ² + 1: the first λ is `damping`, and the scale of the Gram matrix 1."""
    engine = Function(lambda t: torch.stack([t[0], t[0] * 0 + 1]))
    method, values = make_optimizer("lm", **SETTINGS["lm"]), []
    for _ in range(2 * Damping.PATIENCE):
        method.step(engine, np.zeros(1))
        values.append(method.damping.value)
    lowest = 0.1 * Damping.LOWEST  # before the next step begins
    assert values[0] == pytest.approx(1e-4) and min(values) == pytest.approx(lowest)
    assert [number + 1 for number, value in enumerate(values) if np.isnan(value)] == [20, 40]


def test_damping_is_bounded_and_begins_anew_where_every_step_fails():
    start = torch.zeros(2, dtype=torch.float64)
    engine = Function(
        lambda t: torch.where((t == start).all(), t + 1, t * 0 + 1e6), lambda t: torch.eye(2, dtype=torch.float64)
    )
    method = make_optimizer("lm", **SETTINGS["lm"])
    for _ in range(Damping.PATIENCE - 1):
        method.step(engine, start.numpy())
    assert method.damping.value <= Damping.HIGHEST * 10**0.5 * 3**10 * 1.001
    method.step(engine, start.numpy())
    assert np.isnan(method.damping.value)


@pytest.mark.parametrize("idle", [0, 1])
def test_on_another_grid_damping_begins_anew_after_a_step_without_success(idle):
    method = make_optimizer("lm", **SETTINGS["lm"])
    method.resume({"damping": 7.0, "idle": idle})
    method.restart()
    assert method.state()["idle"] == 0
    assert np.isnan(method.damping.value) if idle else method.damping.value == 7


@pytest.mark.parametrize("tensors", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("shape", [(50, 8), (8, 50)], ids=["primal", "dual"])
def test_the_solution_of_the_system_with_marquardts_scaling(shape, tensors):
    """min |r + J δ|² + λ δᵀDδ; a column of zeros has the smallest element of D."""
    random, damping = np.random.default_rng(1), 0.3
    residuals, jacobian = random.normal(size=shape[0]), random.normal(size=shape) * np.geomspace(1, 30, shape[1])
    jacobian[:, 2] = 0
    kind, parts = NumpyLinearization, (np.zeros(shape[1]), residuals, None, jacobian)
    if tensors:
        kind, parts = DenseLinearization, [part if part is None else torch.from_numpy(part) for part in parts]
    scaled = MarquardtScaled(kind(*parts))
    solution = DampedModel(scaled).solver(damping)(scaled.residuals)
    squares = np.square(jacobian).sum(axis=0)
    root = np.diag(np.maximum(squares, squares.max() * SMALLEST) ** 0.5)
    stacked = np.vstack([jacobian, damping**0.5 * root])
    expected = np.linalg.lstsq(stacked, np.concatenate([-residuals, np.zeros(shape[1])]))[0]
    np.testing.assert_allclose(scaled.moved(solution), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(as_array(scaled.jvp(solution)), jacobian @ expected, rtol=1e-9, atol=1e-9)


def largest_gain(trainer):
    """The part of the loss that a linear step of one parameter gains at most, and what rounding is of it."""
    engine = make_engine("torch", trainer._network, trainer.dataset.train_input, trainer.label)
    linearization = engine.linearize(trainer.theta).linearization
    r, jacobian = linearization.residuals.numpy(), linearization.whole.numpy()
    squares = np.square(jacobian).sum(axis=0)
    gains = np.square(jacobian.T @ r)[squares > 0] / squares[squares > 0]
    ratio = np.linalg.norm(trainer.label) / np.linalg.norm(r)
    return gains.max() / (r @ r), np.finfo(float).eps * (1 + ratio)


def train(trainer, epochs):
    """The final row, and where thirty epochs were without progress, though the gradient says that there could be some.

    A loss of 1e-25 of standardized targets is taken for rounding errors.
    """
    losses, frozen = [], []

    def look(row):
        losses.append(row["train_loss"] / trainer.units.scale**2)
        if row["epoch"] % 10 == 0 and len(losses) > 30 and min(losses[-30:]) >= min(losses[:-30]) > 1e-25:
            gain, rounding = largest_gain(trainer)
            if gain > rounding:
                frozen.append((row["epoch"], losses[-1], gain))

    return trainer.train(epochs, look).final.row, frozen


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["poisson_2d_sin", "poisson_2d_poly", "poisson_2d_highfreq", "poisson_2d_spec"])
def test_no_training_stands_still_for_thirty_epochs(problem, make_trainer):
    trainer = make_trainer(problem=problem, seeds=[2], data={"dense_num": 10})
    assert not train(trainer, 100)[1]


@pytest.mark.slow
def test_lm_comes_back_after_grids_on_which_it_has_converged(make_trainer, monkeypatch):
    """exp(sin πx + y²) with [2, 1, 1]: an error of G to the -3 or -4, though λ has nothing to go by for many epochs."""
    problem = Problem("own", lambda x: np.exp(np.sin(np.pi * x[:, [0]]) + x[:, [1]] ** 2), ((-1, 1),) * 2)
    monkeypatch.setitem(TARGETS, "poisson_2d_sin", problem)
    changes = {"seeds": [3], "model": {"width": [2, 1, 1]}, "grids": {"sizes": [3, 5, 10, 20, 50]}}
    final, frozen = train(make_trainer(**changes, data={"dense_num": 10}), 200)
    assert final["test_loss"] ** 0.5 <= 2e-6
    assert not frozen


@pytest.mark.slow
def test_lm_learns_targets_far_from_zero(make_trainer, monkeypatch):
    problem = Problem("own", lambda x: 1e4 + np.sin(3 * x[:, [0]]) * x[:, [1]] + x[:, [0]] ** 2, ((-1, 1),) * 2)
    monkeypatch.setitem(TARGETS, "poisson_2d_sin", problem)
    trainer = make_trainer(seeds=[1], data={"dense_num": 10, "targets": "raw"})
    best = min(row["test_loss"] for row in trainer.train(10).history)
    assert best < 1e-3 * trainer.dataset.test_label.var()


@pytest.mark.parametrize(
    ("name", "pykan_name", "lr", "epochs", "rel"), [("adam", "Adam", 0.01, 5, 1e-9), ("lbfgs", "LBFGS", 1.0, 1, 1e-3)]
)
def test_first_epochs_are_those_of_pykans_fit(name, pykan_name, lr, epochs, rel, make_trainer, tmp_path, monkeypatch):
    """pykan's `fit` in float64, its square roots squared, without grid updates.

    pykan reports the training loss before the last step of an epoch, so the test losses are compared; of L-BFGS one
    epoch, because torch's line search may stop at `max_eval` where pykan's older copy of it goes on; in its 20
    iterations a rounding error, which MKL's depend on how memory is aligned, grew to 3e-5 at most.
    """
    monkeypatch.chdir(tmp_path)
    over = {"grids": {"sizes": [3]}, "data": {"train_num": 200, "targets": "raw"}, "engine": "reference"}
    trainer = make_trainer(name, optimizers={name: {"lr": lr}}, **over)
    ours = [row["test_loss"] for row in trainer.train(epochs).history]
    parts = ("train_input", "train_label", "test_input", "test_label")
    data = {part: torch.from_numpy(getattr(trainer.dataset, part)) for part in parts}
    model = to_pykan(initialize([2, 5, 1], 3))
    with global_random_state_kept(), contextlib.redirect_stderr(io.StringIO()):
        theirs = model.fit(data, opt=pykan_name, steps=epochs, lr=lr, update_grid=False)["test_loss"]
    assert ours == pytest.approx([loss.item() ** 2 for loss in theirs], rel=rel)


def product_engine(name, n, network):
    """On n points of the unit square, where the target is the product."""
    x = np.random.default_rng(0).random((n, 2))
    return make_engine(name, network, x, x[:, [0]] * x[:, [1]])


def test_evaluations_per_step():
    """Adam needs one; L-BFGS stops iterating after 25; LM at least the Jacobian, a probe and a trial."""
    network, counts = initialize([2, 3, 1], 3), {}
    for name, settings in SETTINGS.items():
        engine = product_engine("reference", 40, network)
        make_optimizer(name, **settings).step(engine, network.parameters())
        counts[name] = engine.n_evals
    assert counts["adam"] == 1
    assert 20 <= counts["lbfgs"] <= 50
    assert 3 <= counts["lm"] <= 2 + SETTINGS["lm"]["attempts"]


class TorchAdam:
    """torch.optim's, on an engine."""

    def __init__(self, engine, theta):
        self.engine, self.tensor = engine, torch.tensor(theta)
        self.optimizer = self.make([self.tensor])

    def make(self, parameters):
        return torch.optim.Adam(parameters, **SETTINGS["adam"])

    def closure(self):
        loss, gradient = self.engine.loss_and_gradient(self.tensor.numpy())
        self.tensor.grad = torch.tensor(gradient)
        return torch.tensor(loss, dtype=torch.float64)

    def step(self):
        self.optimizer.step(self.closure)
        return self.tensor.numpy()


class TorchLBFGS(TorchAdam):
    def make(self, parameters):
        never = {"tolerance_grad": 1e-32, "tolerance_change": 1e-32}
        return torch.optim.LBFGS(parameters, **SETTINGS["lbfgs"], line_search_fn="strong_wolfe", **never)


@pytest.mark.parametrize(
    ("name", "peer", "steps", "rel"), [("adam", TorchAdam, 100, 1e-10), ("lbfgs", TorchLBFGS, 2, 1e-6)]
)
@pytest.mark.parametrize("problem", ["rosenbrock", "powell", "helix", "kan"])
def test_the_iterations_are_torchs(name, peer, steps, rel, problem):
    """The same evaluations and losses, until the rounding errors of L-BFGS have grown."""
    network = initialize([2, 3, 1], 3)
    if problem == "kan":
        engine, other = (product_engine("compiled", 100, network) for _ in range(2))
        theta = network.parameters()
    else:
        residuals, start, _ = PROBLEMS[problem]
        engine, other, theta = Function(residuals), Function(residuals), np.array(start)
    method, theirs = make_optimizer(name, **SETTINGS[name]), peer(other, theta)
    for _ in range(steps):
        theta, expected = method.step(engine, theta), theirs.step()
        assert engine.n_evals == other.n_evals
        losses = [each.loss_and_gradient(at)[0] for each, at in ((engine, theta), (other, expected))]
        assert losses[0] == pytest.approx(losses[1], rel=rel, abs=1e-20)


@pytest.mark.parametrize("hostile", [float("nan"), float("inf")])
def test_a_line_search_comes_back_from_where_there_are_no_numbers(hostile):
    """(t - 1)², but only below 1.5, where the first trials are beyond."""

    class Parabola(Function):
        def loss_and_gradient(self, theta):
            loss, gradient = super().loss_and_gradient(theta)
            return (loss, gradient) if theta < 1.5 else (hostile, gradient * hostile)

    line = Line(Parabola(lambda t: t - 1), np.zeros(1), np.ones(1))
    found, trials = strong_wolfe(line, point_at(line, 0.0), 10.0)
    assert trials <= MAX_TRIALS + 1
    assert found.t == pytest.approx(1, abs=0.3)
    assert found.value < 0.1


def test_a_line_search_comes_back_from_where_squares_overflow():
    """(t - 1)², with slopes of which no square is a number."""
    line = Line(Function(lambda t: t - 1), np.zeros(1), np.ones(1))
    with np.errstate(all="ignore"):
        found, _ = strong_wolfe(line, point_at(line, 0.0), 1e180)
    assert found.value <= 1


LOOPS = {
    "vectors": ([2, 5, 1], 3, np.float64, {}),
    "one edge a node": ([2, 1, 1], 20, np.float64, {}),
    "two outputs": ([2, 3, 2], 5, np.float32, {}),
    "few pairs": ([2, 5, 1], 3, np.float64, {"history_size": 2}),
    "long trials": ([2, 5, 1], 3, np.float64, {"lr": 1e3}),
    "trials that overflow": ([2, 5, 1], 3, np.float64, {"lr": 1e200}),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_compiled_loop_takes_the_steps_of_pythons(name, monkeypatch):
    """To the bit, and with the same counts; a method that resumes goes on likewise."""
    width, grid, dtype, over = LOOPS[name]
    random, zooms, losses = np.random.default_rng(0), [], []
    x = random.random((60, 2)).astype(dtype)
    y, network = x[:, [0]] * x[:, [1]] * np.arange(1, 1 + width[-1]), initialize(width, grid, dtype=dtype)
    compiled, pythons = (make_engine("compiled", network, x, y) for _ in range(2))
    inner, zoom = pythons.engine, line_search._zoom
    evaluate = inner.loss_and_gradient
    monkeypatch.setattr(inner, "run", lambda loop, *arguments: loop.py_func(inner, *arguments))
    monkeypatch.setattr(inner, "loss_and_gradient", lambda theta: losses.append(evaluate(theta)) or losses[-1])
    monkeypatch.setattr(line_search, "_zoom", lambda *arguments: zooms.append(arguments[-1]) or zoom(*arguments))
    methods = [make_optimizer("lbfgs", **{**SETTINGS["lbfgs"], **over}) for _ in range(2)]
    theta = network.parameters()
    with np.errstate(all="ignore"):
        for _ in range(4):
            theta, expected = (m.step(e, theta) for m, e in zip(methods, (compiled, pythons), strict=True))
            assert np.array_equal(theta, expected)
            assert (compiled.n_evals, compiled.flops) == (pythons.n_evals, pythons.flops)
            state = methods[0].state()
            methods[0] = make_optimizer("lbfgs", **{**SETTINGS["lbfgs"], **over})
            methods[0].resume(state)
    assert len(losses) == pythons.n_evals
    assert zooms
    overflow = name == "trials that overflow"  # from there a bracket is not narrowed to where there is a minimum
    assert all(np.isfinite(loss) for loss, _ in losses) != overflow
    assert np.array_equal(theta, network.parameters()) if overflow else evaluate(theta)[0] < 0.5 * losses[0][0]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_lbfgs_stays_where_the_gradient_is_no_number(wrong):
    network = initialize([2, 5, 1], 3)
    engine, theta = product_engine("compiled", 100, network), network.parameters()
    theta[3] = wrong
    method = make_optimizer("lbfgs", **SETTINGS["lbfgs"])
    assert np.array_equal(method.step(engine, theta), theta, equal_nan=True)
    assert engine.n_evals == 1
    assert method.state() == {"last": None, "memory": None}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_adams_update_rounds_as_numpy_does(dtype):
    random = np.random.default_rng(0)
    gradients = (random.normal(size=(5, 203)) * 10.0 ** random.integers(-9, 9, (5, 203))).astype(dtype)
    engine = Function(None)
    engine.loss_and_gradient = lambda theta: (0.0, gradients[method.steps])
    method, lr = make_optimizer("adam", **SETTINGS["adam"]), SETTINGS["adam"]["lr"]
    theta = expected = random.normal(size=203).astype(dtype)
    mean = square = np.zeros(203, dtype)
    for steps, gradient in enumerate(gradients, 1):
        theta = method.step(engine, theta)
        mean = mean + (1 - 0.9) * (gradient - mean)
        square = 0.999 * square + (1 - 0.999) * gradient * gradient
        scale = np.sqrt(square) / (1 - 0.999**steps) ** 0.5 + 1e-8
        expected = expected - lr / (1 - 0.9**steps) * mean / scale
        assert theta.dtype == dtype and np.array_equal(theta, expected)


def test_lm_leaves_residuals_that_are_rounding_errors():
    """At 1e-14 of the targets there is nothing to gain, and a step costs one evaluation only."""
    engine = Function(lambda t: torch.stack([t[0] + 1e-14, t[0] * 0]))
    engine.y = np.ones(2)
    method = make_optimizer("lm", **SETTINGS["lm"])
    theta = method.step(engine, np.zeros(1))
    assert theta.item() == 0 and engine.n_evals == 1
    engine.y = np.full(2, 1e-6)
    assert engine.loss(method.step(engine, theta)) < 1e-30
