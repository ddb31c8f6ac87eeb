"""The mapping between θ and a network's padded layer parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kanbench.network.spline_network import SplineNetwork


class TrainedParameters:
    """The tensors that hold θ, one per trained part of a layer; padded grids leave unused entries.

    Args:
        layers (sequence of mappings): The parameters `PARTS` of every layer, with shapes as in `SplineLayer.padded`.

    Attributes:
        names (list of (int, str)): Layer and part, in the order of θ.
        tensors (list of Tensor): Their values.
    """

    def __init__(self, network: SplineNetwork, layers: Sequence[Mapping[str, Tensor]]) -> None:
        self.names: list[tuple[int, str]] = []
        self.tensors: list[Tensor] = []
        self.indices: list[Tensor | None] = []  # positions of θ's entries in the flattened tensor; None for all
        self.sizes: list[int] = []
        for number, (layer, parts) in enumerate(zip(network.layers, layers, strict=True)):
            for name, live in layer.padded_live(parts["coef"].shape[2] - layer.order).items():
                if name not in network.fixed:
                    index = np.flatnonzero(live)
                    self.names.append((number, name))
                    self.tensors.append(parts[name])
                    whole = len(index) == live.size
                    self.indices.append(None if whole else torch.tensor(index, device=parts[name].device))
                    self.sizes.append(len(index))

    @torch.no_grad()
    def set(self, theta: Tensor) -> None:
        """Copy the values of θ to the tensors."""
        for tensor, index, values in zip(self.tensors, self.indices, theta.split(self.sizes), strict=True):
            if index is None:
                tensor.view(-1).copy_(values)
            else:
                tensor.view(-1).index_copy_(0, index, values)

    def flatten(self, derivatives: Iterable[Tensor], start_dim: int = 0) -> Tensor:
        """Flatten derivatives with respect to the tensors to the order of θ, keeping dimensions before `start_dim`."""
        parts = zip((part.flatten(start_dim=start_dim) for part in derivatives), self.indices, strict=True)
        return torch.cat([part if index is None else part.index_select(-1, index) for part, index in parts], -1)
