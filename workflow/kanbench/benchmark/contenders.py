"""The two sides of a comparison: each can evaluate loss and gradient, predict, and take steps of Levenberg-Marquardt.

Both are made from one case, and so have equal models and samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kanbench.benchmark.cases import Case
from kanbench.engine import make_engine
from kanbench.models import Snapshot
from kanbench.optimizers import make_optimizer
from kanbench.record import now

# Of LM, before it begins anew from the first model: an epoch is a step, and a stage of a training has ten. The first
# steps alone are not typical, because hardly any attempt is rejected there.
STEPS = 10
ATTEMPTS = 10  # of the original scripts, as is the solver: see `PykanSteps`


class Kanbench:
    """Ours, with the given engine, and the configured settings of `optimizers.lm`."""

    def __init__(self, case: Case, engine: str, lm: dict[str, Any], device: str = "cpu") -> None:
        self.lm, self.device = lm, device
        self.engine = make_engine(engine, case.model(device), *case.sample(device=device))
        self.theta = self.engine.parameters()
        self.new_inputs, _ = case.sample(1, device)

    def loss_and_gradient(self) -> tuple[float, Tensor]:
        return self.engine.loss_and_gradient(self.theta)

    def predict(self) -> Tensor:
        """For other inputs than those of the sample, whose bases may be known."""
        return self.engine.predict(self.new_inputs)

    def lm_steps(self) -> KanbenchSteps:
        return KanbenchSteps(self)


class KanbenchSteps:
    """Calling it takes one step, and returns the seconds; `accepted` says of each whether it changed the parameters."""

    def __init__(self, side: Kanbench) -> None:
        self.side = side
        self.seconds: list[float] = []
        self.accepted: list[bool] = []

    def __call__(self) -> float:
        engine = self.side.engine
        if len(self.accepted) % STEPS == 0:
            engine.set_parameters(self.side.theta)
            self.optimizer = make_optimizer("lm", **self.side.lm)
            self.optimizer.restart(engine)
        before = engine.parameters()
        start = now(self.side.device)
        self.optimizer.step()
        self.seconds.append(now(self.side.device) - start)
        self.accepted.append(not torch.equal(engine.parameters(), before))
        return self.seconds[-1]


class Pykan:
    """pykan's forward and autograd in its fastest setting, that of `model.speed()`: no symbolic branch, no statistics.

    Gradients are taken with respect to all parameters that pykan marks as trainable.
    """

    def __init__(self, case: Case, device: str = "cpu") -> None:
        self.device, self.model = device, case.model(device)
        self.model.speed()
        self.start = Snapshot.of(self.model)
        self.x, self.y = case.sample(device=device)
        self.new_inputs, _ = case.sample(1, device)

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
            self.module = lm_module(self.side.start.restore().speed())
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
