"""What the rules make of what, without Snakemake: timestamp, targets, inputs and settings."""

import cProfile
import json
import re

import pytest

from kanbench.errors import InputError
from kanbench.plan.config import ROOT, check, load_config, merge
from kanbench.plan.inputs import Pipeline, current_timestamp, write_pin
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS, is_timestamp
from kanbench.plan.settings import (
    canonical_json,
    control_settings,
    expert_settings,
    merge_settings,
    training_settings,
)

STAMP = "20260101_000000"
SMOKE = load_config(ROOT / "config" / "smoke.yaml")


def pipeline(**over):
    return Pipeline(check(merge(SMOKE, over)), STAMP)


@pytest.fixture
def pin(tmp_path):
    return tmp_path / "results" / "timestamp"


def test_a_configured_timestamp_is_the_run_s(pin):
    write_pin("20250101_000000", pin)
    assert current_timestamp(STAMP, True, pin) == STAMP


def test_the_pinned_timestamp_goes_on(pin):
    assert is_timestamp(current_timestamp("auto", True, pin))
    write_pin(STAMP, pin)
    assert current_timestamp("auto", True, pin) == STAMP
    assert current_timestamp("new", True, pin) not in (STAMP, "new")
    assert current_timestamp("new", False, pin) == STAMP  # a job of the run that was begun


def test_a_damaged_pin_is_refused(pin):
    write_pin("yesterday", pin)
    with pytest.raises(InputError, match="YYYYMMDD_HHMMSS") as error:
        current_timestamp("auto", True, pin)
    assert (error.value.where, error.value.found) == (str(pin), "'yesterday'")


@pytest.mark.parametrize(
    ("timestamp", "targets", "kept"),
    [
        ("auto", [], True),
        ("auto", ["section2_1"], True),
        ("new", ["all"], True),
        ("auto", [f"results/sec1_results/section2_1_{STAMP}_e3_lm.pkl"], False),
        (STAMP, [], False),
    ],
)
def test_the_timestamp_of_named_files_is_not_kept(timestamp, targets, kept):
    assert pipeline(timestamp=timestamp).is_pinned(targets) == kept


def test_runs_are_of_the_configured_variant():
    assert pipeline().run("section2_1").name == f"section2_1_{STAMP}_e3"
    assert pipeline().pattern("section2_3").name == "section2_3_{timestamp}"
    wide = pipeline(variant="wide")
    assert wide.pattern("section2_2").name == "section2_2_wide_{timestamp}_e{epochs}"
    assert (pipeline().page, wide.page) == ("results/report.html", "results/report_wide.html")


def test_the_results_of_all_seeds_are_delivered():
    one, two = pipeline(), pipeline(seeds=[1, 2], merge_kan={"seeds": 2})
    for section in SECTIONS:
        run = one.run(section)
        assert one.replicate_frames(run) == []
        frames = two.replicate_frames(run)
        assert frames == [run.replicate(2).frame(frame) for frame in SECTIONS[section].frames]
        assert set(two.results(section)) - set(one.results(section)) == set(frames)
        assert set(one.figures(run)) | set(run.table_files()) | set(one.deliverables(run)) == set(one.results(section))
        assert set(two.table_inputs(run)) - set(one.table_inputs(run)) == set(frames)


def test_merging_has_the_first_few_of_the_seeds():
    of = pipeline(seeds=[3, 5, 4], merge_kan={"seeds": 2})
    assert [[run.seed for run in of.replicates(of.run(section))] for section in SECTIONS] == [[5, 4], [5, 4], [5]]
    of.check_targets([of.run("section2_3").replicate(4).frame("summary")])  # by its name it can be made
    one = pipeline(seeds=[3, 5], sections=["section2_3"])
    assert one.replicate_frames(one.run("section2_3")) == []
    with pytest.raises(InputError, match=r"merge_kan\.seeds"):
        one.check_targets(["seeds"])


def test_the_records_of_all_seeds_but_the_first():
    of = pipeline(seeds=[1, 7, 3])
    run = of.run("section2_1")
    of_seeds = [run.replicate(seed) for seed in (7, 3)]
    assert of.replicate_records(run, ["lm"], [1]) == [each.record(each.training("lm", 1)) for each in of_seeds]
    assert of.replicate_records(run, ["lm"]) == [
        each.record(each.training("lm", i)) for each in of_seeds for i in of.datasets
    ]
    assert of.replicate_frames(run, ["lm"]) == [each.frame("lm") for each in of_seeds]


def test_only_the_compared_optimizers_are_made():
    some = pipeline(optimizers={"compared": ["lbfgs", "lm"]})
    run = some.run("section2_1")
    assert some.table_inputs(run) == [run.frame("lbfgs"), run.frame("lm"), run.checkpoint_metadata()]
    assert not any("adam" in path for path in some.results("section2_1"))


def test_figures_and_tables_are_described():
    of, run = pipeline(), pipeline().run("section2_1")
    figures, tables = of.figure_reports(run), of.table_reports(run)
    assert list(figures) == of.figures(run, "png")
    assert list(tables) == run.table_files("html")
    assert figures[f"{run.figure_folder}/slices_poisson_2d_sin.png"]["labels"]["dataset"] == "poisson_2d_sin"
    for description in (*figures.values(), *tables.values()):
        assert description["category"] == f"2.1 {SECTIONS['section2_1'].question}"
        assert (ROOT / "workflow" / "rules" / description["caption"]).is_file()


def test_a_merged_model_has_the_experts_of_its_seed():
    of, wildcards = pipeline(seeds=[1, 2]), {"timestamp": STAMP, "dataset_idx": "1"}
    run = of.run("section2_3")
    first, second = (of.merge_inputs({**wildcards, **seed}) for seed in ({}, {"seed": "2"}))
    assert first["experts"] == [run.record(run.expert(1, depth, k, 1)) for depth in (1, 2) for k in (2, 3)]
    assert second["experts"] == [run.record(run.expert(1, depth, k, 1001)) for depth in (1, 2) for k in (2, 3)]
    assert len(first["checkpoints"]) == 3 * len(first["experts"])
    together = [
        name.format(timestamp=STAMP, dataset_idx=1, seed=1) for name in of.experts_of_seed(of.pattern("section2_3"))
    ]
    assert [run.record(name) for name in together] == first["experts"]  # with one seed, one job
    assert f"{run.expert_checkpoint(run.expert(1, 2, 3, 1))}_state" in first["checkpoints"]
    control = of.control_inputs({**wildcards, "seed": "2"})
    assert control == {"merged": [run.record(run.replicate(2).training("merge_kan", 1))], "experts": second["experts"]}


@pytest.mark.parametrize(
    ("frame", "parts"),
    [
        ("experts", {"experts": 8}),
        ("grid_history", {"experts": 8, "merged": 2}),
        ("summary", {"experts": 8, "merged": 2, "controls": 2}),
    ],
)
def test_a_frame_of_merging_needs_what_it_shows(frame, parts):
    inputs = pipeline().merge_frame_inputs({"timestamp": STAMP, "frame": frame})
    assert {part: len(files) for part, files in inputs.items()} == parts


def test_settings_are_those_of_the_training():
    of = pipeline(seeds=[1, 2])
    first, second = {"dataset_idx": "1"}, {"dataset_idx": "1", "seed": "2"}
    for line, settings in (
        (of.training_settings({**first, "model_type": "lm"}), training_settings(of.config, "section2_1", "lm", 1)),
        (
            of.training_settings({**first, "model_type": "baseline"}),
            training_settings(of.config, "section2_2", "baseline", 1),
        ),
        (of.expert_settings({**second})[1], expert_settings(of.config, 1, 1, 3, 2)),
        (of.merge_settings(first), merge_settings(of.config, 1)),
        (of.merge_settings(second), merge_settings(of.config, 1, 2)),
        (of.control_settings(second), control_settings(of.config, 1, 2)),
    ):
        assert line == canonical_json(settings)
        assert "\n" not in line
        assert json.loads(line)["problem"] == of.config["datasets"][1]


def test_planning_many_seeds_is_little_work_for_every_job():
    """In calls of functions, which are as many on every machine: 330 a job where this was written."""
    of = Pipeline(load_config(ROOT / "config" / "seeds.yaml"), STAMP)
    at = [{"timestamp": STAMP, "dataset_idx": str(i)} for i in of.datasets]
    merging = [{**where, "seed": str(seed)} for where in at for seed in of.config["seeds"][1:5]]
    trained = [{**where, "seed": str(1000 * p + own)} for where in at for p in range(5) for own in (1, 2, 3, 4, 5)]
    with cProfile.Profile() as profile:
        for wildcards in trained:
            of.problem_file(wildcards)
            of.expert_settings(wildcards)
        for wildcards in [*at, *merging]:
            of.problem_file(wildcards)
            of.merge_inputs(wildcards)
            of.merge_settings(wildcards)
    jobs = len(trained) + len(at) + len(merging)
    calls = sum(entry.callcount for entry in profile.getstats())
    assert jobs == 120
    assert calls / jobs < 700


@pytest.mark.parametrize(
    ("path", "title"),
    [
        (Run("section2_1", STAMP, 3).checkpoint_files("lbfgs", 1)[0], "L-BFGS on poisson_2d_sin"),
        (f"results/trainings/section2_1_{STAMP}_e3_adam_0_s7.json", "Adam on poisson_2d_poly (further seeds)"),
        (f"results/sec2_results/section2_2_{STAMP}_e3_adaptive_regular.pkl", "adaptive + regular"),
        (f"results/seeds/section2_2_{STAMP}_e3_s2_baseline.parquet", "baseline (further seeds)"),
        (
            f"results/trainings/section2_3_{STAMP}_expert_1_d1_k2_s1004_state",
            "experts on poisson_2d_sin (seed 1004)",
        ),
        (f"results/trainings/section2_3_{STAMP}_merge_kan_1_s2.json", "the merged model on poisson_2d_sin (seed 2)"),
        (f"results/trainings/section2_3_{STAMP}_control_0.json", "the control on poisson_2d_poly"),
        (f"results/seeds/section2_3_{STAMP}_s2_grid_history.parquet", "grid_history (seed 2)"),
        (Run("section2_3", STAMP).checkpoint_metadata(), "Section 2.3"),
        (f"results/figures/section2_1_wide_{STAMP}_e3/comparison.png", "Section 2.1"),
    ],
)
def test_a_job_is_named_in_words_by_what_it_makes(path, title):
    assert pipeline().title(path) == title


# --- targets ---

FOUR = {
    "datasets": load_config()["datasets"],
    "experts": {"depths": [2], "orders": [2, 3]},
    "merge_kan": {"n_selected": 2},
    "seeds": [1, 2, 7],
}
RUN, MERGING = Run("section2_1", STAMP, 10), Run("section2_3", STAMP)
STEM = f"section2_1_{STAMP}_e10"
FIGURES = "results/figures/section2_2"
OTHER = "20260909_101112"


def test_what_can_be_made_is_accepted():
    """Of any timestamp and number of epochs."""
    of = pipeline(**FOUR)
    assert len(of.datasets) == 4
    of.check_targets([*of.target_rules, *of.results("section2_1")])
    for run in (RUN, Run("section2_2", STAMP, 3), MERGING):
        training = run.training(run.kind.model_types[0], 3)
        of.check_targets([*run.deliverables(4), *run.table_files(), *of.figures(run), run.record(training)])
    experts = [MERGING.expert(3, 2, k, seed) for k in (2, 3) for seed in (1, 1001, 2001)]
    of.check_targets([MERGING.record(MERGING.training("control", 3)), *map(MERGING.record, experts)])
    of.check_targets([f"{MERGING.expert_checkpoint(experts[0])}_state"])
    for run in (RUN.replicate(7), MERGING.replicate(2)):
        training = run.training("lm" if run.epochs else "merge_kan", 3)
        of.check_targets([*run.deliverables(4), run.record(training)])


@pytest.mark.parametrize(
    ("path", "found", "allowed"),
    [
        (f"results/tables/{STEM}/density.csv", "", f"results/tables/{STEM}/summary.csv, or one of "),
        (f"tables/{STEM}/summary.md", "", f"results/tables/{STEM}/summary.md"),
        (f"results/figures/{STEM}/grids.png", "", f"results/figures/{STEM}/params.png, or one of "),
        (f"{FIGURES}_{STAMP}_e3/surface_in_5d.pdf", "", "surface_poisson_2d_sin.pdf, or one of "),
        (f"{FIGURES}_{STAMP}_e3/grids.svg", "", "grids.png, or one of "),
        (f"{FIGURES}_{STAMP}/grids.png", "no epochs", f"section2_2_{STAMP}_eEPOCHS"),
        (f"results/tables/section2_1_{STAMP}/optimizers.csv", "no epochs", f"section2_1_{STAMP}_eEPOCHS"),
        (MERGING.table_files()[0].replace("000000", "250000"), "'20260101_250000'", "a date and time"),
        (RUN.frame("adam").replace("sec1", "sec2"), "", RUN.frame("adam")),
        (f"{STEM}_adam.pkl", "", RUN.frame("adam")),
        (f"results/sec1_results/{STEM}_lm_0", "", f"results/sec1_results/{STEM}_lm.pkl"),
        (f"results/sec1_results/{STEM}_lm_4_final_state", "dataset 4", "0, 1, 2, 3"),
        (MERGING.frame("experts").replace("sec3", "sec1"), "", MERGING.frame("experts")),
        (MERGING.record(MERGING.expert(1, 2, 4, 1)), "expert d2_k4_s1", "d2_k2_s1, d2_k3_s1"),
        (MERGING.record(MERGING.expert(4, 2, 2, 1)), "dataset 4", "0, 1, 2, 3"),
        (RUN.replicate(1).frame("adam"), "seed 1", "2, 7"),
        (RUN.replicate(7).frame("adam").replace("seeds", "sec1_results"), "", RUN.replicate(7).frame("adam")),
        (RUN.replicate(7).frame("adam").replace("_e10", ""), "no epochs", f"section2_1_{STAMP}_eEPOCHS"),
        (RUN.record(RUN.replicate(7).training("lm", 4)), "dataset 4", "0, 1, 2, 3"),
    ],
)
def test_files_that_nothing_makes_are_refused(path, found, allowed):
    with pytest.raises(InputError) as error:
        pipeline(**FOUR).check_targets([path])
    assert (error.value.where, error.value.found) == (path, found)
    assert allowed in error.value.allowed


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("section2_4", "section2_3, seeds, figures"),
        ("seeds", "two seeds"),
        (f"results/trainings/section2_3_{STAMP}_expert_0_d1_k2_s1001.json", "d1_k2_s1"),
        (f"results/sec3_results/section2_3_{STAMP}_e10_experts.pkl", "without epochs"),
        (f"section2_1_{STAMP}_e3_s2_adam.parquet", "none"),
        ("results/sec1_results/section2_1_2026-01-01_e3_adam.pkl", f"section2_1_{STAMP}_e3_adam.pkl"),
        ("results/figures/section2_2_2026/grids.png", f"section2_2_{STAMP}_e3/grids.png"),
        (f"results/seeds/section2_1_{STAMP}_e3_s2_adam.pkl", f"section2_1_{STAMP}_e3_adam.pkl"),
        (f"results/sec1_results/section2_1_{OTHER}_e7_adm.pkl", f"section2_1_{OTHER}_e7_adam.pkl"),
        (f"results/trainings/section2_1_{OTHER}_e7_lm_0.jsn", f"trainings/section2_1_{OTHER}_e7_lm_0.json"),
        ("results/report.htm", "results/report.html"),
    ],
)
def test_a_wrong_target_is_refused(target, allowed):
    with pytest.raises(InputError, match=allowed) as error:
        pipeline().check_targets(["all", target])
    assert target in str(error.value) and len(str(error.value)) < 300


def test_a_wrong_expert_among_many_is_one_short_line():
    with pytest.raises(InputError) as error:
        pipeline(seeds=[1, 2, 3, 4, 5]).check_targets([MERGING.record(MERGING.expert(0, 9, 9, 1))])
    assert len(str(error.value)) < 200 and re.search(r"allowed: d\d_k\d_s1, or one of \d+ others$", str(error.value))


def test_targets_are_of_the_configured_variant():
    run, none, wide, other = Run("section2_1_wide", STAMP, 10), *(pipeline(variant=v) for v in (None, "wide", "other"))
    wide.check_targets(wide.results("section2_1"))
    for path in run.deliverables(2):
        wide.check_targets([path])
        for of in (none, other):
            with pytest.raises(InputError) as error:
                of.check_targets([path])
            assert error.value.found == "section2_1_wide"
    for path in (RUN.frame("adam"), f"results/figures/{STEM}/comparison.png"):
        with pytest.raises(InputError, match="section2_1_wide") as error:
            wide.check_targets([path])
        assert error.value.found == "section2_1"
