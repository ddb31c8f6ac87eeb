"""pykan's methods on the models that `load_run` returns: as on pykan's own, whatever torch's default precision is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kan import KAN

from kanbench import load_run, save_run
from kanbench.network.initialization import initialize
from kanbench.network.pykan import is_kan, to_pykan
from kanbench.network.typed_kan import default_dtype
from support.records import frame_of

X = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (50, 2)))


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """A model of float64 that was stored and loaded."""
    monkeypatch.chdir(tmp_path)
    model = to_pykan(initialize([2, 2, 1], 3, seed=1))
    model.cache_data = X
    metrics = {"epoch": 1, "time": 1.0, "train_loss": 1.0, "test_loss": 1.0, "dense_mse": 1.0, "grid_size": 3}
    checkpoints = {"adam": {0: {"final": metrics | {"model": model}}}}
    save_run({"adam": frame_of("adam")}, "section2_1", checkpoints=checkpoints, results_dir=tmp_path)
    yield load_run("section2_1", results_dir=tmp_path, load_models=True)[2]["adam"][0]["final"]
    assert torch.get_default_dtype() == torch.float32
    assert not (tmp_path / "model").exists()


@pytest.fixture
def own(loaded, tmp_path):
    """The same model of pykan's own loader."""
    with default_dtype(torch.float64):
        return KAN.loadckpt(str(next(tmp_path.rglob("*_state"))).removesuffix("_state"))


def test_what_pykan_computes_of_a_model(loaded, own):
    scores, refined = [], []
    for model in (loaded, own):
        with default_dtype(torch.float64 if model is own else torch.float32):
            model(X)
            model.attribute()
            scores.append(model.feature_score)
            assert model.suggest_symbolic(0, 0, 0, lib=["x", "x^2"], verbose=False)[0] in ("x", "x^2")
            refined.append(model.refine(6)(X))
    assert torch.equal(*scores)
    torch.testing.assert_close(*refined, rtol=1e-9, atol=1e-9)  # of least squares, whose last digits vary
    assert refined[0].dtype == torch.float64


@pytest.mark.parametrize(
    "made",
    [
        lambda model: model.copy(),
        lambda model: model.copy().copy(),
        lambda model: model.prune(0.0, 0.0),
        lambda model: model.prune(0.0, 0.0).prune(0.0, 0.0).copy(),
        lambda model: model.prune_input(active_inputs=[0, 1]),
    ],
    ids=["copy", "copy of a copy", "pruned", "copy of one pruned twice", "pruned inputs"],
)
def test_what_pykan_makes_of_a_model_is_of_its_precision(loaded, own, made):
    model = made(loaded)
    torch.testing.assert_close(model(X), own(X), rtol=1e-12, atol=1e-12)
    assert is_kan(model)


def test_inputs_of_another_precision(loaded, own):
    """As pykan's `create_dataset` draws them."""
    x = X.float()
    assert torch.equal(loaded(x), own(x.double()))
    loaded.attribute()
    data = {f"{part}_input": x for part in ("train", "test")} | {
        f"{part}_label": x[:, :1] for part in ("train", "test")
    }
    losses = loaded.fit(data, steps=3, log=1)["train_loss"]
    assert losses[-1] < losses[0]
    assert loaded(x).dtype == torch.float64


def test_a_model_is_drawn(loaded):
    import matplotlib.pyplot as plt

    loaded(X)
    loaded.plot(folder="figures")
    plt.close("all")
    assert len(list(Path("figures").glob("sp_*.png"))) == 6
