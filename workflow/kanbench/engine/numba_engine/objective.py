"""The compiled engine in compiled code, where its loss and gradient cost no call from Python."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core.extending import overload_method

from kanbench.engine.numba_engine import kernels
from kanbench.engine.numba_engine.structures import Floats, Workspace


class Objective(NamedTuple):
    """What loops are given in the place of the engine: it has the same `loss_and_gradient`, in compiled code alone.

    The samples are one chunk.
    """

    parameters: Floats  # all of them; the first ones are overwritten by θ
    work: Workspace


@overload_method(types.NamedTuple, "loss_and_gradient")
def loss_and_gradient(objective: Any, theta: Any) -> Any:
    if objective.instance_class is not Objective:
        return None

    def compiled(objective: Any, theta: Any) -> Any:  # numba wants the same annotations
        objective.parameters[: len(theta)] = theta
        gradient = np.empty_like(theta)
        return kernels.loss_and_gradient(objective.parameters, objective.work, gradient), gradient

    return compiled
