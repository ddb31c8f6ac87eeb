"""Trainings of targets of several outputs: units, losses, checkpoints, refinement and merging."""

import dataclasses

import numpy as np
import pytest
import torch

from kanbench.errors import InputError
from kanbench.network.evaluation import evaluate
from kanbench.network.initialization import initialize
from kanbench.network.pykan import predict, to_pykan
from kanbench.plan.config import merge
from kanbench.plan.sections import SECTIONS
from kanbench.plan.settings import Model, training_settings, with_model
from kanbench.problems.target_scale import TargetUnits
from kanbench.training.merge_kan import ensemble_weights
from kanbench.training.trainer import Trainer, in_target_units, in_training_units, make_data

SIZES = (3, 6)
SMALL = {"data": {"train_num": 100, "test_num": 100, "dense_num": 200}, "timing": {"repeats": 1}}
SAMPLES = ("train", "test", "dense")


def several(x):
    """Of different sizes and far from 0."""
    return np.stack([np.sin(3 * x[:, 0]) * x[:, 1] + 20, 4 * x[:, 0] ** 2 - 7, x[:, 1]], axis=1)


@pytest.fixture
def make(config):
    """A trainer of a model type on other labels, functions of the inputs."""

    def make(model_type, target, network=None, **over):
        section = "section2_1" if model_type in SECTIONS["section2_1"].model_types else "section2_2"
        settings = training_settings(merge(merge(config, SMALL), over), section, model_type, 0)
        data = make_data(settings)
        labels = {f"{name}_label": target(getattr(data, f"{name}_input")) for name in SAMPLES}
        outputs = labels["train_label"].shape[1]
        settings = with_model(settings, Model((2, 4, outputs), 3), SIZES)
        return Trainer(settings, dataclasses.replace(data, **labels), network)

    return make


@pytest.mark.parametrize("model_type", ["adam", "lbfgs", "lm", "adaptive_only", "adaptive_regular"])
def test_losses_are_those_of_the_checkpoint_in_the_targets_units(make, model_type):
    """By pykan: the mean of all squared errors."""
    trainer = make(model_type, several)
    training, data = trainer.train(3), trainer.dataset
    row, model = training.final.row, to_pykan(training.final.network)
    for name, loss in zip(SAMPLES, ("train_loss", "test_loss", "dense_mse"), strict=True):
        x, y = (getattr(data, f"{name}_{part}") for part in ("input", "label"))
        output = predict(model, torch.from_numpy(x)).numpy()
        # Errors are differences of numbers up to 21, and here of the size of 1e-3 and more.
        assert np.square(output - y).mean() == pytest.approx(row[loss], rel=1e-10)
    assert row["train_loss"] < training.untrained.row["train_loss"]
    assert row["epoch"] == 6


def test_levenberg_marquardt_gets_far(make):
    """The targets' variances are up to 1.4."""
    training = make("lm", several).train(8)
    assert training.final.row["train_loss"] < 1e-6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_given_network_begins_as_it_is(make, dtype):
    """It is moved to the units of the training and back, of which every output has its own offset."""
    network = initialize([2, 4, 3], 3, dtype=dtype).scaled(2.0, np.array([1.0, -3.0, 20.0]))
    trainer = make("adam", several, network, dtype=dtype)
    rounding = 4 * 20 * np.finfo(dtype).eps
    x = trainer.dataset.dense_input
    np.testing.assert_allclose(evaluate(trainer.network, x), evaluate(network, x), rtol=0, atol=rounding)


def test_adam_trains_copies_of_an_output_as_the_output(make):
    """It does not see that the gradients of the output layer are a third of those of the one."""

    def one(x):
        return several(x)[:, :1]

    def three(x):
        return np.repeat(one(x), 3, axis=1)

    network = initialize([2, 4, 1], 3)
    *others, last = network.layers
    scales = {name: np.repeat(getattr(last, name), 3, axis=1) for name in ("scale_base", "scale_sp", "mask")}
    wide = dataclasses.replace(last, coef=tuple(np.repeat(c, 3, axis=0) for c in last.coef), **scales)
    copies = dataclasses.replace(network, layers=(*others, wide), output_bias=np.repeat(network.output_bias, 3))
    for ours, theirs in zip(
        *(make("adam", *of).train(4).history for of in ((three, copies), (one, network))), strict=True
    ):
        for loss in ("train_loss", "test_loss", "dense_mse"):
            assert ours[loss] == pytest.approx(theirs[loss], rel=1e-4)  # Adam's ε is not of the gradient's size


def test_units_have_an_offset_for_every_output_and_one_scale():
    """In closed form; and the same whatever the targets' common scale and own offsets."""
    y = several(np.random.default_rng(0).uniform(-1, 1, (500, 2)))
    units = TargetUnits.standardizing(y)
    np.testing.assert_allclose(units.offset, y.mean(axis=0), rtol=1e-14)
    assert abs(units.scale) == pytest.approx(np.sqrt(y.var(axis=0).mean()), rel=1e-14)
    z = units.of(y)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=2e-12)  # 500 summands up to 21, each with eps
    assert np.square(z).mean() == pytest.approx(1, rel=1e-14)
    assert z.max() == np.abs(z).max()
    for scale in (-1.0, 1e3):
        other = scale * y + np.array([5.0, 0.0, -30.0])
        np.testing.assert_allclose(TargetUnits.standardizing(other).of(other), z, rtol=0, atol=2e-12)
    assert isinstance(TargetUnits.standardizing(y[:, :1]).offset, float)
    constant = TargetUnits.standardizing(np.full((10, 2), [3.0, -1e9]))
    assert constant.scale == 1 and np.array_equal(constant.offset, [3.0, -1e9])


def test_networks_go_to_the_units_and_back():
    network, units = initialize([2, 4, 2], 3), TargetUnits(np.array([3.0, -8.0]), -2.5)
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    y, trained = evaluate(network, x), in_training_units(network, units)
    np.testing.assert_allclose(evaluate(trained, x), units.of(y), rtol=0, atol=1e-14)
    np.testing.assert_allclose(evaluate(in_target_units(trained, units), x), y, rtol=0, atol=1e-14)


def test_a_network_of_other_outputs_than_the_labels_is_refused(make):
    with pytest.raises(InputError, match="network: found 1 outputs; allowed: 3, those of the labels"):
        make("lm", several, initialize([2, 4, 1], 3))


def test_least_squares_weights_are_those_of_all_outputs():
    networks = [initialize([2, 3, 2], 4, seed=seed) for seed in range(3)]
    x = np.random.default_rng(0).uniform(-1, 1, (80, 2))
    label = sum(weight * evaluate(network, x) for weight, network in zip([0.5, -2.0, 1.5], networks, strict=True))
    np.testing.assert_allclose(ensemble_weights(networks, x, label, "least_squares"), [0.5, -2.0, 1.5], rtol=1e-9)
