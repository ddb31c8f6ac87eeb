"""Checkpoints: what is written without pykan is what pykan writes, and what pykan writes is read without it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from kan import KAN

from kanbench.errors import InputError
from kanbench.network.checkpoint_config import read_model_config
from kanbench.network.checkpoints import NoSumOfSplinesError, read_checkpoint, write_checkpoint
from kanbench.network.evaluation import evaluate
from kanbench.network.initialization import initialize
from kanbench.network.pykan import (
    count_parameters,
    from_pykan,
    global_random_state_kept,
    load_checkpoint,
    save_checkpoint,
    to_pykan,
)
from kanbench.network.spline_network import SplineLayer, SplineNetwork
from kanbench.network.typed_kan import default_dtype

FILES = ("config.yml", "state", "cache_data")
TOLERANCES = {np.dtype("float64"): 1e-12, np.dtype("float32"): 1e-4}


def network_at_random(width, orders, fewest, most, dtype, base="silu", fixed=()):
    """Random rows of `fewest` to `most` intervals on random knots, with some edges masked."""
    random = np.random.default_rng(len(width) * most + fewest)
    layers = []
    for inputs, outputs, k in zip(width, width[1:], orders, strict=False):
        sizes = random.integers(fewest, most + 1, inputs)
        knots = [np.cumsum(random.uniform(0.5, 2, size + 1 + 2 * k)) for size in sizes]
        knots = [(t - t[k]) / (t[-k - 1] - t[k]) * 2 - 1 for t in knots]
        coef = [random.normal(size=(outputs, size + k)) for size in sizes]
        mask = (random.random((inputs, outputs)) < 0.8) * random.choice([1.0, 0.5], (inputs, outputs))
        layers.append(SplineLayer(tuple(knots), tuple(coef), *random.normal(size=(2, inputs, outputs)), mask, k))
    return SplineNetwork(tuple(layers), random.normal(size=width[-1]), base, frozenset(fixed)).astype(dtype)


NETWORKS = {
    "as at the beginning": lambda: initialize([2, 5, 1], 5),
    "as at the beginning, in single precision": lambda: initialize([2, 5, 1], 3, dtype=np.float32),
    "rows of one length": lambda: network_at_random([2, 3, 1], [3, 3], 4, 4, np.float64),
    "rows of different lengths": lambda: network_at_random([2, 3, 1], [3, 3], 1, 9, np.float64),
    "in single precision": lambda: network_at_random([2, 3, 4, 1], [3, 3, 3], 2, 7, np.float32),
    "layers of different orders": lambda: network_at_random([3, 4, 2, 2], [2, 3, 4], 2, 6, np.float64),
    "several outputs": lambda: network_at_random([2, 3, 3], [1, 5], 3, 6, np.float64),
    "one layer": lambda: network_at_random([1, 1], [2], 3, 3, np.float64),
    "another base function": lambda: network_at_random([2, 2, 1], [3, 3], 2, 5, np.float64, "identity"),
    "no base function": lambda: network_at_random([2, 2, 1], [3, 3], 2, 5, np.float32, "zero"),
    "scales that are not trained": lambda: network_at_random(
        [2, 2, 1], [3, 3], 2, 5, np.float64, fixed=["scale_sp", "scale_base"]
    ),
}


def inputs_of(network):
    return np.random.default_rng(0).uniform(-1.2, 1.2, (200, network.width[0])).astype(network.dtype)


def assert_same(network, other):
    assert network.digest() == other.digest()
    assert network.output_bias.dtype == other.output_bias.dtype == network.dtype
    assert network.fixed == other.fixed


def plain_pykan(base, dtype):
    """pykan's own loader, which makes models in torch's default precision."""
    with global_random_state_kept(), default_dtype(getattr(torch, str(dtype))):
        return KAN.loadckpt(str(base))


@pytest.mark.parametrize("name", NETWORKS)
def test_pykan_reads_the_function_that_was_written(tmp_path, name):
    network = NETWORKS[name]()
    x = inputs_of(network)
    write_checkpoint(network, tmp_path / "model", x)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"model_{file}" for file in FILES)
    model, expected = plain_pykan(tmp_path / "model", network.dtype), evaluate(network, x)
    output = model(torch.tensor(x)).detach().numpy()
    assert output.dtype == network.dtype
    tolerance = TOLERANCES[network.dtype]
    np.testing.assert_allclose(output, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
    assert torch.equal(model.cache_data, torch.tensor(x))
    assert (model.sp_trainable, model.sb_trainable) == (not network.fixed, not network.fixed)
    assert str(model.device) == "cpu"
    assert not model.auto_save


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_is_read(tmp_path, name):
    network = NETWORKS[name]()
    write_checkpoint(network, tmp_path / "model", inputs_of(network))
    assert_same(read_checkpoint(tmp_path / "model"), network)


@pytest.mark.parametrize("name", NETWORKS)
def test_pykan_writes_the_same_files(tmp_path, name):
    network = NETWORKS[name]()
    x, model = inputs_of(network), to_pykan(network)
    assert_same(from_pykan(model), network)
    assert count_parameters(model) == network.n_parameters
    write_checkpoint(network, tmp_path / "ours", x)
    save_checkpoint(model, tmp_path / "theirs", torch.tensor(x))
    assert_same_files(tmp_path)
    assert_same(read_checkpoint(tmp_path / "theirs"), network)
    loaded = load_checkpoint(tmp_path / "ours")
    assert_same(from_pykan(loaded), network)
    assert torch.equal(loaded(torch.tensor(x)), model(torch.tensor(x)))
    save_checkpoint(loaded, tmp_path / "theirs", loaded.cache_data)
    assert_same_files(tmp_path)


def assert_same_files(folder):
    assert (folder / "ours_config.yml").read_text() == (folder / "theirs_config.yml").read_text()
    ours, theirs = (torch.load(folder / f"{name}_state", weights_only=True) for name in ("ours", "theirs"))
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        assert torch.equal(ours[name], value)
    ours, theirs = (torch.load(folder / f"{name}_cache_data", weights_only=True) for name in ("ours", "theirs"))
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)


PYKANS = {
    "plain": {"width": [2, 3, 1], "grid": 4},
    "of several outputs": {"width": [3, 2, 2], "grid": 3, "k": 2},
    "with a base function": {"width": [2, 2, 1], "base_fun": "identity"},
    "of fixed scales": {"width": [2, 2, 1], "sp_trainable": False, "sb_trainable": False},
    "sparse": {"width": [2, 6, 1], "sparse_init": True},
    "of an order for every layer": {"width": [2, 3, 1], "grid": 4, "k": [2, 4]},
    "of a grid for every layer": {"width": [2, 3, 1], "grid": [4, 7]},
}


def pykans(**settings):
    """A KAN that kanbench had no part in, with a bias and on a grid of its own, and its inputs."""
    with global_random_state_kept():
        model = KAN(**{**settings, "width": list(settings["width"])}, seed=3, auto_save=False)
        x = torch.rand(100, model.width[0][0]) * 3 - 2
        model(x)
        model.update_grid_from_samples(x)
        torch.nn.init.normal_(model.node_bias[-1])
    return model, x


@pytest.mark.parametrize("case", PYKANS)
def test_what_pykan_writes_is_read(tmp_path, case):
    model, x = pykans(**PYKANS[case])
    model.saveckpt(str(tmp_path / "theirs"))
    network = read_checkpoint(tmp_path / "theirs")
    assert_same(network, from_pykan(model))
    assert network.dtype == np.float32
    expected = model(x).detach().numpy()
    np.testing.assert_allclose(evaluate(network, x.numpy()), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    if case != "of a grid for every layer":  # of which the layers are padded
        write_checkpoint(network, tmp_path / "ours", x.numpy())
        assert_same_files(tmp_path)


def products(model):
    return pykans(width=[2, [2, 1], 1])[0]


def a_symbolic_function(model):
    model.symbolic_fun[0].mask.data[1, 0] = 1


def an_affine_map(model):
    model.node_scale[1].data[0] = 2


def a_bias_of_a_hidden_layer(model):
    model.node_bias[0].data[2] = 1e-9


def a_bias_before_products(model):
    model.subnode_bias[1].data[0] = 1


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (products, "[[2, 0], [2, 1], [1, 0]]"),
        (a_symbolic_function, "symbolic functions (symbolic_fun.0.mask)"),
        (an_affine_map, "affine maps (node_scale_1)"),
        (a_bias_of_a_hidden_layer, "affine maps (node_bias_0)"),
        (a_bias_before_products, "affine maps (subnode_bias_1)"),
    ],
)
def test_what_is_no_sum_of_splines_is_refused(tmp_path, change, found):
    model, _ = pykans(width=[2, 3, 1])
    model = change(model) or model
    model.saveckpt(str(tmp_path / "model"))
    for read, argument, where in ((read_checkpoint, tmp_path / "model", str(tmp_path)), (from_pykan, model, "KAN")):
        with pytest.raises(NoSumOfSplinesError) as error:
            read(argument)
        assert error.value.where.startswith(where)
        assert error.value.found == found
    assert isinstance(load_checkpoint(tmp_path / "model"), KAN)


@pytest.mark.parametrize("name", ["node_bias_1", "act_fun.0.mask", "act_fun.1.grid", "symbolic_fun.0.mask"])
def test_a_state_with_a_part_of_another_shape_is_refused(tmp_path, name):
    pykans(width=[2, 3, 1])[0].saveckpt(str(tmp_path / "model"))
    state = torch.load(tmp_path / "model_state", weights_only=True)
    for change, found in (({name: torch.zeros(7)}, "(7,)"), ({}, "none")):
        rest = {key: value for key, value in state.items() if key != name}
        torch.save(rest | change, tmp_path / "model_state")
        with pytest.raises(InputError, match=f"model_state: {name}") as error:
            read_checkpoint(tmp_path / "model")
        assert error.value.found == found
        assert error.value.allowed.endswith(str(tuple(state[name].shape)))


def test_the_configuration_has_the_intervals_where_they_differ(tmp_path):
    for name, expected in (("rows of one length", None), ("rows of different lengths", True)):
        network = NETWORKS[name]()
        write_checkpoint(network, tmp_path / "model", inputs_of(network))
        config = read_model_config(tmp_path / "model_config.yml")
        assert config.get("intervals") == (network.intervals if expected else None)
        assert config["grid"] == network.grid


def test_what_pykan_trains_behind_a_rows_own_knots_is_part_of_the_network(tmp_path):
    network = NETWORKS["rows of different lengths"]()
    model, x = to_pykan(network), torch.tensor(inputs_of(network)) * 3
    with torch.no_grad():
        model.act_fun[0].coef.add_(0.5)
    save_checkpoint(model, tmp_path / "model", x)
    expected = model(x).detach().numpy()
    for changed in (from_pykan(model), read_checkpoint(tmp_path / "model")):
        np.testing.assert_allclose(evaluate(changed, x.numpy()), expected, rtol=1e-12, atol=1e-12)


def test_a_network_and_its_kan_share_no_memory():
    network = NETWORKS["rows of different lengths"]()
    model, before = to_pykan(network), network.digest()
    copy = from_pykan(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert network.digest() == copy.digest() == before


def test_neither_torch_nor_pykan_is_imported(tmp_path):
    write_checkpoint(initialize([2, 3, 1], 4), tmp_path / "model", np.zeros((3, 2)))
    code = (
        "import sys; from kanbench.network.checkpoints import read_checkpoint;"
        "from kanbench.storage.checkpoints import write_checkpoint; import numpy;"
        "write_checkpoint(read_checkpoint('model'), 'other', numpy.zeros((3, 2)));"
        "print(*{'torch', 'kan', 'pandas'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == "\n"
    for file in FILES:
        assert (tmp_path / f"other_{file}").read_bytes() == (tmp_path / f"model_{file}").read_bytes()


def test_what_is_not_trained_of_base_functions_is_remembered(tmp_path):
    """And pykan reads the network."""
    network, x = initialize([2, 3, 1], 4, domain=[(0, 100), (-1, 1)]), np.random.default_rng(0).random((50, 2))
    x[:, 0] *= 100
    write_checkpoint(network, tmp_path / "model", x)
    again = read_checkpoint(tmp_path / "model")
    assert again.digest() == network.digest() and again.layers[0].fixed_base.tolist() == [True, False]
    with global_random_state_kept(), default_dtype(torch.float64):
        theirs = KAN.loadckpt(str(tmp_path / "model"))
    np.testing.assert_allclose(theirs(torch.from_numpy(x)).detach().numpy(), evaluate(network, x), atol=1e-12)


def test_a_wrong_list_of_what_is_not_trained_is_refused(tmp_path):
    network = initialize([2, 3, 1], 4, domain=[(0, 100), (-1, 1)])
    write_checkpoint(network, tmp_path / "model", np.zeros((1, 2)))
    config = tmp_path / "model_config.yml"
    config.write_text(config.read_text().replace("- true\n", "- 7\n", 1))
    with pytest.raises(InputError) as error:
        read_checkpoint(tmp_path / "model")
    assert error.value.where == f"{config}: fixed_base"
