"""Dry runs of Snakemake: which jobs a target, seeds, variants and profiles plan."""

import pytest

from kanbench.plan.config import DEFAULT_CONFIG, ROOT
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from support.pipelines import PROFILE, SMOKE, STAMP, contents, forked, planned, snakemake

pytestmark = pytest.mark.slow

TWO = ["--configfile", SMOKE, "--config", "seeds=[1,2]"]
DEEP = ["--configfile", ROOT / "config" / "highd_4d_deep.yaml", "--config", "seeds=[1,2]"]
FIRST, DENSITY, MERGING = Run("section2_1", STAMP, 7), Run("section2_2", STAMP, 7), Run("section2_3", STAMP)
VARIANT = Run("section2_1_highd_4d_deep", STAMP, 3)
TRAINED = {"train_section2_1": 6, "train_section2_2": 6, "train_expert": 2, "merge_experts": 2, "train_control": 2}
FRAMES = {"frame_section2_1": 3, "frame_section2_2": 3, "frame_section2_3": 4}
ONCE = {f"{rule}_{section}": 1 for section in SECTIONS for rule in ("metadata", "tables", "figures")}


def plan(folder, *arguments, smoke=False):
    """The jobs of a dry run, by rule."""
    jobs = planned(snakemake(folder, "--dry-run", *arguments, smoke=smoke))
    assert contents(folder) == []
    return jobs


def section_jobs(section, trainings):
    """The jobs of all results of section 2.1 or 2.2, with one seed."""
    once = dict.fromkeys((section, *(f"{rule}_{section}" for rule in ("metadata", "tables", "figures"))), 1)
    return {f"train_{section}": trainings, f"frame_{section}": 3, **once}


def seeds_jobs(section):
    """Those of the other seeds, on four datasets."""
    return {f"train_{section}_seeds": 12, f"frame_{section}_seeds": 3}


def test_everything_is_planned(tmp_path):
    everything = {**TRAINED, **FRAMES, **ONCE, "report_page": 1}
    assert plan(tmp_path, smoke=True) == {"all": 1, **everything}
    assert plan(tmp_path, "--", "results/report.html", smoke=True) == everything


@pytest.mark.parametrize("as_module", [False, True], ids=["itself", "as a module"])
def test_the_snakefile_where_catalogs_look_for_it(tmp_path, as_module):
    """As snakedeploy uses it: its rules in a Snakefile of somebody's, who has a configuration."""
    snakefile = ROOT / "workflow" / "Snakefile"
    if as_module:
        theirs = tmp_path / "Snakefile"
        theirs.write_text(
            f"configfile: {str(DEFAULT_CONFIG)!r}\n"
            f"module kanbench:\n    snakefile: {str(snakefile)!r}\n    config: config\n"
            "use rule * from kanbench\n"
        )
        snakefile = theirs
    jobs = planned(forked(["snakemake", "-s", snakefile, "--cores", 2, *TWO[:2], "--dry-run"], tmp_path))
    everything = {**TRAINED, **FRAMES, **ONCE, "report_page": 1}
    assert jobs == {"everything": 1, **everything}


def test_everything_is_planned_for_every_seed(tmp_path):
    """In sections 2.1 and 2.2 by the same jobs, however many there are; two of three in section 2.3."""
    seeds = {f"{rule}_seeds": n for rule, n in {**TRAINED, **FRAMES}.items() if rule != "train_expert"}
    jobs = plan(tmp_path, "--config", "seeds=[1,2,3]", "merge_kan={seeds: 2}", smoke=True)
    assert jobs == {"all": 1, **TRAINED, "train_expert": 2 * 2, **FRAMES, **ONCE, "report_page": 1, **seeds}


@pytest.mark.parametrize(("configured", "merging"), [("config", 1), ("seeds", 5)])
def test_the_seeds_of_the_configurations(tmp_path, configured, merging):
    """Five in sections 2.1 and 2.2 by default, or twenty; in section 2.3 one, or five."""
    jobs = plan(tmp_path, "--configfile", ROOT / "config" / f"{configured}.yaml")
    expected = seeds_jobs("section2_1") | seeds_jobs("section2_2")
    assert {rule: jobs[rule] for rule in expected} == expected
    assert jobs["train_expert"] == 20 * merging
    assert jobs.get("merge_experts_seeds", 0) == 4 * (merging - 1)


@pytest.mark.parametrize("variant", ["highd_3d_shallow", "highd_100d_deep"])
def test_a_variant_is_planned(tmp_path, variant):
    once = ("all", "metadata_section2_1", "tables_section2_1", "figures_section2_1", "report_page")
    of_model_types = [f"{rule}_section2_1{seeds}" for rule in ("train", "frame") for seeds in ("", "_seeds")]
    jobs = plan(tmp_path, "--configfile", ROOT / "config" / f"{variant}.yaml")
    assert jobs == {**dict.fromkeys(of_model_types, 2), **dict.fromkeys(once, 1)}


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        (FIRST.frame("adam"), {"train_section2_1": 8, "frame_section2_1": 1}),
        (FIRST.frame("lbfgs", "parquet"), {"train_section2_1": 4, "frame_section2_1": 1}),
        (f"{FIRST.checkpoint('lm', 2, 'final')}_state", {"train_section2_1": 1}),
        (FIRST.checkpoint_metadata(), {"train_section2_1": 12, "metadata_section2_1": 1}),
        ("section2_1", section_jobs("section2_1", 12) | seeds_jobs("section2_1")),
        ("section2_2", section_jobs("section2_2", 12) | seeds_jobs("section2_2")),
        (
            DENSITY.table_files()[0],
            {"train_section2_2": 12, "frame_section2_2": 3, "metadata_section2_2": 1, "tables_section2_2": 1}
            | seeds_jobs("section2_2"),
        ),
        (
            f"{FIRST.figure_folder}/slices_poisson_2d_spec.pdf",
            {"train_section2_1": 12, "frame_section2_1": 3, "metadata_section2_1": 1, "figures_section2_1": 1}
            | seeds_jobs("section2_1"),
        ),
        (DENSITY.frame("adaptive_only"), {"train_section2_2": 8, "frame_section2_2": 1}),
        (f"{MERGING.checkpoint('merge_kan', 2, 'final')}_state", {"train_expert": 5, "merge_experts": 1}),
        (MERGING.frame("experts"), {"train_expert": 20, "frame_section2_3": 1}),
        (
            MERGING.frame("summary", "parquet"),
            {"train_expert": 20, "merge_experts": 4, "train_control": 4, "frame_section2_3": 1},
        ),
        (MERGING.record(MERGING.expert(3, 2, 3, 5)), {"train_expert": 1}),
    ],
)
def test_a_target_plans_only_what_it_needs(tmp_path, target, jobs):
    assert plan(tmp_path, "--", target) == jobs


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        (FIRST.replicate(2).frame("adam"), {"train_section2_1_seeds": 4, "frame_section2_1_seeds": 1}),
        (FIRST.replicate(2).frame("lbfgs"), {"train_section2_1_seeds": 2, "frame_section2_1_seeds": 1}),
        (FIRST.record(FIRST.replicate(2).training("lm", 1)), {"train_section2_1_seeds": 1}),
        (FIRST.frame("lbfgs"), {"train_section2_1": 2, "frame_section2_1": 1}),
        (MERGING.replicate(2).frame("experts"), {"train_expert": 2, "frame_section2_3_seeds": 1}),
        (
            MERGING.record(MERGING.replicate(2).training("control", 1)),
            {"train_expert": 1, "merge_experts_seeds": 1, "train_control_seeds": 1},
        ),
        (MERGING.record(MERGING.expert(0, 1, 2, 1001)), {"train_expert": 1}),
        (
            "section2_2",
            {**section_jobs("section2_2", 6), "train_section2_2_seeds": 6, "frame_section2_2_seeds": 3},
        ),
        (
            "seeds",
            {
                "seeds": 1,
                **{f"train_section2_{section}_seeds": 6 for section in (1, 2)},
                **{f"frame_section2_{section}_seeds": 3 for section in (1, 2)},
            },
        ),
    ],
)
def test_a_target_of_a_seed_plans_that_seed(tmp_path, target, jobs):
    assert plan(tmp_path, *TWO, "--", target) == jobs


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        (f"{VARIANT.checkpoint('lm', 0, 'final')}_state", {"train_section2_1": 1}),
        (VARIANT.frame("lbfgs"), {"train_section2_1": 1, "frame_section2_1": 1}),
        (VARIANT.frame("lm"), {"train_section2_1": 2, "frame_section2_1": 1}),
        (VARIANT.frame("adam"), {"train_section2_1": 2, "frame_section2_1": 1}),  # not compared, but asked for
        (VARIANT.replicate(2).frame("lm"), {"train_section2_1_seeds": 2, "frame_section2_1_seeds": 1}),
    ],
)
def test_a_target_of_a_variant_plans_that_variant(tmp_path, target, jobs):
    assert plan(tmp_path, *DEEP, "--", target) == jobs


@pytest.mark.parametrize("profile", ["slurm", "pbs"])
def test_cluster_profiles_pass_a_dry_run(tmp_path, profile):
    assert plan(tmp_path, "--profile", ROOT / "workflow" / "profiles" / profile)["train_section2_1"] == 12


def test_the_default_profile_passes_a_dry_run(tmp_path):
    assert plan(tmp_path, "--workflow-profile", PROFILE, smoke=True)["train_section2_1"] == 6
