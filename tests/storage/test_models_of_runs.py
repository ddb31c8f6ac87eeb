"""pykan's methods on the models that `load_run` returns: as on pykan's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kan import KAN

from kanbench import load_run, save_run
from kanbench.network.initialization import initialize
from kanbench.network.pykan import to_pykan
from support.records import frame_of

X = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (50, 2)))


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A model that was stored and loaded, and the same one of pykan's own loader; both evaluated on inputs."""
    monkeypatch.chdir(tmp_path)
    model = to_pykan(initialize([2, 2, 1], 3, seed=1))
    model.cache_data = X
    metrics = {"epoch": 1, "time": 1.0, "train_loss": 1.0, "test_loss": 1.0, "dense_mse": 1.0, "grid_size": 3}
    checkpoints = {"adam": {0: {"final": metrics | {"model": model}}}}
    save_run({"adam": frame_of("adam")}, "section2_1", checkpoints=checkpoints, results_dir=tmp_path)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        loaded = load_run("section2_1", results_dir=tmp_path, load_models=True)[2]["adam"][0]["final"]
        own = KAN.loadckpt(str(next(tmp_path.rglob("*_state"))).removesuffix("_state"))
        Path(loaded.ckpt_path).mkdir(exist_ok=True)
        for each in (loaded, own):
            each(X)
        yield loaded, own
    finally:
        torch.set_default_dtype(before)


def test_what_pykan_computes_of_a_model(pair):
    loaded, own = pair
    scores = []
    for model in pair:
        model.attribute()
        scores.append(model.feature_score)
        assert model.suggest_symbolic(0, 0, 0, lib=["x", "x^2"], verbose=False)[0] in ("x", "x^2")
    assert torch.equal(*scores)
    assert torch.equal(loaded.copy()(X), own(X))
    refined = [model.refine(6)(X) for model in pair]
    torch.testing.assert_close(*refined, rtol=1e-9, atol=1e-9)  # of least squares, whose last digits vary
    assert refined[0].dtype == torch.float64
    torch.testing.assert_close(loaded.prune(0.0, 0.0)(X), own(X), rtol=1e-12, atol=1e-12)


def test_a_model_is_drawn(pair):
    import matplotlib.pyplot as plt

    pair[0].plot(folder="figures")
    plt.close("all")
    assert len(list(Path("figures").glob("sp_*.png"))) == 6
