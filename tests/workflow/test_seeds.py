"""Runs of Snakemake with several seeds: the first seed's files stay what they are."""

import pytest

from kanbench.plan.naming import Run
from kanbench.storage.runs import load_replicates
from support.kills import Pipeline, compare
from support.pipelines import STAMP

pytestmark = pytest.mark.slow

FIRST = Run("section2_1", STAMP, 3)
MERGING = Run("section2_3", STAMP)
SMALL = ["datasets=[poisson_2d_poly]", "experts={depths: [1], orders: [3]}"]
ONE = ["seeds=[1]", "merge_kan={n_selected: 1}"]
TWO = ["seeds=[1,2]", "merge_kan={n_selected: 1, seeds: 2}"]


def test_a_seed_that_is_added_trains_with_that_seed_only(tmp_path):
    """And in the end everything is as if both had been there from the beginning."""
    first, second = MERGING.deliverables(1), MERGING.replicate(2).deliverables(1)
    grown = Pipeline(tmp_path / "grown", 2, [*ONE, *SMALL], first)
    grown.complete()
    alone = grown.results()
    root = grown.folder / "results"
    files = [path for path in root.rglob("*") if path.is_file()]
    written = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    grown.command = [dict(zip(ONE, TWO, strict=True)).get(part, part) for part in grown.command]
    grown.targets += second
    grown.complete()
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in written} == written
    made = sorted(path.name for path in (root / "logs").iterdir() if path not in written)
    replicate = MERGING.replicate(2)
    trainings = [MERGING.experts_job(0, 1001), *(replicate.training(which, 0) for which in ("merge_kan", "control"))]
    frames = [f"{replicate.name}_{frame}" for frame in ("summary", "experts", "selected_experts", "grid_history")]
    assert made == sorted(f"{name}.log" for name in (*trainings, *frames))
    assert "no faults" in grown.run("python", "-m", "kanbench", "verify")

    both = Pipeline(tmp_path / "both", 2, [*TWO, *SMALL], [*first, *second])
    both.complete()
    compare(both, grown.results())
    assert {name: content for name, content in both.results().items() if name in alone} == alone
    assert list(load_replicates("section2_3", results_dir=root)) == [1, 2]


def test_the_frame_of_a_seed_alone(tmp_path):
    """Made by the jobs that make those of the other seeds, which run again when a seed is added."""
    two, three = "seeds=[1,2]", "seeds=[1,2,3]"
    pipeline = Pipeline(tmp_path / "run", 2, [two, ONE[1], *SMALL], [FIRST.replicate(2).frame("adam")])

    def made(*seeds):
        runs = [FIRST.replicate(seed) for seed in seeds]
        records = [run.record(run.training(model_type, 0)) for run in runs for model_type in ("adam", "lbfgs")]
        return sorted(path.removeprefix("results/") for path in (*(run.frame("adam") for run in runs), *records))

    pipeline.complete()
    alone = pipeline.results()
    assert sorted(alone) == made(2)
    pipeline.command[pipeline.command.index(two)] = three
    pipeline.targets = ["--", FIRST.replicate(3).frame("adam")]
    pipeline.complete()
    results = pipeline.results()
    assert sorted(results) == made(2, 3)
    assert {name: results[name] for name in alone} == alone
