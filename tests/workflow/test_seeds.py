"""Snakemake with several seeds: what is planned, and that the first seed's files stay what they are."""

import pytest

from kanbench.plan.naming import Run
from kanbench.storage.runs import load_replicates
from support.kills import SHOWING_TIMES, Pipeline, compare
from support.pipelines import STAMP, assert_one_line, contents, planned, snakemake

pytestmark = pytest.mark.slow

TWO = ["--config", "seeds=[1,2]"]
FIRST = Run("section2_1", STAMP, 3)
MERGING = Run("section2_3", STAMP)


def test_everything_is_planned_for_every_seed(tmp_path):
    one = planned(snakemake(tmp_path, "--dry-run"))
    three = planned(snakemake(tmp_path, "--dry-run", "--config", "seeds=[1,2,3]"))
    assert three.pop("train_expert") == 3 * one.pop("train_expert")
    others = {rule: count for rule, count in three.items() if rule.endswith("_seeds")}
    assert {rule: count for rule, count in three.items() if rule not in others} == one
    assert others == {
        f"{rule}_seeds": 2 * count
        for rule, count in one.items()
        if rule != "all" and not rule.startswith(("metadata", "figures", "tables", "report"))
    }
    assert contents(tmp_path) == []


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        (FIRST.replicate(2).frame("adam"), {"train_section2_1_seeds": 4, "frame_section2_1_seeds": 1}),
        (FIRST.replicate(2).frame("lbfgs"), {"train_section2_1_seeds": 2, "frame_section2_1_seeds": 1}),
        (FIRST.record(FIRST.replicate(2).training("lm", 1)), {"train_section2_1_seeds": 1}),
        (FIRST.frame("lbfgs"), {"train_section2_1": 2, "frame_section2_1": 1}),
        (MERGING.replicate(2).frame("experts"), {"train_expert": 8, "frame_section2_3_seeds": 1}),
        (
            MERGING.record(MERGING.replicate(2).training("control", 1)),
            {"train_expert": 4, "merge_experts_seeds": 1, "train_control_seeds": 1},
        ),
        (MERGING.record(MERGING.expert(0, 1, 2, 1001)), {"train_expert": 1}),
        (
            "section2_2",
            {
                "section2_2": 1,
                **{f"train_section2_2{seeds}": 6 for seeds in ("", "_seeds")},
                **{f"frame_section2_2{seeds}": 3 for seeds in ("", "_seeds")},
                **{f"{kind}_section2_2": 1 for kind in ("metadata", "tables", "figures")},
            },
        ),
        (
            "seeds",
            {
                "seeds": 1,
                **{f"train_section2_{section}_seeds": 6 for section in (1, 2)},
                **{f"frame_section2_{section}_seeds": 3 for section in (1, 2)},
                **{"train_expert": 8, "merge_experts_seeds": 2, "train_control_seeds": 2, "frame_section2_3_seeds": 4},
            },
        ),
    ],
)
def test_a_target_plans_only_what_it_needs(tmp_path, target, jobs):
    assert planned(snakemake(tmp_path, "--dry-run", *TWO, "--", target)) == jobs


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (FIRST.replicate(3).frame("adam"), "found seed 3; allowed: 2, the configured seeds but the first"),
        (f"{FIRST.replicate(2).frame('adam')[:-8]}.pkl", "no such result"),
        (MERGING.record(MERGING.expert(0, 1, 2, 2001)), "an expert that is not configured; allowed: d1_k2_s1, "),
    ],
)
def test_a_wrong_target_is_one_line(tmp_path, target, message):
    assert_one_line(snakemake(tmp_path, *TWO, "--", target), message, tmp_path)


def test_the_other_seeds_of_one_are_one_line(tmp_path):
    assert_one_line(snakemake(tmp_path, "--", "seeds"), "found 'seeds', with seeds: [1]; allowed with at", tmp_path)


def test_the_key_of_one_seed_is_one_line(tmp_path):
    assert_one_line(snakemake(tmp_path, "--config", "seed=2"), "found 2; allowed: seeds, a list: write", tmp_path)


SMALL = ["datasets=[poisson_2d_poly]", "experts={depths: [1], orders: [3]}", "merge_kan={n_selected: 1}"]


def shows_all_seeds(path):
    """Whether a file below results/ is of a table or figure, or a log of those: they are made anew."""
    return path.parts[0] in SHOWING_TIMES or path.stem.endswith(("_tables", "_figures"))


def test_a_seed_that_is_added_trains_with_that_seed_only(tmp_path):
    """And in the end everything is as if both had been there from the beginning."""
    grown = Pipeline(tmp_path / "grown", 2, ["seeds=[1]", *SMALL], "section2_3")
    grown.complete()
    alone = grown.results()
    root = grown.folder / "results"
    files = [path for path in root.rglob("*") if path.is_file() and not shows_all_seeds(path.relative_to(root))]
    written = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    grown.command[grown.command.index("seeds=[1]")] = "seeds=[1,2]"
    grown.complete()
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in written} == written
    logs = [path for path in (root / "logs").iterdir() if not shows_all_seeds(path.relative_to(root))]
    made = sorted(path.name for path in logs if path not in written)
    replicate = MERGING.replicate(2)
    trainings = [MERGING.expert(0, 1, 3, 1001), *(replicate.training(which, 0) for which in ("merge_kan", "control"))]
    frames = [f"{replicate.name}_{frame}" for frame in ("summary", "experts", "selected_experts", "grid_history")]
    assert made == sorted(f"{name}.log" for name in (*trainings, *frames))
    assert "no faults" in grown.run("python", "-m", "kanbench", "verify")

    both = Pipeline(tmp_path / "both", 2, ["seeds=[1,2]", *SMALL], "section2_3")
    both.complete()
    compare(both, grown.results())
    assert {name: content for name, content in both.results().items() if name in alone} == alone
    assert list(load_replicates("section2_3", results_dir=root)) == [1, 2]


def test_the_frame_of_a_seed_alone(tmp_path):
    pipeline = Pipeline(tmp_path / "run", 2, ["seeds=[1,2]", *SMALL], FIRST.replicate(2).frame("adam"))
    pipeline.complete()
    replicate = FIRST.replicate(2)
    trainings = [replicate.training(model_type, 0) for model_type in ("adam", "lbfgs")]
    assert sorted(pipeline.results()) == sorted(
        path.removeprefix("results/") for path in (replicate.frame("adam"), *map(replicate.record, trainings))
    )
