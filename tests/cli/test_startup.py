"""What the process of a training imports: on a CPU neither torch nor pykan, nor what only results are read with."""

import json
import os
import subprocess
import sys

import pytest

from kanbench.cli.main import main
from kanbench.plan.config import ROOT, experts, load_config, merge
from kanbench.plan.naming import Run
from kanbench.plan.settings import canonical_json, control_settings, expert_settings, merge_settings, training_settings
from support.pretended_cuda import pretended_cuda
from support.results import STAMP, TINY

NOT_NEEDED = ("torch", "kan", "pandas", "pyarrow", "matplotlib", "sklearn", "sympy", "snakemake", "tqdm")
NOT_NEEDED += ("scipy.linalg", "scipy.stats", "scipy.sparse", "scipy.special")
CONFIG = merge(load_config(), TINY)
RUN, MERGING = Run("section2_1", STAMP, 2), Run("section2_3", STAMP)

PROGRAM = """
import json, sys
from kanbench.cli.main import main
{before}
for arguments in json.load(sys.stdin):
    assert main(arguments) == 0
    print(arguments[1], *sorted(set({modules}) & set(sys.modules)))
"""


def imported(folder, commands, before=""):
    """What a process that runs these commands in a folder has imported of what is not needed, after each of them."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    program = PROGRAM.format(before=before, modules=NOT_NEEDED)
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(commands),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict((line + " ").split(" ", 1) for line in done.stdout.splitlines())


def train(model_type, section="section2_1", **over):
    settings = training_settings(merge(CONFIG, over), section, model_type, 0)
    return ["train", Run(section, STAMP, 2).training(model_type, 0), "--settings", canonical_json(settings)]


def merging():
    """Two experts, their merged model and its control."""
    numbers = experts(CONFIG)[:2]
    names = [MERGING.expert(0, *each) for each in numbers]
    records, (merged, control) = (
        [MERGING.record(name) for name in names],
        map(MERGING.training, ("merge_kan", "control"), (0, 0)),
    )
    for name, each in zip(names, numbers, strict=True):
        yield ["train", name, "--settings", canonical_json(expert_settings(CONFIG, 0, *each))]
    settings = canonical_json(merge_settings(CONFIG, 0))
    yield ["merge", merged, "--experts", *records, "--settings", settings]
    settings = canonical_json(control_settings(CONFIG, 0))
    yield ["control", control, "--merged", MERGING.record(merged), "--experts", *records, "--settings", settings]


NO_DRIVER, DRIVER = (
    f"import kanbench.plan.devices; kanbench.plan.devices.has_gpu_driver = lambda: {there}" for there in (False, True)
)


def test_trainings_on_a_cpu_import_nothing_that_they_do_not_need(tmp_path):
    """All kinds, with all optimizers, and with the device that is the default, where there is no GPU."""
    commands = [train("adam"), train("lbfgs"), train("lm"), train("lm", dtype="float32", data={"train_num": 2000})]
    commands += [train(model_type, "section2_2") for model_type in ("adaptive_only", "adaptive_regular", "baseline")]
    commands += merging()
    assert CONFIG["device"] == CONFIG["engine"] == "auto"
    found = imported(tmp_path, commands, NO_DRIVER)
    assert found == {command[1]: "" for command in commands}
    assert {path.stem for path in (tmp_path / "results" / "trainings").glob("*.json")} == found.keys()


@pytest.mark.parametrize(
    ("over", "before", "expected"),
    [
        ({"device": "cpu"}, DRIVER, set()),  # it is not looked for
        pytest.param({"engine": "torch"}, NO_DRIVER, {"torch"}, marks=pytest.mark.slow),
        pytest.param({"engine": "reference"}, NO_DRIVER, {"torch", "kan"}, marks=pytest.mark.slow),
        pytest.param({"grids": {"policy": "pykan"}}, NO_DRIVER, {"torch", "kan"}, marks=pytest.mark.slow),
        # only torch knows whether it can use the GPU
        pytest.param({"device": "auto"}, DRIVER, {"torch"}, marks=pytest.mark.slow),
    ],
    ids=["cpu", "torch", "reference", "pykan's grids", "a driver"],
)
def test_trainings_import_torch_and_pykan_where_they_need_them(tmp_path, over, before, expected):
    command = train("adam", **over)
    found = set(imported(tmp_path, [command], before)[command[1]].split())
    assert found & {"torch", "kan"} == expected
    assert found == expected or "kan" in expected or not found & {"pandas", "matplotlib", "sklearn", "scipy.stats"}


def test_a_training_on_cuda_runs_in_torch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = train("adam", device="cuda")
    with pretended_cuda():
        assert main(command) == 0
    record = json.loads((tmp_path / RUN.record(command[1])).read_text())
    assert record["device"] == "cuda"
    assert record["provenance"]["engine"] == "torch"


def test_the_command_line_imports_little():
    """Help, and what is wrong with the arguments, come without numba too."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    program = f"import sys, kanbench.cli.main; print(*sorted({{*{NOT_NEEDED}, 'numba', 'scipy'}} & set(sys.modules)))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
