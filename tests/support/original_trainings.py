"""Small trainings as the original study's scripts run them: pykan's own `fit` and `refine`, and MLPs of torch."""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import pi
from typing import Any

import numpy as np
import torch
from kan import KAN
from kan.utils import create_dataset
from torch import Tensor

EPOCHS = 2  # per grid
GRIDS = (np.int64(3), np.int64(5))  # numpy's, as they come out of an array
PADDING = 1.05  # of the domain on which the dense MSE is computed
Data = dict[str, Tensor]


def sines(x: Tensor) -> Tensor:
    return x.shape[1] * pi**2 * torch.prod(torch.sin(pi * x), dim=1, keepdim=True)


def poly(x: Tensor) -> Tensor:
    x, y = x[:, [0]], x[:, [1]]
    return 2 * y * (1 - y) + 2 * x * (1 - x)


def high_frequency(x: Tensor) -> Tensor:
    return 32 * pi**2 * torch.sin(4 * pi * x[:, [0]]) * torch.sin(4 * pi * x[:, [1]])


def spec(x: Tensor) -> Tensor:
    x, y = x[:, [0]], x[:, [1]]
    sine = torch.sin(pi * x)
    return -(pi**2) * (1 + 4 * y**2) * sine * torch.sin(pi * y**2) + 2 * pi * sine * torch.cos(pi * y**2)


TARGETS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "poisson_2d_sin": (2, sines),
    "poisson_2d_poly": (2, poly),
    "poisson_2d_highfreq": (2, high_frequency),
    "poisson_2d_spec": (2, spec),
    "poisson_3d_sin": (3, sines),
    "bumps": (2, lambda x: torch.exp(-5 * (x**2).sum(1, keepdim=True))),  # none of our problems
    "sin_freq1": (1, lambda x: torch.sin(2 * pi * x)),  # neither
}
TWO = ("poisson_2d_sin", "poisson_2d_poly")


@dataclass(frozen=True)
class Stage:
    """The epochs on one grid; the losses are recorded as the scripts record them."""

    grid_size: np.int64
    train_losses: list[Any]
    test_losses: list[Any]
    dense_mse: float
    total_time: float
    num_params: int


@dataclass(frozen=True)
class Training:
    """A model that went through all grids, and its history."""

    dataset: str
    stages: tuple[Stage, ...]
    model: KAN


@dataclass(frozen=True)
class Pruned:
    """A model after pruning, and its mean squared errors."""

    model: KAN
    train_loss: float
    test_loss: float
    dense_mse: float
    num_params: int


@dataclass(frozen=True)
class Network:
    """A network that is no KAN, and its mean squared errors by epoch."""

    weights: dict[str, Tensor]
    losses: list[tuple[float, float]]
    dense_mse: float
    num_params: int


class Sine(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(3 * x)


ACTIVATIONS = {"tanh": torch.nn.Tanh, "silu": torch.nn.SiLU, "sine": Sine}


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Keep what pykan prints and writes, and the random states that it sets, out of the tests."""
    states = np.random.get_state(), random.getstate()
    silent = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.chdir(folder),
            torch.random.fork_rng([]),
            silent[0],
            silent[1],
        ):
            yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


@cache
def samples(dataset: str) -> Data:
    """The samples that the scripts draw, which the same call gives everywhere."""
    inputs, target = TARGETS[dataset]
    with aside():
        return create_dataset(target, n_var=inputs, train_num=1000, test_num=1000)


def loss(model: torch.nn.Module, dataset: str, part: str = "test") -> float:
    """The mean squared error on the test or training samples."""
    data = samples(dataset)
    with torch.no_grad():
        return ((model(data[f"{part}_input"]) - data[f"{part}_label"]) ** 2).mean().item()


def dense_mse(model: torch.nn.Module, dataset: str) -> float:
    inputs, target = TARGETS[dataset]
    x = PADDING * (2 * torch.rand(500, inputs, generator=torch.Generator().manual_seed(0)) - 1)
    with torch.no_grad():
        return ((model(x) - target(x)) ** 2).mean().item()


def num_params(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@cache
def trained(optimizer: str, dataset: str) -> Training:
    """Train a small KAN with `Adam`, `LBFGS` or `LM`, whose steps here are others: only what is recorded counts."""
    inputs, _ = TARGETS[dataset]
    with aside():
        model, stages = KAN(width=[inputs, 2, 1], grid=GRIDS[0], k=3, seed=1, device="cpu"), []
        for number, grid in enumerate(GRIDS):
            model = model.refine(grid) if number else model
            train, test = _fit(model, optimizer, dataset)
            dense = dense_mse(model, dataset)
            loss(model, dataset, "train")  # the inputs that stay with the model
            stages.append(Stage(grid, train, test, dense, 0.75 * (number + 1), num_params(model)))
    return Training(dataset, tuple(stages), model)


def _fit(model: KAN, optimizer: str, dataset: str) -> tuple[list[Any], list[Any]]:
    """Losses of training and test by epoch: pykan's are roots, in arrays without dimensions; those of LM are not."""
    data = samples(dataset)
    if optimizer != "LM":
        results = model.fit(data, opt=optimizer, steps=EPOCHS)
        return results["train_loss"], results["test_loss"]
    train, test = [], []
    for _ in range(EPOCHS):
        model.fit(data, opt="Adam", steps=1, lr=0.2, update_grid=False)
        train.append(loss(model, dataset, "train"))
        test.append(loss(model, dataset))
    return train, test


@cache
def pruned(optimizer: str, dataset: str) -> Pruned:
    """A trained model without its least important edges."""
    whole = trained(optimizer, dataset).model
    with aside():
        model = KAN(width=[list(nodes) for nodes in whole.width], grid=GRIDS[-1], k=3, device="cpu")
        model.load_state_dict(whole.state_dict())  # pruning would change the trained one
        loss(model, dataset, "train")
        model = model.prune(edge_th=0.5)
        dense = dense_mse(model, dataset)
        losses = [loss(model, dataset, part) for part in ("test", "train")]
    return Pruned(model, losses[1], losses[0], dense, num_params(model))


@cache
def trained_network(dataset: str, depth: int, activation: str) -> Network:
    """Train a small MLP, or with `sine` a SIREN."""
    inputs, _ = TARGETS[dataset]
    data, losses = samples(dataset), []
    with aside():
        torch.manual_seed(depth)
        hidden = [[torch.nn.Linear(4 if i else inputs, 4), ACTIVATIONS[activation]()] for i in range(depth - 1)]
        model = torch.nn.Sequential(*[part for layer in hidden for part in layer], torch.nn.Linear(4, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(EPOCHS * len(GRIDS)):
            optimizer.zero_grad()
            ((model(data["train_input"]) - data["train_label"]) ** 2).mean().backward()
            optimizer.step()
            losses.append((loss(model, dataset, "train"), loss(model, dataset)))
    return Network(model.state_dict(), losses, dense_mse(model, dataset), num_params(model))
