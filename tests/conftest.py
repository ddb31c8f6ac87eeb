"""What several test modules need."""

import pytest
import torch

from kanbench.config import load_config, merge
from kanbench.naming import SECTIONS
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
