"""Trainings start without what pykan imports for plots and formulas, and pykan is whole all the same."""

import gc
import json
import os
import subprocess
import sys

import pytest

from kanbench.config import load_config
from kanbench.settings import canonical_json, expert_settings
from kanbench.startup import DEFERRED, quick_imports

NAMES = """
import json, sys
def described(value):
    return str(type(value)), str(getattr(value, "__module__", "")), str(getattr(value, "__name__", ""))
modules = {name: vars(module) for name, module in sys.modules.items() if name.split(".")[0] == "kan"}
print(json.dumps({name: {key: described(value) for key, value in names.items() if not key.startswith("__")}
                  for name, names in modules.items()}))
"""
LIGHT = "from kanbench.startup import import_pykan, restore_pykan; import_pykan()\n"
MODEL = """
import torch
from kan import KAN
model = KAN(width=[2, 2, 1], grid=3, k=3, seed=1)
x = torch.rand(50, 2)
model.get_act(x)
"""


def run(program, tmp_path):
    """The last line that a program prints in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_pykan_restored_has_the_names_of_pykan_imported(tmp_path):
    restored = json.loads(run(LIGHT + "restore_pykan()" + NAMES, tmp_path))
    assert len(restored["kan.MultKAN"]) > 900  # sympy's among them
    assert restored == json.loads(run("import kan" + NAMES, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first_use", "expected"),
    [
        ("model.plot(folder='figures'); import os; print(len(os.listdir('figures')) > 0)", "True"),
        (
            "model.auto_symbolic(lib=['x'], verbose=0); import sympy\n"
            "print(isinstance(model.symbolic_formula()[0][0], sympy.Expr))",
            "True",
        ),
        (
            "data = {'train_input': x, 'train_label': x[:, :1], 'test_input': x, 'test_label': x[:, :1]}\n"
            "losses = model.fit(data, steps=2)['train_loss']; model.attribute(); model = model.prune()\n"
            "model.fix_symbolic(0, 0, 0, 'sin', verbose=False)\n"
            "print(len(losses), model.symbolic_fun[0].funs_name[0][0])",
            "2 sin",
        ),
        (
            "import kan; print(kan.pd.DataFrame([1]).shape, kan.utils.LinearRegression.__name__)",
            "(1, 1) LinearRegression",
        ),
    ],
)
def test_pykan_does_all_that_it_does(first_use, expected, tmp_path):
    assert run(LIGHT + MODEL + first_use, tmp_path) == expected


@pytest.mark.slow
def test_other_modules_import_the_real_things(tmp_path):
    program = f"""
import sys
before = set(sys.modules)
print(*(set({DEFERRED}) & before))
import sklearn.linear_model, matplotlib.pyplot as plt, sympy, pandas as pd
from sympy import Symbol
from sklearn.linear_model import LinearRegression
plt.close(plt.figure())
assert LinearRegression is sklearn.linear_model.LinearRegression
assert sympy.diff(Symbol("x") ** 2) == 2 * Symbol("x")
assert pd.DataFrame([1]).shape == (1, 1)
assert not [m for m in sys.modules.values() if type(m).__name__ == "Deferred"]
print(type(sys.modules["kan.utils"].sympy).__name__)
"""
    assert run(LIGHT + program, tmp_path) == "Deferred"  # nothing of pykan's has been used


@pytest.mark.slow
def test_pykan_that_was_imported_before_stays_as_it_is(tmp_path):
    program = "import kan; before = {m: dict(vars(sys.modules[m])) for m in ('kan', 'kan.MultKAN', 'kan.utils')}\n"
    check = "print(all(vars(sys.modules[m]) == names for m, names in before.items()))"
    assert run("import sys\n" + program + LIGHT + check, tmp_path) == "True"


def test_a_training_imports_nothing_of_it(tmp_path):
    settings = expert_settings(load_config(), 0, 2, 3, 1) | {"epochs": 1}
    settings["optimizer"] = {"name": "lm", "damping": 1.0e-3, "attempts": 2, "geodesic_acceleration": False}
    command = ["train", "section2_3_20260101_000000_expert_0_d2_k3_s1", "--settings", canonical_json(settings)]
    program = f"""
import sys
from kanbench.cli import main
assert main({command}) == 0
print(*sorted(set({DEFERRED}) & set(sys.modules)), "and no more")
"""
    assert run(program, tmp_path) == "and no more"


def test_the_garbage_collector_works_after_an_import_that_failed():
    frozen = gc.get_freeze_count()
    with pytest.raises(ImportError), quick_imports():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    gc.unfreeze()
