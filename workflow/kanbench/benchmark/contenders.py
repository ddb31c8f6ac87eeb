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
from kanbench.problems import Array
from kanbench.training.history import now
from kanbench.training.optimizers import make_optimizer

# Of LM, before it begins anew from the first model: an epoch is a step, and a stage of a training has ten. The first
# steps alone are not typical, because hardly any attempt is rejected there.
STEPS = 10


class Kanbench:
    """Ours, with the given engine, and the configured settings of `optimizers.lm`."""

    def __init__(self, case: Case, engine: str, lm: dict[str, Any], device: str = "cpu") -> None:
        self.lm, self.device = lm, device
        self.engine = make_engine(engine, case.network, *case.sample(), device=device)
        self.initial = self.theta = case.network.parameters()
        self.new_inputs, _ = case.sample(1)

    def loss_and_gradient(self) -> tuple[float, Array]:
        return self.engine.loss_and_gradient(self.initial)

    def predict(self) -> Array:
        """For other inputs than those of the sample, whose bases may be known."""
        return self.engine.predict(self.initial, self.new_inputs)

    def begin_lm(self) -> None:
        self.theta, self.optimizer = self.initial, make_optimizer("lm", **self.lm)

    def lm_step(self) -> Array:
        """The parameters before."""
        before, self.theta = self.theta, self.optimizer.step(self.engine, self.theta)
        return before

    def accepted(self, before: Array) -> bool:
        return not np.array_equal(self.theta, before)


class Pykan:
    """pykan's forward and autograd in its fastest setting, that of `model.speed()`: no symbolic branch, no statistics.

    Gradients are taken with respect to all parameters that pykan marks as trainable. LM steps are
    torch-levenberg-marquardt's, as the original scripts used it.
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

    def begin_lm(self) -> None:
        self.module = lm_module(self.new_model())

    def lm_step(self) -> tuple[Tensor, Tensor]:
        """The outputs before, and the loss of the last accepted attempt."""
        return self.module.training_step(self.x, self.y)[:2]

    def accepted(self, outcome: tuple[Tensor, Tensor]) -> bool:
        outputs, loss = outcome
        return bool(loss < (outputs - self.y).square().mean())


class LMSteps:
    """Calling it takes one step, and returns the seconds; `accepted` says of each whether it changed the parameters."""

    def __init__(self, side: Kanbench | Pykan) -> None:
        self.side = side
        self.seconds: list[float] = []
        self.accepted: list[bool] = []

    def __call__(self) -> float:
        if len(self.accepted) % STEPS == 0:
            self.side.begin_lm()
        start = now(self.side.device)
        outcome: Any = self.side.lm_step()
        self.seconds.append(now(self.side.device) - start)
        self.accepted.append(self.side.accepted(outcome))
        return self.seconds[-1]


def lm_module(model: torch.nn.Module) -> Any:
    """torch-levenberg-marquardt's optimizer as the original scripts set it, its own defaults otherwise."""
    from torch_levenberg_marquardt.training import LevenbergMarquardtModule

    return LevenbergMarquardtModule(model, attempts_per_step=10, solve_method="qr")


def has_lm() -> bool:
    """Whether torch-levenberg-marquardt, and what it needs, is installed."""
    try:
        import torch_levenberg_marquardt  # noqa: F401
    except ImportError:
        return False
    return True
