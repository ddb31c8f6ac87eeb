"""Checkpoints of others: what pykan's `saveckpt` writes of models that were made with numbers of numpy's.

Of the keys of a configuration, `width`, `grid`, `k`, `mult_arity`, `grid_eps`, `grid_range`, `round`, `state_id` and
the flags are written as the model was given them: as numbers or arrays of numpy's, or tuples; `device` is text, and so
are `base_fun_name`, `ckpt_path` and the names of functions. (pykan itself computes with integers only where an integer
belongs, so 4.0 intervals are refused.)
"""

import numpy as np
import pytest
import torch
import yaml
from kan import KAN

from kanbench.errors import InputError
from kanbench.io.readers import read_tensors
from kanbench.io.torch_file import read_arrays
from kanbench.network.checkpoint_config import INTERVALS, REQUIRED, read_model_config
from kanbench.network.checkpoints import read_checkpoint
from kanbench.network.evaluation import evaluate
from kanbench.network.pykan import from_pykan, global_random_state_kept, load_checkpoint
from support.foreign import dumped
from support.old_results import runs_folder

PLAIN = {
    "width": [[2, 0], [3, 0], [1, 0]],
    "grid": 4,
    "k": 3,
    "mult_arity": 2,
    "grid_eps": 0.5,
    "grid_range": [-1, 1],
    "affine_trainable": False,
    "sp_trainable": True,
    "sb_trainable": True,
    "round": 1,
    "state_id": 2,
    "base_fun_name": "silu",
    "device": "cpu",
}
FOREIGN = {
    **{f"grid as {kind}": {"grid": np.dtype(kind).type(4)} for kind in ("int8", "uint16", "int32", "int64", "uint64")},
    "grid without dimensions": {"grid": np.array(4)},
    "a grid for every layer": {"grid": [np.int64(4), 4]},
    "grids in an array": {"grid": np.array([4, 4], np.int32)},
    "grids in a tuple": {"grid": (4, np.int64(4))},
    "k": {"k": np.int64(3)},
    "a k for every layer": {"k": [3, np.array(3)]},
    "width": {"width": [[np.int64(2), 0], [np.int64(3), np.int64(0)], [np.int32(1), 0]]},
    "width in tuples": {"width": ((2, 0), (np.int64(3), 0), (1, 0))},
    "width in an array": {"width": np.array(PLAIN["width"])},
    "mult_arity": {"mult_arity": np.int64(2)},
    "an arity for every product": {"mult_arity": ((), np.zeros(0, int), [])},
    "grid_eps": {"grid_eps": np.float32(0.5)},
    "grid_eps without dimensions": {"grid_eps": np.array(0.5)},
    "grid_range": {"grid_range": [np.float64(-1), np.int64(1)]},
    "grid_range in an array": {"grid_range": np.array([-1.0, 1.0])},
    "grid_range in a tuple": {"grid_range": (-1, np.float16(1))},
    "flags": {key: np.bool_(PLAIN[key]) for key in PLAIN if key.endswith("trainable")},
    "text": {"base_fun_name": np.str_("silu"), "symbolic.funs_name.0": np.full((3, 2), "0").tolist()},
    "names in an array": {"symbolic.funs_name.0": np.full((3, 2), "0"), "symbolic.funs_name.1": (("0",) * 3,)},
    "counts": {"round": np.int64(1), "state_id": np.array(2)},
    "a device": {"device": torch.device("cuda", 1)},
    "everything of one type": {key: np.int64(PLAIN[key]) for key in ("grid", "k", "mult_arity", "round", "state_id")},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The files of a KAN, as pykan writes them."""
    base = tmp_path_factory.mktemp("checkpoint") / "model"
    with global_random_state_kept():
        model = KAN(
            width=[2, 3, 1],
            grid=np.int64(4),
            k=3,
            grid_eps=np.float64(0.5),
            grid_range=np.array([-1, 1]),
            auto_save=False,
        )
    model(torch.ones(2, 2))
    model.saveckpt(str(base))
    return base


def copied(checkpoint, tmp_path, config, numpy=2):
    for part in ("state", "cache_data"):
        (tmp_path / f"model_{part}").write_bytes(checkpoint.with_name(f"model_{part}").read_bytes())
    (tmp_path / "model_config.yml").write_text(dumped(config, numpy))
    return tmp_path / "model"


def test_a_checkpoint_of_pykans_with_numbers_of_numpys(checkpoint):
    assert checkpoint.with_name("model_config.yml").read_text().count("!!python/object/apply") >= 4
    config = read_model_config(f"{checkpoint}_config.yml")
    assert (config["grid"], config["grid_eps"], config["grid_range"]) == (4, 0.5, [-1, 1])
    x = torch.rand(9, 2, generator=torch.Generator().manual_seed(0)).double()
    model = load_checkpoint(checkpoint)
    np.testing.assert_allclose(
        evaluate(read_checkpoint(checkpoint), x.numpy()), model(x.float()).detach().numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", FOREIGN)
def test_configurations_with_numbers_of_numpys_are_read(name, checkpoint, tmp_path):
    functions = {"symbolic.funs_name.0": [["0", "0"]] * 3, "symbolic.funs_name.1": [["0"] * 3]}
    config = {**PLAIN, **functions, **FOREIGN[name]}
    for numpy in (1, 2):
        base = copied(checkpoint, tmp_path, config, numpy)
        read = read_model_config(f"{base}_config.yml")
        numbers = {key: read[key] for key in (*REQUIRED, *functions)}
        expected = {key: value for key, value in {**PLAIN, **functions}.items() if key in numbers}
        expected |= {"grid": [4, 4]} if "grids" in name or "a grid for" in name else {}
        expected |= {"k": [3, 3]} if "a k for" in name else {}
        expected |= {"mult_arity": [[], [], []]} if "an arity for" in name else {}
        assert numbers == expected
        assert yaml.safe_load(yaml.safe_dump(numbers)) == numbers  # builtin types only
        network = read_checkpoint(base)
        assert (network.width, network.grid) == ([2, 3, 1], 4)
        assert from_pykan(load_checkpoint(base)).digest() == network.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"grid": np.float64(4)},
        {"grid": 4.0},
        {"grid": np.array([4.0, 4.0])},
        {"grid": np.array([[4, 4]])},
        {"k": np.bool_(True)},
        {"width": np.array([[2.0, 0], [3, 0], [1, 0]])},
        {"width": np.array([2, 3, 1])},
        {"grid_eps": np.str_("0.5")},
        {"grid_eps": np.complex128(0.5)},
        {"grid_range": np.array(1.0)},
        {"sp_trainable": np.int64(1)},
        {"base_fun_name": np.bytes_(b"silu")},
        {"grid": 1 + 0j},
        {"grid": np.longdouble(4)},
        {"grid": np.timedelta64(4, "s")},
        {"grid": torch.tensor(4)},
        {"base_fun_name": torch.nn.SiLU},
    ],
    ids=repr,
)
def test_other_values_are_refused_in_one_line(change, checkpoint, tmp_path):
    functions = {"symbolic.funs_name.0": [["0", "0"]] * 3, "symbolic.funs_name.1": [["0"] * 3]}
    base = copied(checkpoint, tmp_path, {**PLAIN, **functions, **change})
    for load in (read_checkpoint, load_checkpoint):
        with pytest.raises(InputError, match=rf"^{base}_config\.yml: ({'|'.join(change)}: found |refused: )") as error:
            load(base)
        assert "\n" not in str(error.value)


REAL = pytest.mark.skipif(not runs_folder().is_dir(), reason=f"{runs_folder()} is not there")


@REAL
def test_every_checkpoint_of_the_original_study_is_read():
    configs = sorted(runs_folder().rglob("*_config.yml"))
    assert configs
    for path in configs:
        base = str(path).removesuffix("_config.yml")
        config, network, model = read_model_config(path), read_checkpoint(base), load_checkpoint(base)
        assert network.width == [sum(nodes) for nodes in config["width"]]
        assert INTERVALS not in config
        x = torch.linspace(-0.9, 0.9, 5)[:, None].expand(5, network.width[0]).contiguous()
        predicted = model(x.to(model.act_fun[0].coef.dtype)).detach().numpy()
        np.testing.assert_allclose(evaluate(network, x.numpy()), predicted, rtol=1e-3, atol=1e-4)


@REAL
def test_all_weights_of_the_original_study_are_read():
    paths = sorted(runs_folder().rglob("*.pth"))
    assert paths
    for path in paths:
        tensors, arrays = read_tensors(path), read_arrays(path)
        assert list(tensors) == list(arrays)
        assert all((tensors[name].numpy() == array).all() for name, array in arrays.items())
