"""Optimizers on problems with known minima, and on a KAN against pykan's own training."""

import contextlib
import io
import itertools

import pytest
import torch

from kanbench.engine import make_engine
from kanbench.engine.linearization import DenseLinearization
from kanbench.models import build_model, global_random_state_kept
from kanbench.optimizers import make_optimizer
from kanbench.optimizers.levenberg_marquardt import DampedModel
from kanbench.optimizers.line_search import Line, strong_wolfe

SETTINGS = {
    "adam": {"lr": 0.05},
    "lbfgs": {"lr": 1.0, "max_iter": 20, "max_eval": 25, "history_size": 10},
    "lm": {"damping": 1e-3, "attempts": 10, "geodesic_acceleration": True},
}


class Function:
    """An engine on residuals that torch differentiates."""

    def __init__(self, residuals, start):
        self.function = residuals
        self.theta = torch.tensor(start, dtype=torch.float64)
        self.y = torch.zeros(1)
        self.n_evals = 0

    def parameters(self):
        return self.theta.clone()

    def set_parameters(self, theta):
        self.theta = theta.detach().clone()

    def residuals(self, theta):
        self.n_evals += 1
        return self.function(theta)

    def loss_and_gradient(self, theta):
        gradient, loss = torch.func.grad_and_value(lambda t: self.residuals(t).square().mean())(theta)
        return loss.item(), gradient

    def linearize(self, theta):
        return DenseLinearization(self.residuals(theta), torch.func.jacrev(self.function)(theta))

    @property
    def loss(self):
        return self.function(self.theta).square().mean().item()


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
    ("optimizer", "steps", "accuracy"),
    [("lbfgs", 20, 2e-2), ("lm", 60, 1e-4), ("plain lm", 60, 1e-4), ("adam", 2500, 0.5)],
)
def test_known_minima(optimizer, steps, accuracy, name):
    residuals, start, minimum = PROBLEMS[name]
    engine = Function(residuals, start)
    settings = SETTINGS[optimizer.removeprefix("plain ")]
    if optimizer == "plain lm":
        settings = {**settings, "geodesic_acceleration": False}
    method = make_optimizer(optimizer.removeprefix("plain "), **settings)
    method.restart(engine)
    for _ in range(steps):
        method.step()
    assert engine.theta.tolist() == pytest.approx(minimum, abs=accuracy)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)], ids=["primal", "dual"])
def test_the_solution_of_the_damped_system(shape):
    generator = torch.Generator().manual_seed(1)
    residuals = torch.randn(shape[0], dtype=torch.float64, generator=generator)
    jacobian = torch.randn(shape, dtype=torch.float64, generator=generator)
    damping = 0.3
    step, solve = DampedModel(DenseLinearization(residuals, jacobian)).solve(damping)
    torch.testing.assert_close(solve(residuals), step)
    stacked = torch.cat([jacobian, damping**0.5 * torch.eye(shape[1], dtype=torch.float64)])
    target = torch.cat([-residuals, torch.zeros(shape[1], dtype=torch.float64)])
    expected = torch.linalg.lstsq(stacked, target[:, None]).solution.squeeze(1)
    torch.testing.assert_close(step, expected, rtol=1e-10, atol=1e-12)


def lm_on(engine, damping=1.0, **settings):
    method = make_optimizer("lm", **{**SETTINGS["lm"], **settings})
    method.restart(engine)
    method.damping = damping
    return method


def test_damping_after_steps_of_a_linear_function():
    """There the linear model is exact: λ goes down, and the step is the damped one."""
    engine = Function(lambda t: 2 * t - 6, [0.0])
    method = lm_on(engine, damping=4.0)
    method.step()
    assert method.damping == pytest.approx(0.4)
    assert engine.theta.item() == pytest.approx(12 / (4 + 4.0), rel=1e-14)


def test_a_path_that_is_too_curved_is_followed_part_of_the_way():
    """r = θ + c θ² - y at θ = 0: J = 1, r'' = 2 c, and so δ = y / (1 + λ), a = -2 c δ² / (1 + λ)."""
    c, y, damping = 2.0, 3.0, 1.0
    step = y / (1 + damping)
    acceleration = -2 * c * step**2 / (1 + damping)
    excess = 2 * abs(acceleration) / step / 0.75
    s = 1 / excess
    engine = Function(lambda t: t + c * t**2 - y, [0.0])
    method = lm_on(engine, damping)
    method.step()
    assert s < 1
    assert engine.theta.item() == pytest.approx(s * step + s**2 / 2 * acceleration, rel=1e-12)
    assert method.damping == pytest.approx(damping * excess**0.5, rel=1e-12)


def test_points_that_are_no_better_shorten_the_step_and_raise_the_damping():
    """r = θ - 1, but for a wall from 0.05 on: of s = 1, 1/4, 1/16 … the third is the first with θ below it."""
    damping = 1.0
    engine = Function(lambda t: torch.where(t < 0.05, t - 1, 1e6), [0.0])
    method = lm_on(engine, damping, geodesic_acceleration=False)
    method.step()
    assert engine.theta.item() == pytest.approx(0.5 / 16, rel=1e-14)
    assert method.damping == pytest.approx(damping * 3**2)


def test_lm_never_raises_the_loss():
    engine = Function(rosenbrock, [-1.2, 1.0])
    method = make_optimizer("lm", **SETTINGS["lm"])
    method.restart(engine)
    losses = [engine.loss]
    for _ in range(40):
        method.step()
        losses.append(engine.loss)
    assert all(after <= before for before, after in itertools.pairwise(losses))


@pytest.mark.parametrize("hostile", [float("nan"), float("inf"), 1e6])
def test_lm_stays_where_no_trial_lowers_the_loss(hostile):
    """Residuals that are bad everywhere but at the start."""
    start = torch.zeros(2, dtype=torch.float64)
    engine = Function(lambda t: torch.where((t == start).all(), t + 1, t * 0 + hostile), [0.0, 0.0])
    engine.linearize = lambda theta: DenseLinearization(engine.residuals(theta), torch.eye(2, dtype=torch.float64))
    method = make_optimizer("lm", **SETTINGS["lm"])
    method.restart(engine)
    method.step()
    assert torch.equal(engine.theta, start)
    assert 1 < method.damping / 1e-3 < 1.001 * 1000**0.5 * 3**10


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
    over = {"grids": {"sizes": [3]}, "data": {"train_num": 200}, "engine": "reference"}
    trainer = make_trainer(name, optimizers={name: {"lr": lr}}, **over)
    ours = [row["test_loss"] for row in trainer.train(epochs).history]
    data = {part: getattr(trainer.dataset, part) for part in ("train_input", "train_label", "test_input", "test_label")}
    model = build_model([2, 5, 1], 3)
    with global_random_state_kept(), contextlib.redirect_stderr(io.StringIO()):
        theirs = model.fit(data, opt=pykan_name, steps=epochs, lr=lr, update_grid=False)["test_loss"]
    assert ours == pytest.approx([loss.item() ** 2 for loss in theirs], rel=rel)


def test_evaluations_per_step():
    """Adam needs one; L-BFGS stops iterating after 25; LM at least the Jacobian, a probe and a trial."""
    x = torch.rand(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    counts = {}
    for name, settings in SETTINGS.items():
        engine = make_engine("reference", build_model([2, 3, 1], 3), x, x[:, [0]] * x[:, [1]])
        method = make_optimizer(name, **settings)
        method.restart(engine)
        method.step()
        counts[name] = engine.n_evals
    assert counts["adam"] == 1
    assert 20 <= counts["lbfgs"] <= 50
    assert 3 <= counts["lm"] <= 2 + SETTINGS["lm"]["attempts"]


class TorchAdam:
    """torch.optim's, on an engine."""

    def __init__(self, engine):
        self.engine, self.theta = engine, engine.parameters()
        self.optimizer = self.make([self.theta])

    def make(self, parameters):
        return torch.optim.Adam(parameters, **SETTINGS["adam"])

    def closure(self):
        loss, self.theta.grad = self.engine.loss_and_gradient(self.theta)
        return torch.tensor(loss, dtype=torch.float64)

    def step(self):
        self.optimizer.step(self.closure)
        self.engine.set_parameters(self.theta)


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

    def make():
        if problem != "kan":
            return Function(*PROBLEMS[problem][:2])
        x = torch.rand(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        return make_engine("compiled", build_model([2, 3, 1], 3), x, x[:, [0]] * x[:, [1]])

    engine, other = make(), make()
    method, theirs = make_optimizer(name, **SETTINGS[name]), peer(other)
    method.restart(engine)
    for _ in range(steps):
        method.step()
        theirs.step()
        assert engine.n_evals == other.n_evals
        losses = [each.loss_and_gradient(each.parameters())[0] for each in (engine, other)]
        assert losses[0] == pytest.approx(losses[1], rel=rel, abs=1e-20)


@pytest.mark.parametrize("hostile", [float("nan"), float("inf")])
def test_a_line_search_comes_back_from_where_there_are_no_numbers(hostile):
    """(t - 1)², but only below 1.5, where the first trials are beyond."""

    class Parabola(Function):
        def loss_and_gradient(self, theta):
            loss, gradient = super().loss_and_gradient(theta)
            return (loss, gradient) if theta < 1.5 else (hostile, gradient * hostile)

    line = Line(
        Parabola(lambda t: t - 1, [0.0]), torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    )
    found = strong_wolfe(line, line.at(0.0), 10.0)
    assert found.t == pytest.approx(1, abs=0.3)
    assert found.value < 0.1


def test_lm_leaves_residuals_that_are_rounding_errors():
    """At 1e-14 of the targets there is nothing to gain, and a step costs one evaluation only."""
    engine = Function(lambda t: torch.stack([t[0] + 1e-14, t[0] * 0]), [0.0])
    engine.y = torch.ones(2)
    method = make_optimizer("lm", **SETTINGS["lm"])
    method.restart(engine)
    method.step()
    assert engine.theta.item() == 0 and engine.n_evals == 1
    engine.y = torch.full((2,), 1e-6)
    method.restart(engine)
    method.step()
    assert engine.loss < 1e-30
