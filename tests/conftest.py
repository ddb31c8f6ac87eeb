"""What several test modules need."""

import pytest
import torch
import yaml

from kanbench.plan.config import experts, load_config, merge
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.plan.settings import training_settings
from support.pipelines import PROFILE, snakemake
from support.results import STAMP, TINY, command, train_and_compare, train_and_merge
from support.trainings import trainer_of


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
        changed = merge(merge(config, {"timing": {"repeats": 1}}), over)
        section = "section2_1" if model_type in SECTIONS["section2_1"].model_types else "section2_2"
        return trainer_of(training_settings(changed, section, model_type, config["datasets"].index(problem)))

    return make


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory):
    """The folder of a finished run of the smoke configuration on this machine, to leave as it is; and what it said."""
    folder = tmp_path_factory.mktemp("smoke")
    result = snakemake(folder, "--workflow-profile", PROFILE)
    assert result.returncode == 0, result.stderr
    return folder, result.stderr


@pytest.fixture(scope="session")
def smoke_folder(smoke_run):
    return smoke_run[0]


@pytest.fixture(scope="session")
def tiny_results(tmp_path_factory):
    """The folder of finished runs of all sections, made by the commands of the rules; leave it as it is."""
    results = tmp_path_factory.mktemp("tiny") / "results"
    config = results.parent / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))

    for run in (Run("section2_1", STAMP, 2, str(results)), Run("section2_2", STAMP, 2, str(results))):
        records = train_and_compare(run, config)
        command("metadata", run.checkpoint_metadata(), "--trainings", *records)
    run = Run("section2_3", STAMP, None, str(results))
    merged = train_and_merge(run, config, experts(merge(load_config(), TINY)))
    command("metadata", run.checkpoint_metadata(), "--trainings", *merged)
    return results
