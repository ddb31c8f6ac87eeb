"""The compiled engine in compiled code, where its loss and gradient cost no call from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core.extending import overload_method
from numba.experimental import structref

from kanbench.engine.numba_engine import kernels
from kanbench.engine.numba_engine.structures import Floats, Workspace
from kanbench.io.kernel_cache import compiled


@structref.register
class ObjectiveType(types.StructRef):
    """Of an `Objective`."""


class Objective(structref.StructRefProxy):
    """What loops are given in the place of the engine: it has the same `loss_and_gradient`, in compiled code alone.

    A reference to what an evaluation reads and writes: to take the three dozen arrays of a workspace from Python takes
    six microseconds, a tenth of an evaluation.
    """


structref.define_proxy(Objective, ObjectiveType, ["parameters", "work"])


@compiled
def new_objective(parameters: Floats, work: Workspace) -> Objective:
    """For samples that are one chunk; of all parameters, the first are overwritten by θ."""
    return Objective(parameters, work)


@compiled
def loss_and_gradient(objective: Objective, gradient: Floats) -> float:
    """Fill the gradient, return the loss, for the parameters as they are."""
    return kernels.loss_and_gradient(objective.parameters, objective.work, gradient)


@compiled
def residuals(objective: Objective, values: Floats) -> None:
    """Fill `values` with f(x; θ) - y, shape (n · outputs,), for the parameters as they are."""
    work = objective.work
    nan_if_nonfinite = kernels.fill_tables(objective.parameters, work.layout, work.tables)
    kernels.evaluate(kernels.VALUES, 0, len(work.x), work, nan_if_nonfinite, values)
    values -= work.y


@overload_method(ObjectiveType, "loss_and_gradient")
def _loss_and_gradient(objective: Any, theta: Any) -> Any:
    def implementation(objective: Any, theta: Any) -> Any:  # numba wants the same annotations
        parameters, gradient = objective.parameters, np.empty_like(theta)
        for i in range(len(theta)):
            parameters[i] = theta[i]
        return loss_and_gradient(objective, gradient), gradient

    return implementation
