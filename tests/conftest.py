"""What several test modules need."""

from pathlib import Path

import pytest
import torch
import yaml
from pipelines import snakemake

from kanbench import cli
from kanbench.config import experts, load_config, merge
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


def command(*arguments):
    """Run a subcommand that has to succeed."""
    assert cli.main([str(argument) for argument in arguments]) == 0


def train_and_compare(run, config):
    """Train what a run of section 2.1 or 2.2, or a replicate of one, consists of, and write its frames.

    On the two datasets of the configuration file; returns what the trainings handed on.
    """
    section = SECTIONS[run.section]
    handovers = {m: [run.handover(run.training(m, i)) for i in (0, 1)] for m in section.model_types}
    every = [path for paths in handovers.values() for path in paths]
    for path in every:
        command("train", Path(path).stem, "--config", config, "--results-dir", run.results)
    for m, paths in handovers.items():
        command("frame", *run.frame_files(m), "--trainings", *paths, "--reference", *handovers[section.reference])
    return every


def train_and_merge(run, config, experts):
    """The same for section 2.3 and these experts; returns what the merged models' trainings handed on."""
    given = "--config", config, "--results-dir", run.results
    parts = {"experts": [], "merged": [], "controls": []}
    for i in (0, 1):
        names = [run.expert(i, *expert) for expert in experts]
        for name in names:
            command("train", name, *given)
        paths = [run.handover(name) for name in names]
        merged, control = run.training("merge_kan", i), run.training("control", i)
        command("merge", merged, "--experts", *paths, *given)
        command("control", control, "--merged", run.handover(merged), "--experts", *paths, *given)
        parts["experts"] += paths
        parts["merged"].append(run.handover(merged))
        parts["controls"].append(run.handover(control))
    handed_over = [argument for part, paths in parts.items() for argument in (f"--{part}", *paths)]
    for frame in SECTIONS["section2_3"].frames:
        command("merge-frame", *run.frame_files(frame), "--n-selected", 2, *handed_over)
    return parts["merged"]


@pytest.fixture(scope="session")
def tiny_results(tmp_path_factory):
    """The folder of finished runs of all sections, made by the commands of the rules; leave it as it is."""
    results = tmp_path_factory.mktemp("tiny") / "results"
    config = results.parent / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))

    for run in (Run("section2_1", STAMP, 2, str(results)), Run("section2_2", STAMP, 2, str(results))):
        handovers = train_and_compare(run, config)
        command("metadata", run.checkpoint_metadata(), "--trainings", *handovers)
    run = Run("section2_3", STAMP, None, str(results))
    merged = train_and_merge(run, config, experts(merge(load_config(), TINY)))
    command("metadata", run.checkpoint_metadata(), "--trainings", *merged)
    return results
