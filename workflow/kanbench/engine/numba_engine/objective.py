"""The compiled engine for use in compiled code, which evaluates loss and gradient without calls from Python."""

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
    """The numba type of an `Objective`."""


class Objective(structref.StructRefProxy):
    """Replaces the engine in compiled loops: it has the same `loss_and_gradient`, in compiled code only.

    It is a reference to the data of an evaluation, because passing the three dozen arrays of a workspace from Python
    takes six microseconds, a tenth of an evaluation.
    """


structref.define_proxy(Objective, ObjectiveType, ["parameters", "work"])


@compiled
def new_objective(parameters: Floats, work: Workspace) -> Objective:
    """Make an objective for at most one chunk of samples; θ overwrites the first of all parameters."""
    return Objective(parameters, work)


@compiled
def loss_and_gradient(objective: Objective, gradient: Floats) -> float:
    """Fill the gradient and return the loss at the current parameters."""
    return kernels.loss_and_gradient(objective.parameters, objective.work, gradient)


@compiled
def residuals(objective: Objective, values: Floats) -> None:
    """Fill `values` with f(x; θ) - y, shape (n · outputs,), at the current parameters."""
    work = objective.work
    nan_if_nonfinite = kernels.fill_tables(objective.parameters, work.layout, work.tables)
    kernels.evaluate(kernels.VALUES, 0, len(work.x), work, nan_if_nonfinite, values)
    values -= work.y


@overload_method(ObjectiveType, "loss_and_gradient")
def _loss_and_gradient(objective: Any, theta: Any) -> Any:
    def implementation(objective: Any, theta: Any) -> Any:  # numba requires equal annotations
        parameters, gradient = objective.parameters, np.empty_like(theta)
        for i in range(len(theta)):
            parameters[i] = theta[i]
        return loss_and_gradient(objective, gradient), gradient

    return implementation
