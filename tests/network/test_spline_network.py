"""The network is a value: what its parts are, how θ is ordered, and that nothing changes it."""

import copy
import dataclasses
import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from kanbench.network.initialization import initialize
from kanbench.network.pykan import to_pykan
from kanbench.network.spline_network import PARTS, SplineLayer, SplineNetwork
from support.models_at_random import random_model

FIXED = [(), ("scale_base",), ("scale_sp",), ("scale_base", "scale_sp"), PARTS]


def network_of(fixed=(), dtype=np.float64):
    """Ragged rows, masked edges, nodes without edges."""
    return random_model([4, 3], 3, 6, seed=5, dtype=dtype, fixed=fixed)


def arrays(network):
    for layer in network.layers:
        yield from (*layer.knots, *layer.coef, layer.scale_base, layer.scale_sp, layer.mask)
    yield network.output_bias


@pytest.mark.parametrize(("width", "grid", "k", "count"), [([2, 5, 1], 5, 3, 150), ([2, 3, 4, 1], 6, 2, 220)])
def test_the_number_of_parameters(width, grid, k, count):
    """Per edge G + k coefficients, scale_base and scale_sp; pykan's gradient reaches as many."""
    network = initialize(width, grid, k)
    assert network.n_parameters == len(network.parameters()) == count
    model = to_pykan(network)
    model(torch.rand(20, 2, dtype=torch.float64)).sum().backward()
    assert sum(p.numel() for p in model.parameters() if p.grad is not None) == count
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) > count
    assert network.width == width
    assert (network.grid, network.order) == (grid, k)


@pytest.mark.parametrize("fixed", FIXED, ids=lambda parts: "+".join(sorted(parts)))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_parameters_come_back(fixed, dtype):
    network = network_of(fixed, dtype)
    theta = network.parameters()
    assert theta.dtype == network.dtype == dtype
    assert len(theta) == network.n_parameters
    assert network.with_parameters(theta).digest() == network.digest()
    other = network.with_parameters(theta + dtype(1))
    np.testing.assert_array_equal(other.parameters(), theta + dtype(1), strict=True)
    for before, after in zip(network.layers, other.layers, strict=True):
        for part in PARTS:
            same = part in fixed or not before.live.any()
            assert (part in fixed) == np.array_equal(before.part(part), after.part(part)) or same
        for c, d, live in zip(before.coef, after.coef, before.live, strict=True):
            np.testing.assert_array_equal(c[~live], d[~live])
        for part in ("scale_base", "scale_sp"):
            np.testing.assert_array_equal(getattr(before, part)[~before.live], getattr(after, part)[~before.live])
    for wrong in (np.append(theta, 0), theta[:-1] if len(theta) else 0.0, theta[:, None]):
        with pytest.raises(ValueError, match="for a network of"):
            network.with_parameters(wrong)


@pytest.mark.parametrize("fixed", FIXED[:-1], ids=lambda parts: "+".join(sorted(parts)))
def test_parameters_are_in_pykans_order(fixed):
    """Of `named_parameters`, those that are trained, without the padding and the masked edges."""
    network = network_of(fixed)
    live = {
        f"act_fun.{number}.{part}": entries
        for number, layer in enumerate(network.layers)
        for part, entries in layer.padded_live(network.grid).items()
    }
    parts = [
        parameter.detach().numpy()[live[name]]
        for name, parameter in to_pykan(network).named_parameters()
        if parameter.requires_grad and name in live
    ]
    np.testing.assert_array_equal(network.parameters(), np.concatenate(parts), strict=True)


def test_padded_rows():
    layer = network_of().layers[1]
    knots, coef = layer.padded(9)
    live = layer.padded_live(9)
    assert knots.shape == (4, 9 + 1 + 6)
    assert coef.shape == (4, 3, 9 + 3)
    assert (np.diff(knots) > 0).all()
    for i, (t, c) in enumerate(zip(layer.knots, layer.coef, strict=True)):
        np.testing.assert_array_equal(knots[i, : len(t)], t)
        np.testing.assert_array_equal(coef[i, :, : c.shape[1]], c)
        assert (coef[i, :, c.shape[1] :] == 0).all()
        np.testing.assert_allclose(np.diff(knots[i, len(t) - 1 :]), (t[-1] - t[0]) / (len(t) - 1), rtol=1e-12)
        for j in range(3):
            assert live["coef"][i, j].sum() == (c.shape[1] if layer.mask[i, j] else 0)
            assert live["coef"][i, j, : c.shape[1]].all() == (layer.mask[i, j] != 0)
    assert (live["scale_base"] == ((layer.mask != 0) & ~layer.fixed_base[:, None])).all()
    assert (live["scale_sp"] == (layer.mask != 0)).all()
    with pytest.raises(ValueError):
        layer.padded(max(layer.intervals) - 1)


def test_nothing_can_be_written_to():
    network = network_of()
    others = network.with_parameters(network.parameters() + 1), network.astype(np.float32)
    for array in itertools.chain(*map(arrays, (network, *others))):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.base = "zero"
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.layers[0].order = 2
    network.parameters()[:] = 0  # is a copy


def test_a_network_does_not_change_with_the_arrays_that_it_was_made_of():
    t, c, ones, bias = np.arange(8.0), np.ones((1, 4)), np.ones((1, 1)), np.zeros(1)
    network = SplineNetwork((SplineLayer((t,), (c,), ones, ones, ones, 3),), bias)
    before = network.digest()
    for array in (t, c, ones, bias):
        array[...] = 7
    assert network.digest() == before
    theta = network.parameters()
    other = network.with_parameters(theta)
    theta += 1
    assert other.digest() == before


def test_what_is_not_changed_is_shared():
    network = network_of()
    other = network.with_rows([list(zip(layer.knots, layer.coef, strict=True)) for layer in network.layers])
    assert other.digest() == network.digest()
    for before, after in zip(arrays(network), arrays(other), strict=True):
        assert np.shares_memory(before, after)


def test_the_digest_is_of_everything():
    network = network_of()
    layer = network.layers[1]
    others = [
        dataclasses.replace(network, base="identity"),
        dataclasses.replace(network, fixed=frozenset({"coef"})),
        dataclasses.replace(network, output_bias=network.output_bias + 1e-15),
        network.astype(np.float32).astype(np.float64),
        network.astype(np.float32),
    ]
    for name in ("scale_base", "scale_sp", "mask"):
        changed = getattr(layer, name).copy()
        changed[0, 0] = np.nextafter(changed[0, 0], 9)
        others.append(_with_layer(network, 1, **{name: changed}))
    for name in ("knots", "coef"):
        rows = [row.copy() for row in getattr(layer, name)]
        rows[2].flat[0] = np.nextafter(rows[2].flat[0], 9)
        others.append(_with_layer(network, 1, **{name: tuple(rows)}))
    digests = {other.digest() for other in (network, *others)}
    assert len(digests) == 1 + len(others)
    assert network_of().digest() == network.digest()


def _with_layer(network, number, **changes):
    layers = list(network.layers)
    layers[number] = dataclasses.replace(layers[number], **changes)
    return dataclasses.replace(network, layers=tuple(layers))


def test_parts_that_do_not_fit_are_refused():
    t, c, ones = (np.arange(8.0),), (np.ones((1, 4)),), np.ones((1, 1))
    SplineLayer(t, c, ones, ones, ones, 3)
    for wrong in (
        {"order": 2},
        {"coef": (np.ones((2, 4)),)},
        {"coef": c * 2},
        {"knots": t * 2, "coef": c * 2},
        {"scale_base": np.ones((1, 2))},
    ):
        with pytest.raises(ValueError):
            dataclasses.replace(SplineLayer(t, c, ones, ones, ones, 3), **wrong)
    network = network_of()
    for wrong in ({"layers": network.layers[:2]}, {"layers": network.layers[::-1]}, {"base": "relu"}):
        with pytest.raises(ValueError):
            dataclasses.replace(network, **wrong)


def test_neither_torch_nor_pykan_is_imported():
    modules = "initialization, refinement, attribution, merge, evaluation, spline_network"
    script = f"import sys; from kanbench.network import {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "kan", "pandas"} & set(loaded)


def test_copies_cannot_be_changed_either():
    network = initialize([2, 3, 1], 4)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert copied.digest() == network.digest()
        arrays = [copied.output_bias, *copied.layers[0].knots, *copied.layers[0].coef, copied.layers[0].mask]
        assert not any(array.flags.writeable for array in arrays)


def test_a_read_only_view_of_what_can_be_changed_is_copied():
    mask = np.ones((2, 3))
    view = mask.view()
    view.flags.writeable = False
    layer = dataclasses.replace(initialize([2, 3, 1], 4).layers[0], mask=view)
    mask[:] = 7
    assert (layer.mask == 1).all()
