"""The code of `workflow/docs/python.md` and of README.md runs, and does what they say."""

import shutil
import warnings

import numpy as np
import torch

from kanbench.cli.main import main
from kanbench.network.pykan import global_random_state_kept
from kanbench.plan.config import ROOT
from support.documents import blocks_of

PAGE, README = ROOT / "workflow" / "docs" / "python.md", ROOT / "README.md"


def test_the_page_runs_from_top_to_bottom(tiny_results, tmp_path, monkeypatch):
    shutil.copytree(tiny_results, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(PAGE, "python")
    assert len(blocks) == 7
    assert all("assert" in block for block in blocks)
    names = {}
    with global_random_state_kept(), warnings.catch_warnings():
        for block in blocks:
            exec(compile(block, PAGE.name, "exec"), names)
    assert not (tmp_path / "model").exists(), "pykan has saved nothing by itself"


def test_the_readme_runs(tiny_results, tmp_path, monkeypatch, capsys):
    shutil.copytree(tiny_results, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    reading, own, training = blocks_of(README, "python")
    (tmp_path / "mine.py").write_text(own)
    assert main(["problems", "mine.py"]) == 0
    assert "mine" in capsys.readouterr().out
    names = {}
    with global_random_state_kept():
        exec(compile(reading, README.name, "exec"), names)
        assert names["model"](torch.zeros(3, 2, dtype=torch.float64)).shape == (3, 1)
        exec(compile(training, README.name, "exec"), names)
    x = names["x"]
    assert np.abs(names["fitted"].predict(x) - np.sin(3 * x[:, 0]) * x[:, 1]).max() < 0.05
