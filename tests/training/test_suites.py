"""Short trainings of the configured suites, with LM, beside the figures that are published of them."""

import pytest

from kanbench.plan.config import ROOT, check, load_config, merge
from kanbench.plan.settings import training_settings
from kanbench.problems.published import published_of
from kanbench.problems.target_scale import scale_of
from kanbench.training.trainer import Trainer, make_data


def trained(suite, problem, epochs, **over):
    """The rows of a training with the first seed, and the mean square of the target."""
    config = load_config(ROOT / "config" / "suites" / f"{suite}.yaml")
    config = check(merge(config, {"data": {"dense_num": 2000}, **over}))
    settings = training_settings(config, "section2_1", "lm", config["datasets"].index(problem))
    data = make_data(settings)
    return Trainer(settings, data).train(epochs).history, scale_of(data.dense_label).mean_square


@pytest.mark.parametrize(
    ("problem", "epochs"),
    [
        ("initialization_f1", 5),
        ("feynman_19", 15),
        pytest.param("initialization_f2", 15, marks=pytest.mark.slow),
        pytest.param("initialization_f3", 15, marks=pytest.mark.slow),
        pytest.param("feynman_09", 40, marks=pytest.mark.slow),
        pytest.param("feynman_11", 40, marks=pytest.mark.slow),
    ],
)
def test_relative_l2_is_below_the_best_that_is_published(problem, epochs):
    history, mean_square = trained(problem.split("_")[0], problem, epochs)
    least = min(figure.value for figure in published_of(problem))
    assert (history[-1]["dense_mse"] / mean_square) ** 0.5 < least


def test_rmse_is_below_that_of_the_notebook():
    """On coarse grids, in a quarter of the steps."""
    history, _ = trained("kan_paper", "kan_paper_exp_sin", 50, grids={"sizes": [5, 10, 20]})
    last = {row["grid_size"]: row["test_loss"] ** 0.5 for row in history}
    published = {figure.grid: figure.value for figure in published_of("kan_paper_exp_sin")}
    assert last.keys() == {5, 10, 20}
    assert all(last[grid] < published[grid] for grid in last)


@pytest.mark.slow
def test_multilevel_training_error_is_below_the_published_one():
    history, _ = trained("multilevel", "multilevel", 10)
    assert history[-1]["num_params"] <= 555
    assert history[-1]["train_loss"] < 3.67e-5
