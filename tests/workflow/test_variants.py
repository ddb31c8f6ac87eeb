"""Snakemake with the configurations of variants: what is planned and refused, and small runs of two of them."""

import pytest

import kanbench
from kanbench.plan.config import ROOT
from kanbench.plan.naming import Run
from kanbench.storage.runs import load_replicates
from kanbench.storage.verification import verify
from support.pipelines import SMOKE, STAMP, assert_one_line, contents, planned, snakemake
from support.results import opened

pytestmark = pytest.mark.slow

ONCE = ("all", "metadata_section2_1", "tables_section2_1", "figures_section2_1", "report_page")
SMALL = ["epochs=1", "data={train_num: 60, test_num: 50, dense_num: 200}", "grids={sizes: [3, 5]}"]


def configured(variant, *arguments):
    """Arguments that name the configuration of a variant, and others before the targets."""
    return "--configfile", ROOT / "config" / f"{variant}.yaml", *arguments


@pytest.mark.parametrize("variant", ["highd_3d_shallow", "highd_100d_deep"])
def test_a_variant_is_planned(tmp_path, variant):
    jobs = planned(snakemake(tmp_path, *configured(variant, "--dry-run"), smoke=False))
    assert jobs == {"train_section2_1": 2, "frame_section2_1": 2, **dict.fromkeys(ONCE, 1)}
    assert contents(tmp_path) == []


def test_a_name_of_a_variant_is_a_complete_specification(tmp_path):
    run = Run("section2_1_highd_4d_deep", STAMP, 3)
    for target, jobs in (
        (f"{run.checkpoint('lm', 0, 'final')}_state", {"train_section2_1": 1}),
        (run.frame("lbfgs"), {"train_section2_1": 1, "frame_section2_1": 1}),
        (run.frame("lm"), {"train_section2_1": 2, "frame_section2_1": 1}),
        (run.frame("adam"), {"train_section2_1": 2, "frame_section2_1": 1}),  # not compared, but asked for
        (run.replicate(2).frame("lm"), {"train_section2_1_seeds": 2, "frame_section2_1_seeds": 1}),
    ):
        arguments = configured("highd_4d_deep", "--config", "seeds=[1,2]", "--dry-run", "--", target)
        assert planned(snakemake(tmp_path, *arguments, smoke=False)) == jobs


@pytest.mark.parametrize(
    ("configuration", "section", "message"),
    [
        (SMOKE, "section2_1_highd_3d_shallow", "allowed with this configuration: section2_1 (variant: null)"),
        (
            ROOT / "config" / "highd_3d_deep.yaml",
            "section2_1_highd_3d_shallow",
            "found section2_1_highd_3d_shallow; allowed with this configuration: section2_1_highd_3d_deep",
        ),
        (ROOT / "config" / "highd_3d_deep.yaml", "section2_1", "found section2_1; allowed"),
        (ROOT / "config" / "highd_3d_deep.yaml", "section2_4_highd_3d_deep", "no such result"),
    ],
)
def test_names_of_other_variants_are_one_line(tmp_path, configuration, section, message):
    target = f"results/sec1_results/{section}_{STAMP}_e3_lm.pkl"
    result = snakemake(tmp_path, "--configfile", configuration, "--", target, smoke=False)
    assert_one_line(result, message, tmp_path)


def test_variants_beside_each_other(tmp_path):
    """A shallow one with two seeds, and a deep one, of one timestamp."""
    small = configured("highd_3d_shallow", "--config", *SMALL, "seeds=[1,2]")
    result = snakemake(tmp_path, *small, smoke=False)
    assert result.returncode == 0, result.stderr
    deep = snakemake(tmp_path, *configured("highd_100d_deep", "--config", *SMALL), smoke=False)
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
