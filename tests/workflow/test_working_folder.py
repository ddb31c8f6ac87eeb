"""What lies in the folder of the results, or beside the Snakefile, is taken for no module."""

import os
import shutil
import sys

import pytest

from kanbench.plan.config import ROOT
from kanbench.plan.naming import Run
from support.pipelines import STAMP, run

SHADOWS = ("kan", "kanbench", "logging", "numpy", "random", "torch")  # imported by everything, by jobs, or only later


def shadowed(folder):
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"raise SystemExit('the module {name} of the working folder')")
    return folder


@pytest.mark.parametrize("safe", ["", "1"])
def test_the_command_line_takes_no_module_from_its_folder(tmp_path, safe):
    environment = [f"PYTHONPATH={ROOT / 'workflow'}", f"PYTHONSAFEPATH={safe}"]
    shadows = shadowed(tmp_path)
    (shadows / "kanbench.py").unlink()  # which python -m itself would look for here
    result = run(["env", *environment, sys.executable, "-m", "kanbench", "problems"], shadows)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_jobs_take_no_module_from_their_folder_nor_from_that_of_the_snakefile(tmp_path):
    for name in ("Snakefile", "config", "envs", "workflow"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    target = f"{Run('section2_1', STAMP, 1).checkpoint('adam', 0, 'final')}_state"
    small = ["engine=torch", "data={train_num: 20, test_num: 20, dense_num: 20}", "grids={sizes: [3]}"]
    words = ["snakemake", "-s", tmp_path / "Snakefile", "--cores", "1", "--config", *small, "--", target]
    result = run(words, shadowed(tmp_path))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / target).exists()


@pytest.mark.slow
def test_a_path_that_no_search_path_can_hold_is_one_line(tmp_path):
    """Python would take the two halves of it for folders, and another kanbench that is installed for this one."""
    there = tmp_path / f"a{os.pathsep}b"
    there.symlink_to(ROOT)
    result = run(["snakemake", "-s", there / "Snakefile", "--cores", "1", "--dry-run"], tmp_path)
    assert result.returncode != 0
    [line] = [line for line in result.stderr.splitlines() if line.startswith("kanbench: ")]
    assert str(there) in line
    assert f"found {os.pathsep!r}" in line
