"""The training loop: what it records, what it keeps, how it ends, and how far it gets."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from kanbench.config import ROOT
from kanbench.errors import InputError
from kanbench.models import count_parameters
from kanbench.training import resolve_device, resolve_engine

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
    for column in ("time", "n_evals"):
        assert (np.diff([0, *(row[column] for row in training.history)]) > 0).all()


@pytest.mark.parametrize("name", ["at_threshold", "final"])
def test_a_checkpoint_has_the_losses_of_its_row(trained, name):
    trainer, training = trained
    checkpoint = getattr(training, name)
    model, data = checkpoint.snapshot.restore(), trainer.dataset
    assert checkpoint.row in training.history
    assert model.grid == checkpoint.row["grid_size"]
    assert count_parameters(model) == checkpoint.row["num_params"]
    pairs = [
        (data.train_input, data.train_label),
        (data.test_input, data.test_label),
        (data.dense_input, data.dense_label),
    ]
    for loss, (x, y) in zip(LOSSES, pairs, strict=True):
        assert (model(x) - y).square().mean().item() == pytest.approx(checkpoint.row[loss], rel=1e-12)


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("optimizer", ["adam", "lm"])
def test_the_engines_train_alike(make_trainer, optimizer, engine):
    fast, reference = (make_trainer(optimizer, **SMALL, engine=name).train(4) for name in (engine, "reference"))
    assert (fast.engine, reference.engine) == (engine, "reference")
    for ours, theirs in zip(fast.history[:4], reference.history[:4], strict=True):
        for loss in LOSSES:
            assert ours[loss] == pytest.approx(theirs[loss], rel=1e-6)
        assert ours["n_evals"] == theirs["n_evals"]


def test_the_default_engine_is_the_devices_fastest():
    assert resolve_engine("auto", "cpu") == "compiled"
    assert resolve_engine("auto", "cuda") == resolve_engine("torch", "cpu") == "torch"
    assert resolve_engine("reference", "cuda") == "reference"


def test_the_compiled_engine_is_refused_on_cuda(make_trainer, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r"engine: found 'compiled'.*allowed on cuda: auto, torch, reference"):
        make_trainer("adam", engine="compiled", device="auto")


def test_the_threshold_is_the_best_epoch_before_overfitting(trained):
    _, training = trained
    assert training.final.row == training.history[-1]
    losses = [row["test_loss"] for row in training.history[: training.at_threshold.row["epoch"]]]
    assert training.at_threshold.row["test_loss"] == min(losses)


def test_only_training_is_timed(make_trainer, monkeypatch):
    trainer = make_trainer("adam", "poisson_2d_poly", **SMALL)
    predict = type(trainer.engine).predict

    def slow_predict(engine, x):
        time.sleep(0.05)
        return predict(engine, x)

    monkeypatch.setattr(type(trainer.engine), "predict", slow_predict)
    start = time.perf_counter()
    training = trainer.train(4)
    wall = time.perf_counter() - start
    assert wall > 9 * 3 * 0.05  # nine rows of three losses
    assert training.final.row["time"] < wall - 9 * 3 * 0.05


def test_the_first_epoch_does_not_pay_for_imports():
    """In a process of its own, where torch imports its optimizers on first use (seconds)."""
    code = """if True:
        from kanbench.config import load_config
        from kanbench.settings import training_settings
        from kanbench.training import Trainer
        settings = training_settings(load_config("config/smoke.yaml"), "section2_1", "adam", 0)
        print(Trainer(settings).train(1).history[0]["time"])
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 0.2


def test_two_trainings_with_the_same_settings_agree(make_trainer):
    def history():
        rows = make_trainer("lm", "poisson_2d_spec", **SMALL).train(3).history
        return [{key: value for key, value in row.items() if key != "time"} for row in rows]

    assert history() == history()


def test_float32(make_trainer):
    trainer = make_trainer("lm", "poisson_2d_poly", dtype="float32", **SMALL)
    training = trainer.train(4)
    assert training.final.snapshot.restore().act_fun[0].coef.dtype == torch.float32
    assert training.final.row["test_loss"] < 0.1


def spoil_after(trainer, steps):
    """Let the optimizer write NaN into the parameters after so many good steps."""
    step, count = trainer.optimizer.step, iter(range(100))

    def spoiled():
        step()
        if next(count) >= steps:
            trainer.engine.set_parameters(trainer.engine.parameters() * float("nan"))

    trainer.optimizer.step = spoiled


def test_a_loss_that_is_not_finite_ends_the_training(make_trainer):
    trainer = make_trainer("adam", "poisson_2d_poly", **SMALL)
    spoil_after(trainer, 5)
    training = trainer.train(4)
    assert [row["epoch"] for row in training.history] == [1, 2, 3, 4, 5]
    assert training.final.row == training.history[-1]
    assert torch.isfinite(training.final.snapshot.restore()(trainer.dataset.test_input)).all()
    assert training.stopped == "epoch 6 ended with a loss that is not finite"


def test_if_the_first_epoch_fails_the_untrained_model_is_kept(make_trainer):
    trainer = make_trainer("adam", "poisson_2d_poly", **SMALL)
    spoil_after(trainer, 0)
    training = trainer.train(4)
    assert training.history == []
    assert training.final == training.at_threshold
    assert training.final.row["epoch"] == 0
    assert all(np.isfinite(training.final.row[loss]) for loss in LOSSES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_where_there_is_none():
    assert resolve_device("auto") == "cpu"
    with pytest.raises(InputError, match=r"found 'cuda'.*allowed here: auto, cpu"):
        resolve_device("cuda")


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
