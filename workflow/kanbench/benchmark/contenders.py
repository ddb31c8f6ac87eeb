"""The two sides of a comparison: each can evaluate loss and gradient, predict, and take steps of Levenberg-Marquardt.

Both are made from one case, and so have the same network and samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from kan import KAN
from torch import Tensor

from kanbench.benchmark.cases import Case
from kanbench.engine import make_engine
from kanbench.network.pykan import to_pykan
from kanbench.problems.poisson import Array
from kanbench.training.history import now
from kanbench.training.optimizers import make_optimizer

# Of LM, before it begins anew from the first model: an epoch is a step, and a stage of a training has ten. The first
# steps alone are not typical, because hardly any attempt is rejected there.
STEPS = 10
ATTEMPTS = 10  # of the original scripts, as is the solver: see `PykanSteps`


class Kanbench:
    """Ours, with the given engine, and the configured settings of `optimizers.lm`."""

    def __init__(self, case: Case, engine: str, lm: dict[str, Any], device: str = "cpu") -> None:
        self.lm, self.device = lm, device
        self.engine = make_engine(engine, case.network, *case.sample(), device=device)
        self.theta = case.network.parameters()
        self.new_inputs, _ = case.sample(1)

    def loss_and_gradient(self) -> tuple[float, Array]:
        return self.engine.loss_and_gradient(self.theta)

    def predict(self) -> Array:
        """For other inputs than those of the sample, whose bases may be known."""
        return self.engine.predict(self.theta, self.new_inputs)

    def lm_steps(self) -> KanbenchSteps:
        return KanbenchSteps(self)


class KanbenchSteps:
    """Calling it takes one step, and returns the seconds; `accepted` says of each whether it changed the parameters."""

    def __init__(self, side: Kanbench) -> None:
        self.side = side
        self.seconds: list[float] = []
        self.accepted: list[bool] = []

    def __call__(self) -> float:
        if len(self.accepted) % STEPS == 0:
            self.theta, self.optimizer = self.side.theta, make_optimizer("lm", **self.side.lm)
        before = self.theta
        start = now(self.side.device)
        self.theta = self.optimizer.step(self.side.engine, before)
        self.seconds.append(now(self.side.device) - start)
        self.accepted.append(not np.array_equal(self.theta, before))
        return self.seconds[-1]


class Pykan:
    """pykan's forward and autograd in its fastest setting, that of `model.speed()`: no symbolic branch, no statistics.

    Gradients are taken with respect to all parameters that pykan marks as trainable.
    """

    def __init__(self, case: Case, device: str = "cpu") -> None:
        self.case, self.device = case, device
        self.model = self.new_model()
        self.x, self.y = (torch.tensor(part, device=device) for part in case.sample())
        self.new_inputs = torch.tensor(case.sample(1)[0], device=device)

    def new_model(self) -> KAN:
        """As training begins."""
        return to_pykan(self.case.network).to(self.device).speed()

    def loss_and_gradient(self) -> Tensor:
        """The gradient is left in the parameters."""
        self.model.zero_grad()
        loss = ((self.model(self.x) - self.y) ** 2).mean()
        loss.backward()
        return loss

    @torch.no_grad()
    def predict(self) -> Tensor:
        return self.model(self.new_inputs)

    def lm_steps(self) -> PykanSteps:
        return PykanSteps(self)


class PykanSteps:
    """As `KanbenchSteps`, with torch-levenberg-marquardt as the original scripts used it: 10 attempts, solver `qr`."""

    def __init__(self, side: Pykan) -> None:
        self.side = side
        self.seconds: list[float] = []
        self.accepted: list[bool] = []

    def __call__(self) -> float:
        if len(self.accepted) % STEPS == 0:
            self.module = lm_module(self.side.new_model())
        start = now(self.side.device)
        outputs, loss, _, _ = self.module.training_step(self.side.x, self.side.y)
        self.seconds.append(now(self.side.device) - start)
        # The outputs are those before the step, the loss that of the last accepted attempt.
        self.accepted.append(bool(loss < (outputs - self.side.y).square().mean()))
        return self.seconds[-1]


def lm_module(model: torch.nn.Module) -> Any:
    """torch-levenberg-marquardt's optimizer as the original scripts set it, its own defaults otherwise."""
    from torch_levenberg_marquardt.training import LevenbergMarquardtModule

    return LevenbergMarquardtModule(model, attempts_per_step=ATTEMPTS, solve_method="qr")


def has_lm() -> bool:
    """Whether torch-levenberg-marquardt, and what it needs, is installed."""
    try:
        import torch_levenberg_marquardt  # noqa: F401
    except ImportError:
        return False
    return True
