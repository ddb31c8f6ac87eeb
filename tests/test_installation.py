"""`make install`: when it installs, and when it does so again."""

import shutil
import subprocess
import sys

import pytest

from kanbench.plan.config import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not there")


def planned(folder):
    """What make would do."""
    command = ["make", "--dry-run", "install"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_folder_that_was_moved_is_installed_again(tmp_path):
    """The programs in its environment begin with the path of the Python that was there."""
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "envs").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "envs/constraints.txt"):
        shutil.copy(ROOT / name, before / name)
    assert "-m venv  .venv" in planned(before)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=before, check=True)
    (before / ".venv" / "installed").touch()
    assert "venv" not in planned(before)
    before.rename(after)
    assert "moved since it was installed" in planned(after)
    assert "-m venv --clear .venv" in planned(after)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", ".venv"], cwd=after, check=True)
    (after / ".venv" / "installed").touch()
    assert "venv" not in planned(after)
