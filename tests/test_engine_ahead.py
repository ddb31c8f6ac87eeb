"""What is compiled ahead of time is all that trainings use."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_training_compiles_nothing_more():
    program = """
from kanbench.config import load_config
import torch
from kanbench.engine import inputs, kernels, rows, tables
from kanbench.engine.ahead import compile_kernels
from kanbench.settings import expert_settings, training_settings
from kanbench.training import Trainer

def kinds():
    functions = [item for module in (inputs, kernels, rows, tables) for item in vars(module).items()]
    return {name: len(f.signatures) for name, f in functions if hasattr(f, "signatures")}

compile_kernels(torch.float64, 4)
ahead = kinds()
config = load_config()
for settings in (expert_settings(config, 0, 2, 2, 1), training_settings(config, "section2_1", "lm", 0)):
    Trainer(settings).train(1)
print(ahead["evaluate"] > 0, kinds() == ahead)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "True"]
