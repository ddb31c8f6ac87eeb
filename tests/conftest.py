"""What several test modules need."""

import os
import shutil

import numpy as np
import pytest
import torch
import yaml

from kanbench.io.atomic import folder_lock
from kanbench.plan.config import ROOT, experts, load_config, merge
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.plan.settings import training_settings
from support import pipelines
from support.results import STAMP, TINY, command, train_and_compare, train_and_merge
from support.trainings import trainer_of

# Files that take minutes: processes that take the next file get them first, and end together.
LONGEST = ("test_cluster.py", "test_workflow.py", "test_original_runs.py", "test_original_migration.py")
LONGEST += ("test_numba_engine.py", "test_own_problems.py", "test_plans.py", "test_documented_commands.py")
LONGEST += ("test_trainer.py", "test_optimizers.py", "test_seeds.py", "test_variants.py", "test_wheel.py")


def pytest_collection_modifyitems(items):
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_global_random_numbers():
    """Whatever tests ran before in this process."""
    torch.manual_seed(0)
    np.random.seed(0)


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
    """The folder of a finished run of the smoke configuration on this machine, to leave as it is; and what it said.

    Of processes of pytest-xdist one makes it, and every one has a copy.
    """
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    made, told = common / "smoke_run", common / "smoke_run.txt"
    with folder_lock(made):
        if not told.exists():
            words = ["snakemake", "-s", ROOT / "Snakefile", "--cores", 2, "--configfile", pipelines.SMOKE]
            result = pipelines.run([*words, "--workflow-profile", pipelines.PROFILE], made)
            assert result.returncode == 0, result.stderr
            told.write_text(result.stderr)
    return shutil.copytree(made, tmp_path_factory.mktemp("smoke") / "run"), told.read_text()


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
