"""KANs: what pykan would make of a network, and without pykan's side effects."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from kan import KAN

from kanbench.errors import InputError
from kanbench.network.checkpoints import read_checkpoint, write_checkpoint
from kanbench.network.initialization import initialize
from kanbench.network.pykan import (
    count_parameters,
    from_pykan,
    global_random_state_kept,
    load_checkpoint,
    predict,
    save_checkpoint,
    to_pykan,
)

X = torch.rand(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_initial_model_is_pykans():
    with global_random_state_kept():
        theirs = KAN(width=[2, 5, 1], grid=3, k=3, seed=4, auto_save=False)
    ours = to_pykan(initialize([2, 5, 1], 3, 3, seed=4, dtype=np.float32))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():  # pykan's own coefficients differ by this much from call to call
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours(X.float()), theirs(X.float()), rtol=1e-5, atol=1e-6)
    gradients = [{name: p.requires_grad for name, p in model.named_parameters()} for model in (ours, theirs)]
    assert gradients[0] == gradients[1]
    for key in ("width", "grid", "k", "mult_arity", "base_fun_name", "grid_eps", "grid_range", "sp_trainable"):
        assert getattr(ours, key) == getattr(theirs, key)
    for one, other in zip(ours.act_fun, theirs.act_fun, strict=True):
        for key in ("num", "k", "in_dim", "out_dim", "grid_eps"):
            assert getattr(one, key) == getattr(other, key)


def test_pykan_goes_on_with_it(tmp_path, monkeypatch):
    """Its own refinement and training."""
    monkeypatch.chdir(tmp_path)
    model, x = to_pykan(initialize([2, 3, 1], 4, k=2, dtype=np.float32)), X.float()
    model.save_act = True
    data = {f"{part}_input": x for part in ("train", "test")} | {
        f"{part}_label": x[:, :1] for part in ("train", "test")
    }
    with global_random_state_kept():
        model(x)
        refined = model.refine(9)
        losses = model.fit(data, steps=3, log=1, update_grid=True)["train_loss"]
    assert [layer.coef.shape[2] for layer in refined.act_fun] == [11, 11]
    assert losses[-1] < losses[0]


def test_a_flipped_bit_in_a_checkpoint_is_found(tmp_path):
    model = to_pykan(initialize([2, 3, 1], 5))
    save_checkpoint(model, tmp_path / "model", X)
    state, coef = tmp_path / "model_state", model.act_fun[0].coef.detach().numpy().tobytes()
    content = bytearray(state.read_bytes())
    content[content.index(coef) + 100] ^= 1
    state.write_bytes(content)
    with pytest.raises(InputError, match=r"model_state: damaged \(checksum mismatch\)"):
        load_checkpoint(tmp_path / "model")


def test_float64_is_the_float32_model_converted():
    single, double = (to_pykan(initialize([2, 5, 1], 3, seed=4, dtype=dtype)) for dtype in (np.float32, np.float64))
    assert double(X).dtype == torch.float64
    torch.testing.assert_close(double(X).float(), single(X.float()), rtol=1e-4, atol=1e-5)


def test_nothing_global_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    network = initialize([2, 5, 1], 3)
    from_pykan(to_pykan(network))
    predict(to_pykan(network), X)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert torch.get_default_dtype() == torch.float32
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "grid", "k", "count"), [([2, 5, 1], 5, 3, 150), ([2, 3, 4, 1], 6, 2, 220)])
def test_count_parameters(width, grid, k, count):
    """Per edge G + k coefficients, scale_base and scale_sp; pykan counts its dead symbolic parameters too."""
    model = to_pykan(initialize(width, grid, k))
    assert count_parameters(model) == count
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) > count
    model(X).sum().backward()
    reached = sum(p.numel() for p in model.parameters() if p.grad is not None)
    assert reached == count


def test_what_is_trained_of_rows_of_different_lengths():
    """With a masked edge."""
    network = initialize([2, 3, 1], 4)
    short = [(layer.knots[0][:-2], layer.coef[0][:, :-2]) for layer in network.layers]
    rows = [list(zip(layer.knots, layer.coef, strict=True)) for layer in network.layers]
    network = network.with_rows([[row, *others[1:]] for row, others in zip(short, rows, strict=True)])
    model = to_pykan(network)
    with torch.no_grad():
        model.act_fun[0].mask[1, 2] = 0
    network = from_pykan(model)
    assert network.intervals == [[2, 4], [2, 4, 4]]
    assert count_parameters(model) == network.n_parameters == 3 * 7 + 2 * 9 + 7 + 2 * 9
    model.act_fun[1].scale_sp.requires_grad_(False)
    assert count_parameters(model) == network.n_parameters - 3


def test_base_functions_that_are_not_trained_stay_so(tmp_path):
    """Of inputs that are far from 0, through a KAN and through checkpoints of both kinds."""
    network = initialize([2, 5, 1], 5, domain=[(0, 100), (-1, 1)])
    model = to_pykan(network)
    assert count_parameters(model) == network.n_parameters == 15 * 10 - 5
    assert from_pykan(model).digest() == network.digest()
    save_checkpoint(model, tmp_path / "pykan", torch.zeros(3, 2, dtype=torch.float64))
    write_checkpoint(network, tmp_path / "ours", np.zeros((3, 2)))
    for name in ("pykan", "ours"):
        assert count_parameters(load_checkpoint(tmp_path / name)) == network.n_parameters
        assert read_checkpoint(tmp_path / name).digest() == network.digest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_checkpoints_come_back_bitwise(tmp_path, monkeypatch, dtype):
    monkeypatch.chdir(tmp_path)
    model, x = to_pykan(initialize([2, 3, 1], 4, dtype=str(dtype).removeprefix("torch."))), X.to(dtype)
    save_checkpoint(model, "model", x)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_cache_data", "model_config.yml", "model_state"]
    loaded = load_checkpoint("model")
    assert loaded(x).dtype == dtype
    assert torch.equal(loaded(x), model(x))
    assert torch.equal(torch.load("model_cache_data"), x)
    with global_random_state_kept():  # plain pykan converts to the default dtype
        plain = KAN.loadckpt("model")
    torch.testing.assert_close(plain(x.float()), model(x).float(), rtol=1e-5, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_cache_data", "model_config.yml", "model_state"]


def test_a_model_with_products_and_symbolic_functions_comes_back(tmp_path):
    with global_random_state_kept():
        model = KAN(width=[2, [2, 1], 1], grid=3, k=2, mult_arity=[[], [3], []], auto_save=False)
        model(X.float())
        model.fix_symbolic(0, 1, 0, "sin", fit_params_bool=False, verbose=False, log_history=False)
    save_checkpoint(model, tmp_path / "model", X.float())
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.symbolic_fun[0].funs_name[0][1] == "sin"
    assert torch.equal(loaded(X.float()), model(X.float()))
    assert count_parameters(loaded) == count_parameters(model)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda model: model.fix_symbolic(0, 1, 0, "sin", fit_params_bool=False, verbose=False), "symbolic"),
        (lambda model: model.node_scale_0.data.mul_(2), "affine"),
        (lambda model: setattr(model, "input_id", torch.tensor([1])), "inputs"),
        (lambda model: setattr(model.act_fun[0], "base_fun", torch.nn.Identity()), "base functions"),
        (lambda model: model.act_fun[0].scale_sp.requires_grad_(False), "trained parts"),
        (lambda model: model.node_bias_0.requires_grad_(True), "node_bias_0"),
    ],
)
def test_what_is_no_sum_of_splines_is_refused(change, found):
    model = to_pykan(initialize([2, 3, 1], 4))
    with global_random_state_kept():
        change(model)
    with pytest.raises(InputError, match=found):
        from_pykan(model)


def test_parts_that_are_held_fixed_and_the_bias_survive():
    network = dataclasses.replace(initialize([2, 3, 1], 4), fixed=frozenset({"coef"}), output_bias=np.array([2.5]))
    again = from_pykan(to_pykan(network))
    assert again.output_bias == [2.5]
    model = to_pykan(network)
    for layer in model.act_fun:
        layer.coef.requires_grad_(False)
    assert from_pykan(model).digest() == network.digest()
