"""Where the entries of θ are in a network's layers of padded parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kanbench.network.spline_network import SplineNetwork


class TrainedParameters:
    """The tensors that hold θ, one for every trained part of a layer, with spare entries where grids are padded.

    Args:
        layers (sequence of mappings): The parameters of every layer by name, those of `PARTS`; shapes as
            `SplineLayer.padded` returns them.

    Attributes:
        names (list of (int, str)): Layer and part, in the order of θ.
        tensors (list of Tensor)
    """

    def __init__(self, network: SplineNetwork, layers: Sequence[Mapping[str, Tensor]]) -> None:
        self.names: list[tuple[int, str]] = []
        self.tensors: list[Tensor] = []
        self.indices: list[Tensor | None] = []  # of the entries in θ, in the flat tensor; None for all
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
        """Give the tensors the values of θ."""
        for tensor, index, values in zip(self.tensors, self.indices, theta.split(self.sizes), strict=True):
            if index is None:
                tensor.view(-1).copy_(values)
            else:
                tensor.view(-1).index_copy_(0, index, values)

    def flatten(self, derivatives: Iterable[Tensor], start_dim: int = 0) -> Tensor:
        """Derivatives by the tensors as a new vector in the order of θ; dimensions before `start_dim` stay."""
        parts = zip((part.flatten(start_dim=start_dim) for part in derivatives), self.indices, strict=True)
        return torch.cat([part if index is None else part.index_select(-1, index) for part, index in parts], -1)
