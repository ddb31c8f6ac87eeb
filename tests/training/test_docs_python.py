"""The code of `workflow/docs/python.md` runs, and does what it says."""

import re
import shutil
import warnings

from kanbench.network.pykan import global_random_state_kept
from kanbench.plan.config import ROOT

PAGE = ROOT / "workflow" / "docs" / "python.md"


def test_the_page_runs_from_top_to_bottom(tiny_results, tmp_path, monkeypatch):
    shutil.copytree(tiny_results, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    assert all("assert" in block for block in blocks)
    names = {}
    with global_random_state_kept(), warnings.catch_warnings():
        for block in blocks:
            exec(compile(block, PAGE.name, "exec"), names)
    assert not (tmp_path / "model").exists(), "pykan has saved nothing by itself"
