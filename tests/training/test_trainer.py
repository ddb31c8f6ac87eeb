"""The training loop: what it records, what it keeps, how it ends, and how far it gets."""

import dataclasses
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from kanbench.errors import InputError
from kanbench.network.evaluation import evaluate
from kanbench.network.pykan import predict, to_pykan
from kanbench.plan.config import ROOT, merge
from kanbench.plan.devices import resolve_device, resolve_engine
from kanbench.plan.sections import SECTIONS
from kanbench.plan.settings import training_settings
from kanbench.problems import PROBLEMS, Problem
from kanbench.problems.target_scale import TargetUnits
from kanbench.training.history import Stopwatch
from kanbench.training.trainer import Trainer, make_data

SMALL = {"grids": {"sizes": [3, 6]}, "data": {"train_num": 100, "test_num": 100, "dense_num": 200}}
LOSSES = ("train_loss", "test_loss", "dense_mse")


@pytest.fixture(scope="module", params=["adam", "lbfgs", "lm"])
def trained(request, make_trainer):
    trainer = make_trainer(request.param, "poisson_2d_poly", **SMALL)
    return trainer, trainer.train(4)


def test_one_row_per_epoch_through_all_stages(trained):
    _, training = trained
    assert [row["epoch"] for row in training.history] == list(range(1, 9))
    assert [row["grid_size"] for row in training.history] == [3] * 4 + [6] * 4
    assert [row["num_params"] for row in training.history] == [15 * 8] * 4 + [15 * 11] * 4
    assert training.stopped is None


def test_time_and_evaluations_only_grow(trained):
    _, training = trained
    for column in ("time", "n_evals", "flops"):
        assert (np.diff([0, *(row[column] for row in training.history)]) > 0).all()


@pytest.mark.parametrize("name", ["at_threshold", "final"])
def test_a_checkpoint_has_the_losses_of_its_row(trained, name):
    trainer, training = trained
    checkpoint = getattr(training, name)
    network, data = checkpoint.network, trainer.dataset
    assert checkpoint.row in training.history
    assert network.grid == checkpoint.row["grid_size"]
    assert network.n_parameters == checkpoint.row["num_params"]
    pairs = [
        (data.train_input, data.train_label),
        (data.test_input, data.test_label),
        (data.dense_input, data.dense_label),
    ]
    model = to_pykan(network)
    for loss, (x, y) in zip(LOSSES, pairs, strict=True):
        output = predict(model, torch.from_numpy(x)).numpy()
        # Residuals are differences of numbers of the targets' size, once standardized and once not.
        rounding = 8 * np.finfo(float).eps * np.abs(y).max() / np.sqrt(checkpoint.row[loss])
        assert np.square(output - y).mean() == pytest.approx(checkpoint.row[loss], rel=max(1e-12, 2 * rounding))


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("optimizer", ["adam", "lm"])
def test_the_engines_train_alike(make_trainer, optimizer, engine):
    fast, reference = (make_trainer(optimizer, **SMALL, engine=name).train(4) for name in (engine, "reference"))
    assert (fast.engine, reference.engine) == (engine, "reference")
    for ours, theirs in zip(fast.history[:4], reference.history[:4], strict=True):
        for loss in LOSSES:
            assert ours[loss] == pytest.approx(theirs[loss], rel=1e-6)
        assert (ours["n_evals"], ours["flops"]) == (theirs["n_evals"], theirs["flops"])


def test_the_default_engine_is_the_devices_fastest():
    assert resolve_engine("auto", "cpu") == "compiled"
    assert resolve_engine("auto", "cuda") == resolve_engine("torch", "cpu") == "torch"
    assert resolve_engine("reference", "cuda") == "reference"


def test_the_compiled_engine_is_refused_on_cuda(make_trainer, monkeypatch):
    monkeypatch.setattr("kanbench.plan.devices.has_gpu_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match="compiled") as error:
        make_trainer("adam", engine="compiled", device="auto")
    assert error.value.where == "engine" and "torch" in error.value.allowed


def test_the_threshold_is_the_best_epoch_before_overfitting(trained):
    _, training = trained
    assert training.final.row == training.history[-1]
    losses = [row["test_loss"] for row in training.history[: training.at_threshold.row["epoch"]]]
    assert training.at_threshold.row["test_loss"] == min(losses)


def test_only_training_is_timed(make_trainer, monkeypatch):
    """On a clock that nothing moves but a step, a refinement, an evaluation for the history and a new engine."""
    trainer, clock = make_trainer("adam", "poisson_2d_poly", **SMALL), [0.0]
    monkeypatch.setattr("kanbench.training.history.Stopwatch.now", lambda self: clock[0])

    def takes(seconds, function):
        def slow(*arguments):
            clock[0] += seconds
            return function(*arguments)

        return slow

    for owner, name, seconds in (
        (trainer.optimizer, "step", 1.0),
        (trainer.policy, "refine", 10.0),
        (trainer, "_make_engine", 100.0),
        (type(trainer.engine), "predict", 1000.0),
    ):
        monkeypatch.setattr(owner, name, takes(seconds, getattr(owner, name)))
    training = trainer.train(4)
    assert [row["time"] for row in training.history] == [1, 2, 3, 4, 115, 116, 117, 118]
    assert clock[0] == 118 + 9 * 3 * 1000  # nine rows of three losses


@pytest.mark.parametrize(
    ("model_type", "engine"),
    [
        ("lm", "compiled"),
        ("lbfgs", "compiled"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("adam", "torch"), ("lm", "reference"))),
    ],
)
def test_a_training_does_not_pay_for_imports_and_compilation(model_type, engine):
    """In a process of its own: whatever is timed finds all modules and kernels there."""
    code = f"""if True:
        import sys
        from kanbench.plan.config import load_config, merge
        from kanbench.io.kernel_cache import cache
        from kanbench.training.history import Stopwatch
        from kanbench.plan.settings import training_settings
        from kanbench.training.trainer import Trainer, make_data

        def there():
            return set(sys.modules) | {{(kernel, s) for kernel in cache.kernels for s in kernel.signatures}}

        class Watch(Stopwatch):
            new = []
            total = 0.0

            def __enter__(self):
                self.before = there()

            def __exit__(self, *exception):
                self.epochs.append(0.0)
                self.new.append(there() - self.before)

        config = merge(load_config("config/smoke.yaml"), {{"engine": {engine!r}, "timing": {{"repeats": 1}}}})
        config["grids"]["sizes"] = [3, 6, 20]  # LM: JᵀJ from dense rows and from runs, and JJᵀ
        settings = training_settings(config, "section2_1", {model_type!r}, 0)
        trainer = Trainer(settings, make_data(settings))
        trainer.clock = Watch(trainer.device, 1)
        training = trainer.train(1)
        assert len(training.stages) == 3 and training.engine == {engine!r}
        print(Watch.new)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "[set(), set(), set()]\n"


def test_two_trainings_with_the_same_settings_agree(make_trainer):
    def history():
        rows = make_trainer("lm", "poisson_2d_spec", **SMALL).train(3).history
        return [{key: value for key, value in row.items() if key != "time"} for row in rows]

    assert history() == history()


def test_float32(make_trainer):
    trainer = make_trainer("lm", "poisson_2d_poly", dtype="float32", **SMALL)
    training = trainer.train(8)
    assert training.final.network.dtype == np.float32
    assert training.final.row["test_loss"] < 0.1


def spoil_after(trainer, steps):
    """Let the optimizer return NaN for parameters after so many good steps."""
    step, count = trainer.optimizer.step, iter(range(100))

    def spoiled(engine, theta):
        return step(engine, theta) * (1 if next(count) < steps else float("nan"))

    trainer.optimizer.step = spoiled


def test_a_loss_that_is_not_finite_ends_the_training(make_trainer):
    trainer = make_trainer("adam", "poisson_2d_poly", **SMALL)
    spoil_after(trainer, 5)
    training = trainer.train(4)
    assert [row["epoch"] for row in training.history] == [1, 2, 3, 4, 5]
    assert training.final.row == training.history[-1]
    assert np.isfinite(evaluate(training.final.network, trainer.dataset.test_input)).all()
    assert training.stopped == "epoch 6 ended with a loss that is not finite"


def test_if_the_first_epoch_fails_the_untrained_model_is_kept(make_trainer):
    trainer = make_trainer("adam", "poisson_2d_poly", **SMALL)
    spoil_after(trainer, 0)
    training = trainer.train(4)
    assert training.history == []
    assert training.final == training.at_threshold
    assert training.final.row["epoch"] == 0
    assert all(np.isfinite(training.final.row[loss]) for loss in LOSSES)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("model_type", "lr", "rows"), [("adam", 1e60, 0), ("lbfgs", 1e50, 8)])
def test_numbers_that_overflow_end_no_process(make_trainer, model_type, lr, rows, dtype):
    """And cause no warnings of numpy's."""
    optimizers = {model_type: {"lr": lr}}
    training = make_trainer(model_type, "poisson_2d_poly", optimizers=optimizers, dtype=dtype, **SMALL).train(4)
    assert len(training.history) == rows
    assert (training.stopped is None) == (rows == 8)
    assert all(np.isfinite(training.final.row[loss]) for loss in LOSSES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("driver", [False, True])
def test_cuda_where_there_is_none(monkeypatch, driver):
    monkeypatch.setattr("kanbench.plan.devices.has_gpu_driver", lambda: driver)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(InputError, match="cuda") as error:
        resolve_device("cuda")
    assert error.value.where == "device" and error.value.allowed == "auto, cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("model_type", ["adam", "lbfgs", "lm"])
def test_cuda_agrees_with_the_cpu(make_trainer, model_type):
    first, second = (make_trainer(model_type, "poisson_2d_poly", device=device, **SMALL) for device in ("cpu", "cuda"))
    losses = [[row["train_loss"] for row in trainer.train(2).history] for trainer in (first, second)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "limit"), [("poisson_2d_sin", 1e-6), ("poisson_2d_poly", 1e-7), ("poisson_2d_spec", 1e-2)]
)
def test_accuracy_of_lm_with_the_default_configuration(make_trainer, problem, limit):
    assert make_trainer("lm", problem).train(10).at_threshold.row["test_loss"] <= limit


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_lm_finds_the_exact_representation_of_poly(make_trainer, seed):
    """2y(1-y) + 2x(1-x) is a [2, 1, 1] KAN of cubic splines."""
    trainer = make_trainer("lm", "poisson_2d_poly", model={"width": [2, 1, 1]}, seeds=[seed])
    assert trainer.train(10).at_threshold.row["test_loss"] < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "problem", "best"),
    [  # the best dense MSE of the original procedure, on its padded domain
        ("adam", "poisson_2d_sin", 25.6),
        ("adam", "poisson_2d_poly", 2.94),
        ("adam", "poisson_2d_highfreq", 1.11e4),
        ("adam", "poisson_2d_spec", 74.9),
        ("lbfgs", "poisson_2d_sin", 0.312),
        ("lbfgs", "poisson_2d_poly", 1.45e-4),
        ("lbfgs", "poisson_2d_highfreq", 1.12e4),
        ("lbfgs", "poisson_2d_spec", 2.89),
    ],
)
def test_adam_and_lbfgs_are_no_worse_than_the_original_procedure(make_trainer, model_type, problem, best):
    training = make_trainer(model_type, problem).train(10)
    assert min(row["dense_mse"] for row in training.history) <= best


def test_pykans_policy_trains_too(make_trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = make_trainer("lbfgs", "poisson_2d_poly", grids={"policy": "pykan", "sizes": [3, 6]}, data=SMALL["data"])
    training = trainer.train(6)
    assert len(training.history) == 12
    assert training.final.row["grid_size"] == 6
    assert list(tmp_path.iterdir()) == []


FAMILY = [(1.0, 0.0), (1e3, 0.0), (1.0, 1e4), (1e-6, 5.0), (-1.0, 0.0), (-0.5, 3.0)]


def trainer_on(make_settings, model_type, scale, offset, **over):
    """On scale · f + offset, in the place of f."""
    settings = make_settings(model_type, **over)
    data = make_data(settings)
    labels = {name: scale * getattr(data, name) + offset for name in ("train_label", "test_label", "dense_label")}
    return Trainer(settings, dataclasses.replace(data, **labels))


@pytest.fixture
def make_settings(config):
    def make(model_type, problem="poisson_2d_sin", **over):
        changed = merge(merge(config, {"timing": {"repeats": 1}}), over)
        section = "section2_1" if model_type in SECTIONS["section2_1"].model_types else "section2_2"
        return training_settings(changed, section, model_type, config["datasets"].index(problem))

    return make


@pytest.mark.parametrize("model_type", ["adam", "lbfgs", "lm", "adaptive_only", "adaptive_regular"])
@pytest.mark.parametrize(("scale", "offset"), FAMILY[1:], ids=str)
def test_standardized_targets_train_the_same_whatever_their_units(make_settings, model_type, scale, offset):
    """To rounding, which the optimizers amplify: that of 1e-6 f + 5 is 1e-10 of f."""
    first, other = (trainer_on(make_settings, model_type, *of, **SMALL) for of in (FAMILY[0], (scale, offset)))
    np.testing.assert_allclose(other.label, first.label, rtol=0, atol=2e-15 * (1 + abs(offset / scale)))
    ours, theirs = (trainer.train(2).history for trainer in (other, first))
    for row, expected in zip(ours, theirs, strict=True):
        for loss in LOSSES:
            assert row[loss] == pytest.approx(scale**2 * expected[loss], rel=1e-4)
        assert row["flops"] == expected["flops"]


def test_the_checkpoint_of_a_target_with_an_offset_is_in_its_units(make_settings):
    trainer = trainer_on(make_settings, "lm", 1e-6, 5.0, **SMALL)
    training, data = trainer.train(3), trainer.dataset
    model = to_pykan(training.final.network)
    output = predict(model, torch.from_numpy(data.test_input)).numpy()
    assert np.square(output - data.test_label).mean() == pytest.approx(training.final.row["test_loss"], rel=1e-6)
    assert training.final.row["test_loss"] < 1e-10  # the variance


def test_raw_targets_are_trained_on_as_they_are(make_trainer):
    trainer = make_trainer("lbfgs", "poisson_2d_poly", **merge(SMALL, {"data": {"targets": "raw"}}))
    assert np.array_equal(trainer.label, trainer.dataset.train_label)
    assert trainer.network.digest() == trainer.engine.network.with_parameters(trainer.theta).digest()


@pytest.mark.parametrize("value", [0.0, 3.0, -1e300])
def test_constant_targets(make_settings, value):
    trainer = trainer_on(make_settings, "lm", 0.0, value, **SMALL)
    assert trainer.units == TargetUnits(offset=value)


class Ticks:
    """A clock on which every epoch of a run takes the next of given times."""

    def __init__(self, *runs):
        self.times = [now for run in runs for seconds in run for now in (0.0, seconds)]

    def __call__(self):
        return self.times.pop(0)


def test_the_least_time_of_every_epoch_counts(make_trainer, monkeypatch):
    runs = [1, 5, 3, 4, 9, 1, 1, 1], [2, 2, 2, 6, 1, 1, 1, 1], [3, 1, 4, 3, 2, 1, 1, 1]
    ticks = Ticks(*runs)
    monkeypatch.setattr("kanbench.training.history.Stopwatch.now", lambda self: ticks())
    timing = {"repeats": 3, "seconds": 1000}
    training = make_trainer("adam", "poisson_2d_poly", timing=timing, **SMALL).train(4)
    assert [row["time"] for row in training.history] == [1, 2, 4, 7, 8, 9, 10, 11]
    assert training.final.row["time"] == 11 and training.timings == 3 and ticks.times == []
    assert training.at_threshold.row["time"] == training.history[training.at_threshold.row["epoch"] - 1]["time"]


def test_long_trainings_are_timed_once(make_trainer, monkeypatch):
    for timing, timings, seconds in (({"repeats": 3, "seconds": 8}, 1, 8), ({"repeats": 9, "seconds": 8.1}, 2, 4)):
        ticks = Ticks([1] * 8, [0.5] * 8)
        monkeypatch.setattr("kanbench.training.history.Stopwatch.now", lambda self, ticks=ticks: ticks())
        training = make_trainer("adam", "poisson_2d_poly", timing=timing, **SMALL).train(4)
        assert training.timings == timings and training.final.row["time"] == seconds


@pytest.mark.parametrize("model_type", ["adam", "lbfgs", "lm", "adaptive_only"])
def test_repeats_change_nothing_but_times(make_trainer, model_type):
    once, often = (make_trainer(model_type, timing={"repeats": count, "seconds": 9}, **SMALL) for count in (1, 3))
    first, second = once.train(3), often.train(3)
    assert second.timings == 3
    for rows in (first.history, second.history):
        for row in rows:
            del row["time"]
    assert first.history == second.history
    assert first.final.network.digest() == second.final.network.digest() == often.network.digest()
    assert first.at_threshold.network.digest() == second.at_threshold.network.digest()


def test_a_repetition_that_trains_differently_counts_for_nothing(make_trainer, monkeypatch, caplog):
    trainer = make_trainer("adam", timing={"repeats": 3}, **SMALL)
    start = trainer._start

    def elsewhere():
        start()
        trainer.theta = trainer.theta + 1e-3

    trainer._start = elsewhere
    assert trainer.train(2).timings == 1
    assert "a different history" in caplog.text


@pytest.mark.parametrize(("threads", "clock"), [(1, "thread"), (2, "wall")])
def test_which_clock_is_used(make_settings, threads, clock):
    settings = make_settings("adam", **SMALL)
    assert Trainer(settings, make_data(settings), threads=threads).train(1).clock == clock


def test_other_processes_cost_no_time_of_the_thread():
    """As sleeping does not."""
    watch = Stopwatch("cpu", 1)
    with watch:
        time.sleep(0.2)
    assert watch.total < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("domain", [(0, 1), (-5, 5), (0, 100), (-1000, 1000), (100, 101), (0, 1e-3)], ids=str)
@pytest.mark.parametrize(("model_type", "limit"), [("adam", 6e-2), ("lbfgs", 5e-5), ("lm", 1e-7)])
def test_a_function_is_learned_as_well_on_any_domain(config, monkeypatch, domain, model_type, limit):
    """Test loss relative to the variance; on [-1, 1]² it is at most 3e-2, 2e-5 and 6e-9 for three seeds."""
    low, high = domain

    def target(x):
        u = 2 * (x - low) / (high - low) - 1
        return np.sin(3 * u[:, [0]]) * u[:, [1]] + u[:, [0]] ** 2

    monkeypatch.setitem(PROBLEMS, "own", Problem("own", target, ((low, high),) * 2))
    changed = merge(config, {"datasets": ["own"], "timing": {"repeats": 1}, "data": {"dense_num": 100}})
    settings = training_settings(changed, "section2_1", model_type, 0)
    data = make_data(settings)
    best = min(row["test_loss"] for row in Trainer(settings, data).train(10).history)
    assert best / data.test_label.var() <= limit
