"""`kanbench.fit`: pykan's models in place, networks on arrays, and what it refuses."""

import dataclasses
import random

import numpy as np
import pandas as pd
import pytest
import torch
from kan import KAN, create_dataset

from kanbench import fit
from kanbench.errors import InputError
from kanbench.network import refinement
from kanbench.network.evaluation import evaluate
from kanbench.network.initialization import initialize
from kanbench.network.pykan import from_pykan, global_random_state_kept, to_pykan
from kanbench.plan.config import load_config
from kanbench.training import fit_arguments
from kanbench.training.fit import Fitted

KEYS = ("train_input", "train_label", "test_input", "test_label")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Where models with `auto_save` write."""
    monkeypatch.chdir(tmp_path)


def target(x):
    return torch.exp(torch.sin(torch.pi * x[:, [0]]) + x[:, [1]] ** 2)


@pytest.fixture(scope="module")
def dataset():
    """pykan's tutorial, with fewer samples."""
    with global_random_state_kept():
        return create_dataset(target, n_var=2, train_num=200, test_num=100)


def model_of(width=(2, 2, 1), grid=3, seed=1, **more):
    with global_random_state_kept():
        return KAN(width=list(width), grid=grid, k=3, seed=seed, **{"auto_save": False, **more})


@pytest.fixture
def model():
    return model_of()


def rmse(model, dataset, sample):
    with torch.no_grad():
        return (model(dataset[f"{sample}_input"]) - dataset[f"{sample}_label"]).square().mean().sqrt().item()


def in_float64(dataset):
    return {key: value.double() for key, value in dataset.items()}


@pytest.mark.parametrize("opt", ["LM", "LBFGS", "Adam"])
@pytest.mark.parametrize("grids", [None, [3, 7]], ids=str)
def test_the_model_has_the_losses_of_the_results(opt, grids, model, dataset):
    before = [rmse(model, dataset, sample) for sample in ("train", "test")]
    results = fit(model, dataset, opt=opt, steps=7, grids=grids, log=0)
    assert list(results) == ["train_loss", "test_loss", "reg"]
    assert all(len(values) == 7 * (2 if grids else 1) for values in results.values())
    after = [rmse(model, dataset, sample) for sample in ("train", "test")]
    assert after == pytest.approx([results["train_loss"][-1], results["test_loss"][-1]], rel=1e-4)  # float32
    assert after[0] < before[0] / (1.05 if opt == "Adam" else 2)
    assert model.grid == (7 if grids else 3)
    assert set(results["reg"]) == {0}


def test_in_double_precision_to_rounding(model, dataset):
    """The model's own precision is kept, and then the losses agree with torch's evaluation to 1e-9."""
    model, dataset = model.double(), in_float64(dataset)
    results = fit(model, dataset, steps=3, grids=[3, 9], log=0)
    for sample in ("train", "test"):
        assert rmse(model, dataset, sample) == pytest.approx(results[f"{sample}_loss"][-1], rel=1e-9)
    assert {parameter.dtype for parameter in model.act_fun.parameters()} == {torch.float64}


@pytest.mark.parametrize("update_grid", [False, True])
def test_steps_of_lbfgs_are_pykans(update_grid, dataset):
    """As many iterations and evaluations: the losses of the first steps are those of pykan's own `fit`.

    In float64, where line searches and updates of grids differ in rounding only.
    """
    ours, theirs, dataset = model_of().double(), model_of().double(), in_float64(dataset)
    theirs.load_state_dict(ours.state_dict())
    close = 1e-3
    settings = {"opt": "LBFGS", "steps": 2, "update_grid": update_grid}
    results = fit(ours, dataset, targets="raw", log=0, **settings)
    with global_random_state_kept():
        theirs.fit(dataset, **settings)
    # pykan's own list is of the last point that a line search tried, not of the one that it took.
    assert results["train_loss"][-1] == pytest.approx(rmse(theirs, dataset, "train"), rel=close)
    assert results["test_loss"][-1] == pytest.approx(rmse(theirs, dataset, "test"), rel=close)


def test_adams_steps_are_pykans(dataset):
    ours, theirs, dataset = model_of().double(), model_of().double(), in_float64(dataset)
    theirs.load_state_dict(ours.state_dict())
    settings = {"opt": "Adam", "steps": 5, "update_grid": False, "lr": 0.05}
    results = fit(ours, dataset, targets="raw", log=0, **settings)
    with global_random_state_kept():
        found = theirs.fit(dataset, **settings)
    assert results["test_loss"] == pytest.approx([float(value) for value in found["test_loss"]], rel=1e-8)


def test_grids_are_updated_when_pykan_updates_them(model, dataset, monkeypatch):
    steps, update = [], refinement.update_grids
    monkeypatch.setattr(refinement, "update_grids", lambda network, x: (steps.append(len(seen)), update(network, x))[1])

    def step():
        seen.append(1)
        return torch.tensor(0.0)

    for settings, expected in (
        ({"opt": "LBFGS"}, [0, 5, 10]),
        ({"opt": "LM"}, [5, 10]),
        ({"opt": "LM", "start_grid_update_step": -1}, [0, 5, 10]),
        ({"opt": "LM", "grid_update_num": 5, "stop_grid_update_step": 10}, [2, 4, 6, 8]),
        ({"opt": "LBFGS", "start_grid_update_step": 6}, [10]),
        ({"opt": "LM", "update_grid": False}, []),
        ({"opt": "LM", "grids": [3, 5], "steps": 6}, [5]),
    ):
        # of which the first step is one that is thrown away
        seen = []
        fit(model_of(), dataset, metrics=[step], log=0, **{"steps": 12, **settings})
        assert [at for at in steps if at or seen] == expected, settings
        steps.clear()


def test_grids_are_refined_without_changing_the_function(model, dataset):
    """No step of a stage is worse than the last of the stage before, LM accepts none that is; and pykan's own code
    goes on with the refined model.
    """
    losses = fit(model, dataset, steps=3, grids=[4, 8, 16], log=0, update_grid=False)["train_loss"]
    assert (np.diff(losses) <= 1e-5 * np.array(losses[:-1])).all()
    assert [layer.num for layer in model.act_fun] == [16, 16]
    assert model.act_fun[0].grid.shape == (2, 16 + 1 + 6) and model.act_fun[0].coef.shape == (2, 2, 16 + 3)


@pytest.mark.slow
def test_pykan_goes_on_with_the_model(dataset, tmp_path):
    model = model_of(auto_save=True)
    fit(model, dataset, steps=3, grids=[3, 6], log=0)
    with global_random_state_kept():
        model.plot(folder=str(tmp_path / "figures"))  # of the training inputs, without a forward
        assert torch.equal(model.cache_data, dataset["train_input"])
        outputs = model(dataset["test_input"])
        model.saveckpt(str(tmp_path / "saved"))
        torch.testing.assert_close(KAN.loadckpt(str(tmp_path / "saved"))(dataset["test_input"]), outputs)
        model(dataset["train_input"])
        losses = model.refine(12).fit(dataset, steps=3)["train_loss"]
    assert losses[-1] <= losses[0]


def test_what_is_trained_stays_so_and_parameters_are_the_same_objects(dataset):
    model = model_of(sp_trainable=False)
    before = dict(model.named_parameters())
    flags, scales = {name: p.requires_grad for name, p in before.items()}, model.act_fun[0].scale_sp.clone()
    fit(model, dataset, steps=2, log=0)
    after = dict(model.named_parameters())
    assert all(after[name] is before[name] for name in before)
    assert {name: p.requires_grad for name, p in after.items()} == flags
    torch.testing.assert_close(model.act_fun[0].scale_sp, scales)
    assert all(p.grad is None for name, p in after.items() if name.startswith("act_fun"))


def test_masked_edges_stay_masked(dataset):
    model = model_of()
    model.remove_edge(0, 0, 1)
    with global_random_state_kept():
        model(dataset["train_input"])
    results = fit(model, dataset, steps=3, log=0)
    assert model.act_fun[0].mask[0, 1] == 0 and model.act_fun[0].mask.sum() == 3
    assert rmse(model, dataset, "train") == pytest.approx(results["train_loss"][-1], rel=1e-4)


def test_no_global_random_state_is_used_or_changed(dataset):
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

    digests = []
    for number in (1, 2):
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
        model, before = model_of(), states()
        fit(model, dataset, opt="LBFGS", steps=2, log=0)
        digests.append(fit([2, 2, 1], dataset, steps=2, log=0).network.digest())
        assert states() == before
    assert digests[0] == digests[1]


def test_metrics_are_of_the_model_at_the_end_of_the_step(model, dataset, capsys):
    def train_rmse():
        return (model(dataset["train_input"]) - dataset["train_label"]).square().mean().sqrt()

    results = fit(model, dataset, steps=3, metrics=[train_rmse], display_metrics=["train_rmse"])
    assert results["train_rmse"] == pytest.approx(results["train_loss"], rel=1e-4)
    assert "train_rmse" in capsys.readouterr().err


def test_a_bar_like_pykans(model, dataset, capsys):
    fit(model, dataset, steps=2)
    error = capsys.readouterr().err
    assert all(part in error for part in ("| train_loss: ", "| test_loss: ", "| reg: 0.00e+00 | ", "2/2"))
    fit(model, dataset, steps=2, log=0)
    assert capsys.readouterr() == ("", "")


def test_a_model_that_saves_itself_is_saved(dataset, tmp_path):
    model = model_of(auto_save=True)
    fit(model, dataset, steps=1, log=0)
    assert "0.0 => fit => 0.1" in (tmp_path / "model" / "history.txt").read_text()
    with global_random_state_kept():
        again = KAN.loadckpt(str(tmp_path / "model" / "0.1"))
    assert torch.equal(again(dataset["test_input"]), model(dataset["test_input"]))


@pytest.mark.parametrize(
    "loss",
    [
        torch.nn.MSELoss(),
        torch.nn.functional.mse_loss,
        lambda x, y: torch.mean((x - y) ** 2),
        lambda x, y: (y - x).pow(2).sum() / len(x),
    ],
)
def test_mean_squared_errors_by_other_names(loss, model, dataset):
    assert len(fit(model, dataset, steps=1, loss_fn=loss, log=0)["reg"]) == 1


def test_arguments_of_pykan_without_effect_are_taken(model, dataset):
    neutral = {"lamb_l1": 2.0, "lamb_entropy": 1.0, "lamb_coef": 1.0, "lamb_coefdiff": 1.0, "y_th": 10.0, "beta": 2}
    fit(model, dataset, opt="LM", steps=1, lr=1.0, lamb=0.0, batch=200, save_fig=False, log=0, **neutral)


def symbolic():
    model = model_of()
    with global_random_state_kept():
        model.fix_symbolic(0, 0, 0, "sin", fit_params_bool=False, verbose=False)
    return model


def without_an_input():
    model = model_of()
    model.input_id = torch.tensor([1, 0])
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (symbolic, "symbolic functions"),
        (lambda: model_of([2, [1, 1], 1]), "layers of nodes that only add"),
        (lambda: model_of(affine_trainable=True), "trainable node_bias"),
        (without_an_input, "allowed: all inputs"),
        (lambda: model_of(base_fun=torch.sin), "allowed: silu, identity, zero"),
        (lambda: torch.nn.Linear(2, 1), "found a Linear; allowed: a pykan KAN, a SplineNetwork, or a width"),
        (lambda: "model", "width"),
        (lambda: [2], "fit: width: found [2]"),
        (lambda: [2, 0, 1], "fit: width: found 0"),
        (lambda: [3, 1], "allowed: 2 inputs"),
        (lambda: initialize([3, 1], 3), "fit: inputs: found 2 columns; allowed: 3"),
        (lambda: model_of([2, 2, 2]), "fit: labels: found 1 columns; allowed: 2"),
    ],
)
def test_models_that_are_refused(make, message, dataset):
    with pytest.raises(InputError) as raised:
        fit(make(), dataset, steps=1, log=0)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opt": "SGD"}, "fit: opt: found SGD; allowed: LM, LBFGS, Adam"),
        ({"steps": 0}, "fit: steps: found 0"),
        ({"steps": 2.5}, "fit: steps: found 2.5"),
        ({"log": -1}, "fit: log: found -1"),
        ({"threads": 0}, "fit: threads"),
        ({"lamb": 0.01}, "fit: lamb: found 0.01; allowed: 0, no penalty"),
        ({"batch": 100}, "fit: batch: found 100; allowed: -1 or an integer >= 200"),
        ({"save_fig": True}, "fit: save_fig"),
        ({"loss_fn": torch.nn.L1Loss()}, "fit: loss_fn: found L1Loss()"),
        ({"loss_fn": lambda x, y: 2 * torch.mean((x - y) ** 2)}, "fit: loss_fn"),
        ({"loss_fn": torch.nn.HuberLoss()}, "fit: loss_fn"),
        ({"loss_fn": torch.nn.MSELoss(reduction="sum")}, "fit: loss_fn"),
        ({"loss_fn": lambda x: x}, "fit: loss_fn"),
        ({"lr": 0.1}, "fit: lr: found 0.1; allowed: none for LM"),
        ({"opt": "Adam", "lr": -1}, "fit: lr: found -1"),
        ({"targets": "scaled"}, "fit: targets"),
        ({"grids": [2, 5]}, "fit: grids: found [2, 5]; allowed: increasing integers >= 3"),
        ({"grids": [5, 5]}, "fit: grids"),
        ({"grids": []}, "fit: grids"),
        ({"grids": [5.5]}, "fit: grids: found 5.5"),
        ({"grid_update_num": 0}, "fit: grid_update_num"),
        ({"grid_update_num": 60}, "fit: grid_update_num: found 60; allowed: up to 50"),
        ({"k": 2}, "fit: k: found 2"),
        ({"seed": 3}, "fit: seed: found 3"),
        ({"display_metrics": ["mine"]}, "fit: display_metrics: found mine"),
        ({"momentum": 1}, "unknown argument momentum"),
        ({"y": [1.0]}, "fit: y: found given together with a dataset"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_arguments_that_are_refused(arguments, message, model, dataset):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError) as raised:
        fit(model, dataset, **{"steps": 1, "log": 0, **arguments})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_label": None}, "fit: dataset: found no test_label"),
        ({"train_input": torch.zeros(200, 3)}, "fit: dataset['test_input']: found 2 columns; allowed: 3"),
        ({"train_label": torch.zeros(199, 1)}, "fit: dataset['train_label']: found 199 rows; allowed: 200"),
        ({"train_input": torch.zeros(200, 2, 1)}, "fit: dataset['train_input']: found shape (200, 2, 1)"),
        ({"train_input": torch.zeros(0, 2)}, "fit: dataset['train_input']: found shape (0, 2)"),
        ({"train_label": torch.full((200, 1), torch.nan)}, "found 200 numbers that are not finite"),
        ({"test_input": [["a", "b"]]}, "fit: dataset['test_input']: found type <U1"),
        ({"test_input": [[1.0], [1.0, 2.0]]}, "fit: dataset['test_input']: found"),
    ],
)
def test_datasets_that_are_refused(change, message, model, dataset):
    changed = {key: value for key, value in (dataset | change).items() if value is not None}
    with pytest.raises(InputError) as raised:
        fit(model, changed, log=0)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([2, 1], np.zeros((3, 2))), "fit: y: found none"),
        (([2, 1], np.zeros((3, 2)), np.zeros(3), {"x_test": np.zeros((3, 2))}), "found one of the two"),
        (([2, 1], np.zeros((3, 2)), np.zeros(3), {"metrics": [rmse]}), "fit: metrics"),
        (([2, 1], np.zeros((3, 2)), np.zeros(3), {"k": 0}), "fit: k: found 0"),
        (([2, 1], np.zeros((3, 2)), np.zeros(3), {"k": 6}), "splines of order 6; allowed: 1 to 5"),
    ],
)
def test_arrays_that_are_refused(arguments, message):
    *arrays, settings = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(InputError) as raised:
        fit(*arrays, log=0, **settings)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_loss_that_is_not_finite_ends_the_training(model, dataset):
    with pytest.warns(UserWarning, match="fit: epoch .* not finite; training ended"):
        results = fit(model, dataset, opt="Adam", lr=1e30, steps=9, log=0, update_grid=False)
    assert len(results["train_loss"]) < 9
    assert all(p.isfinite().all() for p in model.act_fun.parameters())


@pytest.fixture(scope="module")
def arrays():
    """Inputs far from [-1, 1], with different units."""
    x = np.random.default_rng(0).uniform([0, -3], [100, 0.5], (300, 2))
    return x, 50 + np.sin(x[:, 0] / 20) * x[:, 1]


def test_arrays(arrays, tmp_path):
    """In any range, and back through a checkpoint that pykan reads."""
    x, y = arrays
    fitted = fit([2, 4, 1], x[:200], y[:200], grids=[4, 8], x_test=x[200:], y_test=y[200:], seed=3, log=0)
    assert isinstance(fitted, Fitted)
    assert fitted.network.width == [2, 4, 1] and fitted.network.grid == 8
    assert fitted.predict(x).shape == (300,)
    assert np.sqrt(np.square(fitted.predict(x) - y).mean()) < 0.02 * y.std()
    for part, loss in ((slice(200), "train_loss"), (slice(200, None), "test_loss")):
        found = np.sqrt(np.square(fitted.predict(x[part]) - y[part]).mean())
        assert found == pytest.approx(fitted.results[loss][-1], rel=1e-6)
    assert [row["grid_size"] for row in fitted.history] == [4] * 20 + [8] * 20
    fitted.save(tmp_path / "folder" / "model")
    with global_random_state_kept():
        loaded = KAN.loadckpt(str(tmp_path / "folder" / "model"))
    outputs = loaded(torch.tensor(x, dtype=torch.float32)).detach().numpy()[:, 0]
    np.testing.assert_allclose(outputs, fitted.predict(x), atol=1e-3 * y.std())  # loadckpt's models are in float32
    outputs = fitted.to_pykan()(torch.tensor(x)).detach().numpy()[:, 0]
    np.testing.assert_allclose(outputs, fitted.predict(x), atol=1e-9 * y.std())


def test_frames_tensors_and_columns_are_arrays(arrays):
    x, y = arrays
    frame, tensor = pd.DataFrame({"a": x[:, 0], "b": x[:, 1]}), torch.tensor(x, requires_grad=True)
    fits = [
        fit([2, 2, 1], inputs, labels, steps=2, log=0)
        for inputs, labels in ((x, y), (frame, pd.Series(y)), (tensor, y[:, None].tolist()))
    ]
    assert [fitted.predict(x[:5]).shape for fitted in fits] == [(5,), (5,), (5, 1)]
    assert fits[0].network.digest() == fits[1].network.digest() == fits[2].network.digest()
    assert list(fits[0].results) == ["train_loss", "reg"]


def test_a_network_stays_as_it_is(arrays):
    x, y = arrays
    network = initialize([2, 2, 1], 4, domain=[(0, 100), (-3, 1)])
    before = network.digest()
    fitted = fit(network, x, y, steps=5, log=0, update_grid=False)
    assert network.digest() == before
    assert fitted.results["train_loss"][-1] < np.sqrt(np.square(evaluate(network, x)[:, 0] - y).mean())
    with pytest.raises(InputError, match=r"predict: x: found shape \(300,\)"):
        fitted.predict(y)


def test_one_input_may_be_a_vector():
    x = np.linspace(-1, 1, 50)
    fitted = fit([1, 1], x, np.sin(3 * x), steps=5, log=0)
    assert np.abs(fitted.predict(x) - np.sin(3 * x)).max() < 0.05


def test_an_input_that_is_the_same_everywhere_does_no_harm(arrays):
    x, y = arrays
    fitted = fit([3, 3, 1], np.c_[x, np.full(len(x), 7.0)], y, steps=15, log=0)
    assert fitted.results["train_loss"][-1] < 0.5 * y.std()


def test_nodes_with_grids_of_their_own_keep_them(arrays):
    """And a KAN of them is trained too."""
    x, y = arrays
    network = initialize([2, 2, 1], 4, domain=[(0, 100), (-3, 1)])
    layers = list(network.layers)
    finer = initialize([2, 2, 1], 6, domain=[(0, 100), (-3, 1)]).layers[0]
    first = layers[0]
    knots, coef = (first.knots[0], finer.knots[1]), (first.coef[0], finer.coef[1])
    uneven = dataclasses.replace(network, layers=(dataclasses.replace(first, knots=knots, coef=coef), layers[1]))
    assert fit(uneven, x, y, steps=7, log=0).network.intervals == [[4, 6], [4, 4]]
    model = to_pykan(uneven)
    data = dict(zip(KEYS, (x, y, x, y), strict=True))
    results = fit(model, data, steps=2, log=0)
    assert rmse(model, {key: torch.tensor(value).reshape(300, -1) for key, value in data.items()}, "train") == (
        pytest.approx(results["train_loss"][-1], rel=1e-9)
    )
    assert from_pykan(model).intervals == [[4, 6], [4, 4]]
    fit(model, data, steps=1, grids=[6], log=0)
    assert from_pykan(model).intervals == [[6, 6], [6, 6]]


def test_settings_of_lbfgs_and_adam_are_the_pipelines():
    optimizers = load_config()["optimizers"]
    assert optimizers["lbfgs"] == {
        name: getattr(fit_arguments.LBFGS, name) for name in ("lr", "max_iter", "max_eval", "history_size")
    }
    assert optimizers["adam"] == {"lr": fit_arguments.ADAM_LR}


def test_several_outputs():
    """A KAN in place, and a width on arrays; each output as good as it would be by itself."""
    x = np.random.default_rng(0).uniform(-1, 1, (400, 2))
    y = np.stack([np.sin(3 * x[:, 0]) * x[:, 1], 100 + x[:, 0] ** 2 + x[:, 1]], axis=1)
    fitted = fit([2, 5, 2], x, y, steps=15, grids=[5, 10], log=0)
    errors = np.sqrt(((fitted.predict(x) - y) ** 2).mean(axis=0))
    assert fitted.predict(x).shape == (400, 2) and errors.max() < 1e-3
    assert fitted.results["train_loss"][-1] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-9)
    model = KAN(width=[2, 5, 2], grid=3, k=3, seed=1, auto_save=False)
    results = fit(model, x, y, steps=15, x_test=x[:50], y_test=y[:50], log=0)
    with torch.no_grad():
        found = (
            (model(torch.tensor(x[:50], dtype=torch.float32)).double() - torch.tensor(y[:50])).square().mean().sqrt()
        )
    assert results["test_loss"][-1] == pytest.approx(found.item(), rel=1e-2) and found < 0.05
