"""`kanbench.fit`: trains a pykan KAN in place, or a network on arrays, with this package's optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kanbench.errors import InputError, one_line, warn
from kanbench.network.checkpoints import write_checkpoint
from kanbench.network.evaluation import evaluate
from kanbench.network.initialization import initialize
from kanbench.network.spline_network import SplineNetwork
from kanbench.problems import Array
from kanbench.problems.target_scale import TargetUnits
from kanbench.training.fit_arguments import (
    Samples,
    as_numbers,
    check_neutral,
    count,
    grids_of,
    samples_of,
    settings_of,
)
from kanbench.training.history import Row
from kanbench.training.trainer import Trainer, in_target_units

KAN = Any  # pykan's class, not imported because that takes seconds
Results = dict[str, list[Any]]

GRID = 5  # intervals of a new network's grids


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network.

    Attributes:
        network (SplineNetwork): In the units of the labels.
        results (dict): As `fit` returns it for a KAN; without `test_loss` if no test sample was given.
        history (tuple of dict): One row per step: `epoch`, `grid_size`, losses (mean squared errors), `time` (seconds
            of training so far), `n_evals`, `flops` and `num_params`.
    """

    network: SplineNetwork
    results: Results
    history: tuple[Row, ...] = field(repr=False)
    inputs: Array = field(repr=False)  # of the training sample
    flat: bool = field(repr=False)  # whether labels are a vector

    def predict(self, x: Any) -> Array:
        """Evaluate the network.

        Outside the range of the training sample the splines fade to 0, and predictions are meaningless.

        Args:
            x (array-like of shape (n, d)): Inputs; a vector if d is 1.

        Returns:
            array: Shape (n,) if the training labels were a vector, otherwise (n, outputs).

        Raises:
            InputError: `x` is not an array of numbers, or has the wrong number of columns.
        """
        inputs = as_numbers("predict: x", x)
        if inputs.ndim == 1 and self.network.width[0] == 1:
            inputs = inputs[:, None]
        if inputs.ndim != 2 or inputs.shape[1] != self.network.width[0]:
            raise InputError("predict: x", f"shape {inputs.shape}", f"(n, {self.network.width[0]})")
        outputs = evaluate(self.network, inputs)
        return outputs[:, 0] if self.flat else outputs

    def save(self, base: str | Path) -> None:
        """Write a checkpoint that `KAN.loadckpt(base)` reads: `{base}_config.yml`, `_state` and `_cache_data`."""
        write_checkpoint(self.network, base, self.inputs.astype(self.network.dtype))

    def to_pykan(self) -> KAN:
        """Convert the network to a pykan KAN on the CPU."""
        from kanbench.network.pykan import to_pykan

        return to_pykan(self.network)


def fit(
    model: KAN | SplineNetwork | Sequence[int],
    data: Any,
    y: Any = None,
    *,
    opt: str = "LM",
    steps: int = 20,
    grids: Sequence[int] | None = None,
    x_test: Any = None,
    y_test: Any = None,
    k: int = 3,
    seed: int = 1,
    targets: str = "standardized",
    lr: float | None = None,
    update_grid: bool = True,
    grid_update_num: int = 10,
    start_grid_update_step: int | None = None,
    stop_grid_update_step: int = 50,
    log: int = 1,
    metrics: Sequence[Callable[[], Any]] | None = None,
    display_metrics: Sequence[str] | None = None,
    loss_fn: Callable[..., Any] | None = None,
    lamb: float = 0.0,
    batch: int = -1,
    save_fig: bool = False,
    threads: int = 1,
    **others: Any,
) -> Results | Fitted:
    """Train a network to minimise the mean squared error on the full batch.

    A pykan KAN is trained in place and keeps its device and precision; the computation runs on the CPU, in compiled
    code. Afterwards it is in the same state as after its own `fit`, except that its last forward pass was on the
    training inputs, not the test inputs. Names and results are those of `MultKAN.fit` in pykan 0.2.8, except:

    - Both losses of a step are evaluated at its end. (pykan's `train_loss` is from an evaluation within the step;
      Adam's is from its beginning.)
    - The global random state is neither used nor changed. (pykan permutes the sample even if it takes all of it.)
    - `opt="LM"`, `grids`, `targets` and `threads` are new, and the defaults of `opt` and `steps` differ, as does
      Adam's learning rate (0.02, not 1).
    - If a loss is not finite, training ends after the last step with finite losses, and a warning says so.

    A step is the same as in pykan. L-BFGS does up to 20 iterations, starts none after 25 gradient evaluations, keeps
    ten pairs and uses the same line search. Adam evaluates one gradient. Levenberg-Marquardt evaluates one Jacobian
    and computes one factorisation.

    Args:
        model (KAN, SplineNetwork, or sequence of int): A KAN of spline edges only: edges may be masked (pruned), but
            not symbolic, and there are no multiplication nodes or trained affine maps. A SplineNetwork is not changed.
            A width such as [2, 5, 1] makes a new network, initialized as in pykan, but on the range of `data`.
        data, y: A dataset as from `kan.create_dataset`, or inputs of shape (n, d) and labels of shape (n,) or
            (n, outputs) as tensors, arrays or frames.
        opt ({"LM", "LBFGS", "Adam"}): The optimizer.
        steps (int): Steps on every grid.
        grids (increasing integers): Train on each; refinement in between keeps the function. By default, the model
            keeps its grid; a new network starts with the first of these, or 5 intervals.
        x_test, y_test: The test sample for `test_loss`, if `data` are inputs.
        k, seed (int): Order and random seed of a new network.
        targets ({"standardized", "raw"}): Whether to train on labels scaled to mean 0 and standard deviation 1, or on
            raw labels as pykan does. Scale and mean are folded into the last layer and its bias. A given model starts
            as the function that it is; a new one, with standardized labels, near their mean.
        lr (float): Learning rate; by default 1 for L-BFGS and 0.02 for Adam. LM has none.
        update_grid (bool): Whether the first of `grids` is updated to follow the activations, as in pykan:
            `grid_update_num` times before step `stop_grid_update_step`, and not before `start_grid_update_step`. With
            LM, by default not before the first step, because it seldom recovers from grids fitted to the activations
            of an untrained model.
        log (int): Steps between updates of the progress bar; 0 for no bar.
        metrics (sequence of functions), display_metrics (sequence of names): As in pykan; for a KAN only.
        loss_fn (function): None, or any function that is the mean squared error.
        lamb, batch, save_fig: As in pykan, but only 0, the whole sample, and no figures are allowed.
        threads (int): Helps with many samples; results do not depend on it.
        others: Other arguments of `MultKAN.fit`, which have no effect without penalties, symbolic edges and figures.

    Returns:
        results (dict of lists): For a KAN: root mean squared errors `train_loss` and `test_loss`, `reg` (zeros) and
            metrics by name, with one value per step.
        fitted (Fitted): For anything else.

    Raises:
        InputError: An argument is wrong or not supported.

    Examples:
        >>> results = fit(model, dataset, opt="LM", steps=20)
        >>> fitted = fit([2, 5, 1], x, y, steps=10, grids=[5, 10, 20])
        >>> fitted.predict(x), fitted.save("model")
    """
    samples, kan = samples_of(data, y, x_test, y_test), _as_kan(model)
    check_neutral(lamb, batch, save_fig, len(samples.train[0]), others)
    _check_of_kan(kan is not None, metrics, loss_fn)
    network = _network(model, kan, samples, grids, k, seed, targets)
    samples.check(network)
    start = (1 if opt == "LM" else -1) if start_grid_update_step is None else start_grid_update_step
    sizes = grids_of(network, grids, update_grid, grid_update_num, start, stop_grid_update_step)
    settings = settings_of(network, opt, lr, targets, sizes, len(samples.train[0]))
    steps, log, threads = count("steps", steps), count("log", log, least=0), count("threads", threads)
    trainer = Trainer(settings, samples.dataset(network.dtype), network, threads)
    results = _results(metrics or (), with_test=samples.test is not None)

    def put_back(network: SplineNetwork) -> None:
        if kan is not None:
            from kanbench.network.pykan import write_back

            write_back(kan, network, samples.train[0])

    with _bar(steps * len(sizes.sizes), log, display_metrics, results) as show:

        def on_epoch(row: Row) -> None:
            _add(results, row)
            if metrics:
                put_back(trainer.network)
                for metric in metrics:
                    value = metric()
                    results[metric.__name__].append(value.item() if hasattr(value, "item") else value)
            show(row["epoch"])

        training = trainer.train(steps, on_epoch)
    put_back(training.final.network)
    if training.stopped:
        warn(f"fit: {training.stopped}; training ended before this step")
    if kan is not None:
        kan.log_history("fit")  # saves the model if pykan's `auto_save` is on
        return results
    inputs, _ = samples.train
    return Fitted(training.final.network, results, tuple(training.history), inputs, samples.flat)


def _as_kan(model: Any) -> KAN | None:
    if isinstance(model, SplineNetwork | Sequence | np.ndarray):
        return None
    from kanbench.network.pykan import is_kan

    if not is_kan(model):
        raise InputError("fit: model", f"a {type(model).__name__}", "a pykan KAN, a SplineNetwork, or a width")
    return model


def _check_of_kan(is_kan: bool, metrics: Any, loss_fn: Any) -> None:
    if metrics and not is_kan:
        raise InputError("fit: metrics", "given", "none, unless the model is a KAN")
    if loss_fn is not None:
        from kanbench.network.pykan import is_mean_square

        if not is_mean_square(loss_fn):
            raise InputError("fit: loss_fn", one_line(loss_fn)[:100], "None, or the mean squared error")


def _network(
    model: Any, kan: KAN | None, samples: Samples, grids: Sequence[int] | None, k: int, seed: int, targets: str
) -> SplineNetwork:
    """Make the initial network of the training."""
    if kan is None and not isinstance(model, SplineNetwork):
        width = [count("width", nodes) for nodes in model]
        if len(width) < 2:
            raise InputError("fit: width", width, "at least the numbers of inputs and outputs")
        if width[0] != samples.train[0].shape[1]:
            raise InputError("fit: width", width, f"{samples.train[0].shape[1]} inputs, as in the sample")
        grid = count("grids", grids[0]) if grids else GRID
        new = initialize(width, grid, count("k", k), count("seed", seed, 0), domain=samples.domain)
        return new if targets == "raw" else in_target_units(new, TargetUnits.standardizing(samples.train[1]))
    for name, value, default in (("k", k, 3), ("seed", seed, 1)):
        if value != default:
            raise InputError(f"fit: {name}", value, "none, unless the model is a width")
    if kan is None:
        return model
    from kanbench.network.pykan import from_pykan

    return from_pykan(kan)


def _results(metrics: Sequence[Callable[[], Any]], with_test: bool) -> Results:
    names = ["train_loss", *(["test_loss"] if with_test else []), "reg", *(metric.__name__ for metric in metrics)]
    return {name: [] for name in names}


def _add(results: Results, row: Row) -> None:
    for name in ("train_loss", "test_loss"):
        if name in results:
            results[name].append(np.sqrt(np.float64(row[name])))
    results["reg"].append(np.float64(0))


@contextmanager
def _bar(
    total: int, log: int, names: Sequence[str] | None, results: Mapping[str, list[Any]]
) -> Iterator[Callable[[int], None]]:
    """Show pykan's progress bar; yield a function to call after every step."""
    shown = [name for name in ("train_loss", "test_loss", "reg") if name in results] if names is None else names
    if unknown := [name for name in shown if name not in results]:
        raise InputError("fit: display_metrics", unknown[0], ", ".join(results))
    silent: dict[str, Any] = {} if log else {"disable": True}  # False would override TQDM_DISABLE
    with tqdm(total=total, desc="description", ncols=100, **silent) as bar:

        def show(step: int) -> None:
            if log and (step - 1) % log == 0:
                losses = "".join(f"{name}: {results[name][-1]:.2e} | " for name in shown)
                bar.set_description(f"| {losses}", refresh=False)
            bar.update()

        yield show
