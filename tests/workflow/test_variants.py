"""Small runs of Snakemake with the configurations of two variants."""

import pytest

import kanbench
from kanbench.plan.config import ROOT
from kanbench.plan.naming import Run
from kanbench.storage.runs import load_replicates
from kanbench.storage.verification import verify
from support.pipelines import contents, snakemake
from support.results import opened

pytestmark = pytest.mark.slow

SMALL = ["epochs=1", "data={train_num: 60, test_num: 50, dense_num: 200}", "grids={sizes: [3, 5]}"]
ONE, TWO = "seeds=[1]", "seeds=[1,2]"


def configured(variant, *arguments):
    """Arguments that name the configuration of a variant, and others before the targets."""
    return "--configfile", ROOT / "config" / f"{variant}.yaml", *arguments


def test_variants_beside_each_other(tmp_path):
    """A shallow one with two seeds, and a deep one, of one timestamp."""
    small = configured("highd_3d_shallow", "--config", *SMALL, TWO)
    result = snakemake(tmp_path, *small, smoke=False)
    assert result.returncode == 0, result.stderr
    deep = snakemake(tmp_path, *configured("highd_100d_deep", "--config", *SMALL, ONE), smoke=False)
    assert deep.returncode == 0, deep.stderr
    stamp, results = (tmp_path / "results" / "timestamp").read_text().strip(), tmp_path / "results"
    shallow, deep = (Run(f"section2_1_{name}", stamp, 1) for name in ("highd_3d_shallow", "highd_100d_deep"))
    delivered = [path for run in (shallow, deep) for path in run.deliverables(1, ["lbfgs", "lm"])]
    delivered += shallow.replicate(2).deliverables(1, ["lbfgs", "lm"])
    found = contents(tmp_path)
    assert {path for path in found if path.count("/") == 2 and "_results/" in path} | {
        path for path in found if path.startswith("results/seeds/")
    } == set(delivered)
    for run in kanbench.list_runs(results_dir=results):
        findings = verify(opened(run))
        assert findings.faults == []
        assert findings.notes == []
    replicates = load_replicates(shallow.section, results_dir=results)
    assert {seed: list(frames) for seed, frames in replicates.items()} == {1: ["lbfgs", "lm"], 2: ["lbfgs", "lm"]}
    again = snakemake(tmp_path, *small, smoke=False)
    assert "Nothing to be done" in again.stdout + again.stderr
