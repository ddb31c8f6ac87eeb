"""A run names the Python files of its problems: nobody runs one of them for that, only for the user's word."""

import logging
import shutil

import pytest
import yaml

from kanbench.cli.main import main
from kanbench.errors import InputError
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.problems.files import problems_in
from kanbench.problems.target_scale import target_scale
from kanbench.storage.frames import read_frame
from kanbench.storage.problems import problem_of_run
from support.results import STAMP

NAME = "poisson_2d_sin"  # what the tiny runs are of; the file defines it once more, under the run's name for it
FILE = """
from pathlib import Path
import numpy as np
from kanbench import problem

Path({marker!r}).touch()

@problem(domain=[(-1, 1)] * 2, name="theirs")
def target(x, y):
    return 2 * np.pi**2 * np.sin(np.pi * x) * np.sin(np.pi * y)
"""
SHOWN = ["figures", "section2_1", "--only", "surface_theirs", "slices_theirs"]
COMMANDS = {
    "figures": SHOWN,
    "report": ["report", "section2_1"],
    "verify": ["verify", "section2_1"],
    "tables": ["tables", "section2_1"],
    "summary": ["summary", "section2_1"],
}
RUNS_IT = ("figures", "report", "verify")


def commands(*names):
    """For `parametrize`: a page, whose figures are all drawn, takes seconds."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name == "report" else []) for name in names]


@pytest.fixture
def theirs(tiny_results, tmp_path, monkeypatch):
    """A results folder whose run of section 2.1 is on a function in a file that it names, and the file's marker."""
    marker, path = tmp_path / "marker", tmp_path / "theirs.py"
    path.write_text(FILE.format(marker=str(marker)))
    source = problems_in(path)["theirs"].source
    marker.unlink()  # made by reading the digest; what is read once is not run again in this process
    results = tmp_path / "results"
    shutil.copytree(tiny_results / SECTIONS["section2_1"].folder, results / SECTIONS["section2_1"].folder)
    run, scale = Run("section2_1", STAMP, 2, str(results)), target_scale(NAME)
    stated = {"inputs": 2, "source": {"path": str(path), "digest": source.digest}, "target": vars(scale)}
    for model_type in SECTIONS["section2_1"].model_types:
        frame = read_frame(run.frame(model_type)).replace({"dataset_name": {NAME: "theirs"}})
        frame.attrs["provenance"]["problems"] |= {"theirs": stated}
        frame.to_pickle(run.frame(model_type))
        frame.to_parquet(run.frame(model_type, "parquet"))
    monkeypatch.chdir(tmp_path)
    return path, marker


def ran(marker, command, *options):
    """Whether a command runs the file; the command has to succeed."""
    from kanbench.problems import files

    marker.unlink(missing_ok=True)
    files._run.cache_clear()
    assert main([*COMMANDS[command], *map(str, options)]) == 0
    return marker.exists()


@pytest.mark.parametrize("command", commands(*COMMANDS))
def test_a_file_that_only_a_run_names_is_not_run(theirs, command, caplog, capsys):
    path, marker = theirs
    caplog.set_level(logging.INFO, "kanbench")
    assert not ran(marker, command)
    told = [*caplog.messages, *capsys.readouterr().out.splitlines()]
    if command == "report":
        told += (path.parent / "results" / "report.html").read_text().splitlines()
    how = f"{path}: not run for the target of theirs; allowed: with this file in --problems, or with --trusted"
    assert bool([line for line in told if how in line]) == (command in RUNS_IT)


@pytest.mark.parametrize("command", commands(*RUNS_IT))
def test_it_is_run_for_whoever_names_it_and_for_those_who_trust_the_run(theirs, command, capsys):
    path, marker = theirs
    other = path.with_name("mine.py")
    other.write_text(FILE.format(marker=str(marker.with_name("of mine"))).replace("theirs", "mine"))
    assert not ran(marker, command, "--problems", other)
    moved = path.with_name("moved.py")  # a function is known by its name and digest, wherever its file is
    path.rename(moved)
    assert ran(marker, command, "--problems", other, moved)
    moved.rename(path)
    shutil.rmtree(path.parent / "results" / "figures", ignore_errors=True)
    capsys.readouterr()
    assert ran(marker, command, "--trusted")
    assert "theirs.py: not run" not in capsys.readouterr().out
    if command == "figures":
        drawn = {file.stem for file in (path.parent / "results" / "figures").rglob("*.png")}
        assert drawn == {"surface_theirs", "slices_theirs"}


def test_verify_runs_the_files_of_its_configuration(theirs, capsys):
    path, marker = theirs
    (path.parent / "mine.yaml").write_text(yaml.safe_dump({"problems": [str(path)]}))
    assert ran(marker, "verify", "--config", "mine.yaml")
    assert "no loss was computed" not in capsys.readouterr().out


def test_a_function_with_another_digest_is_another(theirs):
    path, _ = theirs
    frames = [read_frame(Run("section2_1", STAMP, 2, "results").frame("lm"))]
    assert problem_of_run("theirs", frames, [path]).file == path
    path.write_text(path.read_text().replace("2 * np.pi**2", "3 * np.pi**2"))
    for given in ({"files": [path]}, {"trusted": True}):
        with pytest.raises(InputError, match="has changed"):
            problem_of_run("theirs", frames, **given)
