"""pykan models: the same as pykan makes them, and without its side effects."""

import random

import numpy as np
import pytest
import torch
from kan import KAN

from kanbench.engine.torch_layers import layer_inputs
from kanbench.errors import InputError
from kanbench.models import (
    Snapshot,
    build_model,
    count_parameters,
    global_random_state_kept,
    load_checkpoint,
    save_checkpoint,
)

X = torch.rand(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_initial_model_is_pykans():
    with global_random_state_kept():
        theirs = KAN(width=[2, 5, 1], grid=3, k=3, seed=4, auto_save=False)
    ours = build_model([2, 5, 1], 3, 3, seed=4, dtype=torch.float32)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():  # pykan's own coefficients differ by this much from call to call
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours(X.float()), theirs(X.float()), rtol=1e-5, atol=1e-6)


def test_a_flipped_bit_in_a_checkpoint_is_found(tmp_path):
    model = build_model([2, 3, 1], 5)
    save_checkpoint(model, str(tmp_path / "model"), X)
    state, coef = tmp_path / "model_state", model.act_fun[0].coef.detach().numpy().tobytes()
    content = bytearray(state.read_bytes())
    content[content.index(coef) + 100] ^= 1
    state.write_bytes(content)
    with pytest.raises(InputError, match=r"model_state: damaged: a part of it has another checksum"):
        load_checkpoint(tmp_path / "model")


def test_the_initial_model_is_bitwise_the_same_every_time():
    def coefficients(i):
        torch.rand(7 * i + 1)  # moves what is allocated next
        return torch.cat([layer.coef.flatten() for layer in build_model([2, 5, 1], 3).act_fun])

    assert all(torch.equal(coefficients(i), coefficients(0)) for i in range(1, 50))


def test_float64_is_the_float32_model_converted():
    single, double = (build_model([2, 5, 1], 3, seed=4, dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert double(X).dtype == torch.float64
    torch.testing.assert_close(double(X).float(), single(X.float()), rtol=1e-4, atol=1e-5)


def test_nothing_global_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    width = [2, 5, 1]
    build_model(width, 3)(X)
    assert width == [2, 5, 1]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert torch.get_default_dtype() == torch.float32
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "grid", "k", "count"), [([2, 5, 1], 5, 3, 150), ([2, 3, 4, 1], 6, 2, 220)])
def test_count_parameters(width, grid, k, count):
    """Per edge G + k coefficients, scale_base and scale_sp; pykan counts its dead symbolic parameters too."""
    model = build_model(width, grid, k)
    assert count_parameters(model) == count
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) > count
    model(X).sum().backward()
    reached = sum(p.numel() for p in model.parameters() if p.grad is not None)
    assert reached == count


def test_layer_inputs():
    model = build_model([2, 3, 1], 4)
    inputs, hidden = layer_inputs(model, X)
    assert torch.equal(inputs, X)
    model(X)
    torch.testing.assert_close(hidden, model.acts[1].detach(), rtol=1e-13, atol=1e-14)


def test_a_snapshot_keeps_its_values():
    settings = {"width": [2, 3, 1], "k": 3, "seed": 1, "dtype": torch.float64}
    model = build_model(grid=4, **settings)
    before = model(X)
    snapshot = Snapshot.of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert not torch.equal(model(X), before)
    assert torch.equal(snapshot.restore()(X), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_checkpoints_come_back_bitwise(tmp_path, monkeypatch, dtype):
    monkeypatch.chdir(tmp_path)
    model, x = build_model([2, 3, 1], 4, dtype=dtype), X.to(dtype)
    save_checkpoint(model, "model", x)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_cache_data", "model_config.yml", "model_state"]
    loaded = load_checkpoint("model")
    assert torch.equal(loaded(x), model(x))
    assert torch.equal(torch.load("model_cache_data"), x)
    with global_random_state_kept():  # plain pykan converts to the default dtype
        plain = KAN.loadckpt("model")
    torch.testing.assert_close(plain(x.float()), model(x).float(), rtol=1e-5, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_cache_data", "model_config.yml", "model_state"]
