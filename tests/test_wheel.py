"""What `pip install .` installs: the package with all that it reads, which needs no repository."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder

from kanbench import __version__
from kanbench.plan.config import DEFAULT_CONFIG, PACKAGE, ROOT, SCHEMA
from kanbench.presentation import FOLDER
from support.results import STAMP, TINY

TESTS = Path(__file__).parent
PLUGIN = "snakemake_logger_plugin_kanbench"
# Which modules say where files outside the package are: what a new one reads has to be in the wheel, and below.
OWNERS = {"plan/config.py": {DEFAULT_CONFIG, SCHEMA}, "presentation/__init__.py": {*FOLDER.iterdir()}}


def test_what_the_package_reads_is_in_the_wheel_and_nothing_else():
    packages = PACKAGE, PACKAGE.parent / PLUGIN
    code = {path for package in packages for path in package.rglob("*") if path.is_file()}
    read = set().union(*OWNERS.values())
    expected = {path.relative_to(PACKAGE.parent).as_posix(): path for path in code if "__pycache__" not in path.parts}
    expected |= {f"kanbench/data/{path.relative_to(ROOT).as_posix()}": path for path in read}
    assert len(read) > 15
    included = WheelBuilder(str(ROOT)).recurse_included_files()
    assert {Path(file.distribution_path).as_posix(): Path(file.path) for file in included} == expected


def test_few_modules_say_where_other_files_are():
    users = set()
    for path in PACKAGE.rglob("*.py"):
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)
        }
        if "ROOT" in names:
            users.add(path.relative_to(PACKAGE).as_posix())
    assert users == OWNERS.keys()


MAKE = f"""
from kanbench.plan.naming import Run
from support.results import command, train_and_compare

run = Run("section2_1", {STAMP!r}, 2)
records = train_and_compare(run, "tiny.yaml")
command("metadata", run.checkpoint_metadata(), "--trainings", *records)
command("summary")
command("verify")
command("figures", "section2_1", "--only", "loss_epochs")
command("tables", "section2_1")
command("report", "section2_1")
"""


@pytest.mark.slow
def test_an_installed_wheel_needs_no_repository(tmp_path):
    """From a training to the report, in a folder where there is nothing else; the defaults are those of the wheel."""
    installed, work = tmp_path / "installed", tmp_path / "work"
    work.mkdir()

    def run(*words, paths=(installed,)):
        path = os.pathsep.join(map(str, paths))
        environment = os.environ | {
            "PYTHONPATH": path,
            "PIP_NO_INDEX": "1",
            "NUMBA_CACHE_DIR": str(tmp_path / "kernels"),
        }
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    run("-m", "pip", "install", "--no-deps", "--target", installed, wheel)
    where = run("-c", "import kanbench.plan.config as c; print(c.__file__, c.DEFAULT_CONFIG, c.SCHEMA, sep='\\n')")
    assert all(Path(line).is_relative_to(installed) for line in where.splitlines())

    small = TINY | {"engine": "torch"}  # the compiled one's kernels would be compiled for this place alone
    (work / "tiny.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")
    shown = run("-c", MAKE, paths=(installed, TESTS))
    assert "2.1 Which optimizer trains" in shown
    assert "no faults" in shown
    assert run("-m", "kanbench", "--version") == f"{__version__}\n"
    results = work / "results"
    name = f"section2_1_{STAMP}_e2"
    assert (results / "figures" / name / "loss_epochs.png").is_file()
    assert {path.suffix for path in (results / "tables" / name).iterdir()} == {".csv", ".tex", ".md", ".html"}
    assert "<style>" in (results / "report.html").read_text(encoding="utf-8")
    assert "--parts" in run("-m", "kanbench", "benchmark", "--help")
