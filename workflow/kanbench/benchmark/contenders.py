"""The two sides of a comparison; each evaluates loss and gradient, predicts, and takes Levenberg-Marquardt steps.

Both are made from one case, so they have the same network and samples.
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

# LM steps before restarting from the initial model: as many as a stage of a training. The first steps alone are not
# typical, because hardly any attempt is rejected there.
STEPS = 10


class Kanbench:
    """Our side.

    Args:
        engine (str): Name of the engine.
        lm (dict): The configured settings `optimizers.lm`.
    """

    def __init__(self, case: Case, engine: str, lm: dict[str, Any], device: str = "cpu") -> None:
        self.lm, self.device = lm, device
        self.engine = make_engine(engine, case.network, *case.sample(), device=device)
        self.initial = self.theta = case.network.parameters()
        self.new_inputs, _ = case.sample(1)

    def loss_and_gradient(self) -> tuple[float, Array]:
        return self.engine.loss_and_gradient(self.initial)

    def predict(self) -> Array:
        """Evaluate new inputs, because the engine may have stored the bases of the sample."""
        return self.engine.predict(self.initial, self.new_inputs)

    def begin_lm(self) -> None:
        self.theta, self.optimizer = self.initial, make_optimizer("lm", **self.lm)

    def lm_step(self) -> Array:
        """Take a step; return the parameters before it."""
        before, self.theta = self.theta, self.optimizer.step(self.engine, self.theta)
        return before

    def accepted(self, before: Array) -> bool:
        return not np.array_equal(self.theta, before)


class Pykan:
    """pykan's side in its fastest mode, `model.speed()`: no symbolic branch, no statistics.

    Gradients are with respect to all parameters that pykan marks as trainable. LM steps are taken by
    torch-levenberg-marquardt, as in the original scripts.
    """

    def __init__(self, case: Case, device: str = "cpu") -> None:
        self.case, self.device = case, device
        self.model = self.new_model()
        self.x, self.y = (torch.tensor(part, device=device) for part in case.sample())
        self.new_inputs = torch.tensor(case.sample(1)[0], device=device)

    def new_model(self) -> KAN:
        """Make the untrained model."""
        return to_pykan(self.case.network).to(self.device).speed()

    def loss_and_gradient(self) -> Tensor:
        """Return the loss; the gradient is stored in the parameters."""
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
        """Take a step; return the outputs before it and the loss of the last accepted attempt."""
        return self.module.training_step(self.x, self.y)[:2]

    def accepted(self, outcome: tuple[Tensor, Tensor]) -> bool:
        outputs, loss = outcome
        return bool(loss < (outputs - self.y).square().mean())


class LMSteps:
    """A callable that takes one LM step and returns its seconds.

    Attributes:
        seconds (list of float): Of all steps.
        accepted (list of bool): Whether each step changed the parameters.
    """

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
    """Make torch-levenberg-marquardt's optimizer with the settings of the original scripts, defaults otherwise."""
    from torch_levenberg_marquardt.training import LevenbergMarquardtModule

    return LevenbergMarquardtModule(model, attempts_per_step=10, solve_method="qr")


def has_lm() -> bool:
    """Return whether torch-levenberg-marquardt and its dependencies are installed."""
    try:
        import torch_levenberg_marquardt  # noqa: F401
    except ImportError:
        return False
    return True
