"""The configured suites: they load, and their trainings are of the published set-up."""

import numpy as np
import pytest

from kanbench.plan.config import ROOT, load_config
from kanbench.plan.settings import model_types, training_settings
from kanbench.problems import PROBLEMS
from kanbench.problems.published import PUBLISHED
from kanbench.problems.samples import make_dataset

FOLDER = ROOT / "config" / "suites"
SUITES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
HIGH = "kan_paper_highd"  # a part of its suite that needs coarser grids
POINTS = {"initialization": 200**2, "feynman": 200**2}  # of the published grids, at least
SAMPLES = {"initialization": 4000, "feynman": 4000, "kan_paper": 3000, "multilevel": 20_000}
SIZES = {
    "initialization": (5, 10, 20),
    "feynman": (5,),
    "kan_paper": (5, 10, 20, 50, 100),
    "multilevel": (4, 8, 16, 32),
}


def settings_of(suite):
    """The settings of LM on every problem of a suite, by problem."""
    config = load_config(FOLDER / f"{suite}.yaml")
    every = [training_settings(config, "section2_1", "lm", i) for i in range(len(config["datasets"]))]
    return {settings.problem: settings for settings in every}


def test_every_problem_of_a_suite_is_configured():
    assert SUITES == ["feynman", "initialization", "kan_paper", HIGH, "multilevel", "section1"]
    configured = [name for suite in SUITES for name in load_config(FOLDER / f"{suite}.yaml")["datasets"]]
    assert sorted(configured) == sorted(name for name in PROBLEMS if not name.startswith("poisson_"))


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_is_a_variant_of_section_2_1(suite):
    path = FOLDER / f"{suite}.yaml"
    config = load_config(path)
    assert (config["variant"], config["sections"]) == (suite, ["section2_1"])
    assert f"snakemake --cores 2 --configfile config/suites/{suite}.yaml" in path.read_text()
    assert {"lbfgs", "lm"} <= set(model_types(config, "section2_1"))
    assert len(config["seeds"]) >= 3
    assert all(name.startswith(suite.removesuffix("_highd")) for name in config["datasets"])


@pytest.mark.parametrize("suite", SAMPLES)
def test_set_ups_are_the_published_ones(suite):
    settings = settings_of(suite)
    assert {figure.problem for figure in PUBLISHED if figure.problem.startswith(suite)} <= settings.keys()
    for name, training in settings.items():
        assert training.model.width == PROBLEMS[name].width
        assert training.model.k == 3
        assert training.data.train_num == SAMPLES[suite]
        assert training.data.dense_num >= POINTS.get(suite, 10_000)
        assert training.grids.sizes == SIZES[suite]


def test_the_multilevel_network_has_at_most_555_parameters():
    config = load_config(FOLDER / "multilevel.yaml")
    inputs, hidden, output = training_settings(config, "section2_1", "lm", 0).model.width
    edges = inputs * hidden + hidden * output
    assert edges * (config["grids"]["sizes"][-1] + 3 + 2) == 555  # k = 3, and the two scales of an edge


@pytest.mark.parametrize("name", ["initialization_f3", "feynman_09"])
def test_relative_l2_on_the_dense_sample_is_that_on_the_published_grid(name):
    """Of a constant: the sample integrates as the regular grid does, which has its points on the border too."""
    settings = settings_of(name.split("_")[0])[name]
    problem = PROBLEMS[name]
    dense = make_dataset(problem, 1, 1, settings.data.dense_num, 0).dense_label
    grid = regular_grid(problem.dim, 200 if problem.dim == 2 else 30)
    expected = problem.values(grid)
    ours, theirs = (float((((y - 1) ** 2).mean() / (y**2).mean()) ** 0.5) for y in (dense, expected))
    assert ours == pytest.approx(theirs, rel=0.05)


def regular_grid(dim, count):
    axes = np.meshgrid(*[np.linspace(-1, 1, count)] * dim)
    return np.stack(axes, axis=-1).reshape(-1, dim)
