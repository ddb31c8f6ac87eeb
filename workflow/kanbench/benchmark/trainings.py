"""Complete trainings of Section 2.1, ours and with the original procedure."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import torch
from kan import KAN
from kan.utils import create_dataset
from torch import Tensor

from kanbench.benchmark.contenders import lm_module
from kanbench.network.pykan import global_random_state_kept
from kanbench.network.typed_kan import default_dtype
from kanbench.plan.config import Config, network_width, problems_of
from kanbench.plan.settings import training_settings
from kanbench.problems import Problem
from kanbench.training.trainer import Trainer, make_data

PYKAN_NAMES = {"adam": "Adam", "lbfgs": "LBFGS"}  # names of optimizers in `MultKAN.fit`


def train_ours(config: Config, optimizer: str, dataset_idx: int) -> dict[str, float]:
    """Train once; return `seconds` of training as the pipeline records them, `epochs`, and `best_test_loss`."""
    settings = training_settings(config, "section2_1", optimizer, dataset_idx)
    training = Trainer(settings, make_data(settings)).train(config["epochs"])
    return _outcome(training.final.row["time"], [row["test_loss"] for row in training.history])


def _outcome(seconds: float, test_losses: list[float]) -> dict[str, float]:
    return {"seconds": seconds, "epochs": len(test_losses), "best_test_loss": min(test_losses)}


def train_original(config: Config, optimizer: str, dataset_idx: int) -> dict[str, float]:
    """Train once with the original procedure; the same arguments and result as `train_ours`.

    The procedure, in float32: pykan's `refine` through the grids; Adam and L-BFGS with its `fit`, learning rate 1 and
    its grid updates; LM with torch-levenberg-marquardt on the full batch, with a new optimizer on every grid. The
    symbolic branch and pykan's statistics are off during LM, as they are in `fit`.

    The time includes steps, grid updates and refinements, but not the evaluation of the test loss in `fit`. Checkpoints
    are not written, and the progress bar is drawn once per stage, to nowhere.
    """
    name = config["datasets"][dataset_idx]
    problem = problems_of(config)[name]
    with pykan_undisturbed():
        data = original_samples(problem, **{key: config["data"][key] for key in ("train_num", "test_num", "seed")})
        sizes = config["grids"]["sizes"]
        model_settings = config["model"] | {"width": network_width(config, name)}
        model = KAN(**model_settings, grid=sizes[0], seed=config["seeds"][0], auto_save=False)
        clock, losses = Clock(), []
        for size in sizes:
            if size != sizes[0]:
                with clock:
                    model = model.refine(size)
                model.auto_save = False  # `refine` switches it on
            stage = _lm_stage if optimizer == "lm" else _fit_stage
            losses += stage(model, data, optimizer, config["epochs"], clock)
    return _outcome(clock.seconds, losses)


def original_samples(problem: Problem, train_num: int, test_num: int, seed: int) -> dict[str, Tensor]:
    """Draw `train_input`, `train_label`, `test_input` and `test_label` as pykan does."""
    return create_dataset(
        lambda x: torch.from_numpy(problem.values(x.numpy())),
        n_var=problem.dim,
        ranges=[list(interval) for interval in problem.domain],
        train_num=train_num,
        test_num=test_num,
        seed=seed,
    )


def _fit_stage(model: KAN, data: dict[str, Tensor], optimizer: str, epochs: int, clock: Clock) -> list[float]:
    """Train a stage with `fit`; return its test losses.

    `fit` evaluates the test loss between reading `test_input` and reading `test_label`: the clock stops there.
    """
    on_read = {"test_input": clock.stop, "test_label": clock.start}
    watched = data | {name: Watched(data[name], call) for name, call in on_read.items()}
    with clock:
        results = model.fit(watched, opt=PYKAN_NAMES[optimizer], steps=epochs, lr=1.0, log=epochs)
    return [float(root) ** 2 for root in results["test_loss"]]


def _lm_stage(model: KAN, data: dict[str, Tensor], optimizer: str, epochs: int, clock: Clock) -> list[float]:
    model.symbolic_enabled = model.save_act = False
    losses = []
    with clock:
        module = lm_module(model)
    for _ in range(epochs):
        with clock:
            _, _, stop, _ = module.training_step(data["train_input"], data["train_label"])
        with torch.no_grad():
            losses.append((model(data["test_input"]) - data["test_label"]).square().mean().item())
        if stop:
            break
    # As after `fit`: `refine` needs the activations of the last forward pass, on all training samples.
    model.symbolic_enabled = model.save_act = True
    return losses


class Clock:
    """Sums the seconds between `start` and `stop`, or inside `with`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def start(self) -> None:
        self._start = perf_counter()

    def stop(self, *exception: object) -> None:
        self.seconds += perf_counter() - self._start

    __enter__, __exit__ = start, stop


class Watched:
    """Stands in for a tensor in `MultKAN.fit`; calls `on_read` before it is indexed."""

    def __init__(self, tensor: Tensor, on_read: Callable[[], None]) -> None:
        self.tensor, self.on_read, self.shape = tensor, on_read, tensor.shape

    def __getitem__(self, index: Any) -> Tensor:
        self.on_read()
        return self.tensor[index]


@contextlib.contextmanager
def pykan_undisturbed() -> Iterator[None]:
    """Run pykan in float32 as in a script, but silently and without changing global random states."""
    with (
        global_random_state_kept(),
        default_dtype(torch.float32),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield
