"""What the command line is given and cannot use ends in a line."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kanbench.cli.main import main
from kanbench.cli.output import told
from kanbench.plan.config import ROOT
from support.planted import some_run, store

FULL = Path("/dev/full")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}


@pytest.fixture(params=["", pytest.param("1", marks=pytest.mark.slow)], ids=["buffered", "unbuffered"])
def buffering(request):
    return {"PYTHONUNBUFFERED": request.param}


def process(*words, **how):
    command = [sys.executable, "-m", "kanbench", *map(str, words)]
    return subprocess.run(command, env=ENVIRONMENT | how.pop("env", {}), check=False, stderr=subprocess.PIPE, **how)


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5"])
def test_threads_are_counted(threads, capsys):
    with pytest.raises(SystemExit):
        main(["train", "section2_1_20260101_000000_e2_lm_0", "--threads", threads])
    assert f"argument --threads: found {threads!r}; allowed: an integer from 1 to 9999" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["problems"], ["--help"]])
def test_output_that_nobody_reads_ends_as_that_of_other_programs(words, buffering):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = process(*words, stdout=closed, env=buffering)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not FULL.exists(), reason="no such device here")
@pytest.mark.parametrize("words", [["problems"], ["--help"]])
def test_output_on_a_full_disk_is_one_line(words, buffering):
    with FULL.open("w") as full:
        done = process(*words, stdout=full, env=buffering)
    assert (done.returncode, done.stderr) == (1, b"kanbench: the output cannot be written (No space left on device)\n")


def test_errors_of_the_system_that_are_none_of_the_output_are_raised(monkeypatch):
    def fail():
        raise OSError("a bug")

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(OSError, match="a bug"):
        told(fail)


def test_figures_are_drawn_whatever_backend_the_environment_names(tmp_path):
    """Of a notebook, whose jobs inherit it, where it is not installed."""
    made = store(some_run(1), tmp_path)
    words = "figures", made.section, "--results-dir", tmp_path, "--only", "loss_epochs"
    done = process(*words, stdout=subprocess.PIPE, env={"MPLBACKEND": "module://no_such_module"})
    assert done.returncode == 0, done.stderr
    assert (Path(made.figure_folder) / "loss_epochs.png").exists()


@pytest.mark.slow
def test_kernels_are_compiled_whatever_numba_is_told():
    result = process("compile", env={"NUMBA_DISABLE_JIT": "1"}, text=True)
    assert (result.returncode, "kernels are compiled" in result.stderr) == (0, True)
