"""What several test modules need."""

import pytest
import torch
import yaml

from kanbench import cli
from kanbench.config import load_config, merge
from kanbench.naming import SECTIONS, Run
from kanbench.settings import training_settings
from kanbench.training import Trainer


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def config():
    return load_config()


@pytest.fixture(scope="session")
def make_trainer(config):
    """A trainer of a model type on a problem, with the default configuration but for `over`."""

    def make(model_type="lm", problem="poisson_2d_sin", **over):
        changed = merge(config, over)
        section = "section2_1" if model_type in SECTIONS["section2_1"].model_types else "section2_2"
        return Trainer(training_settings(changed, section, model_type, config["datasets"].index(problem)))

    return make


@pytest.fixture(scope="session")
def smoke_folder(tmp_path_factory):
    """The folder of a finished run of the smoke configuration on this machine; leave it as it is."""
    from test_workflow import snakemake

    folder = tmp_path_factory.mktemp("smoke")
    result = snakemake(folder)
    assert result.returncode == 0, result.stderr
    return folder


STAMP = "20260101_000000"
TINY = {
    "datasets": ["poisson_2d_poly", "poisson_2d_sin"],
    "epochs": 2,
    "data": {"train_num": 60, "test_num": 50, "dense_num": 200},
    "model": {"width": [2, 2, 1]},
    "grids": {"sizes": [3, 5]},
    "experts": {"depths": [1, 2], "orders": [3], "seeds": [1, 2], "hidden_width": 2, "steps": 3},
    "merge_kan": {"n_selected": 2, "valid_num": 50, "grids": [5, 7], "epochs": 2},
}


@pytest.fixture(scope="session")
def tiny_results(tmp_path_factory):
    """The folder of finished runs of all sections, made by the commands of the rules; leave it as it is."""
    results = tmp_path_factory.mktemp("tiny") / "results"
    config = results.parent / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))

    def command(*arguments):
        assert cli.main([str(argument) for argument in arguments]) == 0

    def train(subcommand, training, *arguments):
        command(subcommand, training, *arguments, "--config", config, "--results-dir", results)

    for run in (Run("section2_1", STAMP, 2, str(results)), Run("section2_2", STAMP, 2, str(results))):
        section = SECTIONS[run.section]
        handovers = {m: [run.handover(run.training(m, i)) for i in (0, 1)] for m in section.model_types}
        every = [path for paths in handovers.values() for path in paths]
        for path in every:
            train("train", path.split("/")[-1].removesuffix(".json"))
        for m in section.model_types:
            frames = [run.frame(m, suffix) for suffix in ("pkl", "parquet")]
            command("frame", *frames, "--trainings", *handovers[m], "--reference", *handovers[section.reference])
        command("metadata", run.checkpoint_metadata(), "--trainings", *every)

    run = Run("section2_3", STAMP, None, str(results))
    parts = {"experts": [], "merged": [], "controls": []}
    for i in (0, 1):
        experts = [run.expert(i, depth, 3, seed) for depth in (1, 2) for seed in (1, 2)]
        for training in experts:
            train("train", training)
        paths = [run.handover(training) for training in experts]
        merged, control = run.training("merge_kan", i), run.training("control", i)
        train("merge", merged, "--experts", *paths)
        train("control", control, "--merged", run.handover(merged), "--experts", *paths)
        parts["experts"] += paths
        parts["merged"].append(run.handover(merged))
        parts["controls"].append(run.handover(control))
    given = [argument for part, paths in parts.items() for argument in (f"--{part}", *paths)]
    for frame in SECTIONS["section2_3"].frames:
        frames = [run.frame(frame, suffix) for suffix in ("pkl", "parquet")]
        command("merge-frame", *frames, "--n-selected", 2, *given)
    command("metadata", run.checkpoint_metadata(), "--trainings", *parts["merged"])
    return results
