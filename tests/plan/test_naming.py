"""File names: written and read back, and refused when they are wrong."""

import time
from datetime import UTC, datetime

import pytest

from kanbench.errors import InputError
from kanbench.plan.naming import FileName, Run, parse
from kanbench.plan.sections import SECTIONS, is_timestamp, is_variant, new_timestamp, with_variant, without_variant

RUN = Run("section2_1", "20260101_000000", 10)
MERGE = Run("section2_3", "20260101_000000")
STEM = "section2_1_20260101_000000_e10"


def test_the_contracts_names():
    folder = "results/sec1_results"
    assert RUN.frame("adam") == f"{folder}/{STEM}_adam.pkl"
    assert RUN.frame("adam", "parquet") == f"{folder}/{STEM}_adam.parquet"
    assert RUN.checkpoint_metadata() == f"{folder}/{STEM}_checkpoint_metadata.pkl"
    assert RUN.checkpoint("lm", 2, "final") == f"{folder}/{STEM}_lm_2_final"
    assert RUN.checkpoint_files("lm", 2)[0] == f"{folder}/{STEM}_lm_2_at_threshold_config.yml"
    assert Run("section2_3", "20260101_000000").name == "section2_3_20260101_000000"
    assert Run("section2_2", "20260101_000000", 5).frame("adaptive_only").startswith("results/sec2_results/")
    assert len(RUN.deliverables(4)) == 6 + 1 + 24 * 3


def test_a_run_in_a_folder_of_its_own():
    run = Run("section2_1", "20260101_000000", 10, folder_override="mail")
    assert run.frame("adam") == f"mail/{STEM}_adam.pkl"
    assert run.record("x") == "results/trainings/x.json"


def test_replicates_are_frames_in_parquet_and_nothing_else():
    replicate = RUN.replicate(7)
    assert replicate.deliverables(4) == [f"results/seeds/{STEM}_s7_{m}.parquet" for m in ("adam", "lbfgs", "lm")]
    assert replicate.training("lm", 2) == f"{STEM}_lm_2_s7"
    assert replicate.record("x") == "results/trainings/x.json"
    merged = MERGE.replicate(7)
    assert merged.frame("summary") == "results/seeds/section2_3_20260101_000000_s7_summary.parquet"
    assert merged.training("merge_kan", 0) == "section2_3_20260101_000000_merge_kan_0_s7"
    assert merged.expert(0, 2, 3, 1001) == MERGE.expert(0, 2, 3, 1001)  # has its own seed
    assert merged.checkpoint_files("merge_kan", 0) == []
    assert replicate.replicate(None) == RUN


def test_names_are_read_back():
    assert parse(RUN.frame("adam")) == FileName(RUN, frame="adam")
    assert parse(RUN.checkpoint_metadata()) == FileName(RUN)
    lm = FileName(RUN, model_type="lm", dataset_idx=12)
    assert parse(RUN.training("lm", 12)) == lm
    assert parse(RUN.record(RUN.training("lm", 12))) == lm
    for path in RUN.checkpoint_files("lbfgs", 0):
        assert parse(path) == FileName(RUN, model_type="lbfgs", dataset_idx=0)
    adaptive = Run("section2_2", "20260101_000000", 10)
    assert parse(adaptive.frame("adaptive_only", "parquet")) == FileName(adaptive, frame="adaptive_only")
    for frame in ("summary", "experts", "selected_experts", "grid_history"):
        assert parse(MERGE.frame(frame)) == FileName(MERGE, frame=frame)
    assert parse(MERGE.training("merge_kan", 3)) == FileName(MERGE, model_type="merge_kan", dataset_idx=3)
    assert parse(MERGE.record(MERGE.training("control", 3))).model_type == "control"
    expert = FileName(MERGE, model_type="expert", dataset_idx=1, expert=(2, 3, 10))
    assert parse(MERGE.expert(1, 2, 3, 10)) == expert
    assert parse(MERGE.record(MERGE.expert(1, 2, 3, 10))) == expert
    assert parse(f"{MERGE.expert_checkpoint(MERGE.expert(1, 2, 3, 10))}_state") == expert
    for path in (*RUN.table_files(), f"{RUN.figure_folder}/comparison.png"):  # the run is that of the folder
        assert parse(path) == FileName(RUN)
    for run in (RUN.replicate(0), MERGE.replicate(12)):
        frame, model_type = ("adam", "lm") if run.epochs else ("selected_experts", "control")
        assert parse(run.frame(frame)) == FileName(run, frame=frame)
        training = FileName(run, model_type=model_type, dataset_idx=3)
        assert parse(run.training(model_type, 3)) == parse(run.record(run.training(model_type, 3))) == training


@pytest.mark.parametrize(
    "name",
    [
        f"{STEM}_sgd.pkl",
        f"{STEM}_adaptive_only.pkl",  # of another section
        "section2_1_20260101_000000_e010_adam.pkl",
        "section2_1_20260101_e10_adam.pkl",
        "section2_1_20260101_000000_adam.pkl",  # no epochs
        "results/tables/section2_1_20260101_000000/optimizers.csv",
        "section2_1_20260101_000000_e10_summary.pkl",  # of another section
        "section2_3_20260101_000000_e10_summary.pkl",  # no epochs there
        "section2_1_20260101_000000_e10_expert_0_d2_k3_s1",
        "section2_3_20260101_000000_expert_0_d2_k3",
        "section9_1_20260101_000000_e10_adam.pkl",
        f"{STEM}_adam_0_final",
        f"{STEM}_adam_0_last_state",
        f"{STEM}_adam.csv",
        f"{STEM}_s1_adam.pkl",
        f"{STEM}_s01_adam.parquet",
        f"{STEM}_s4294967296_adam.parquet",
        f"{STEM}_s1_checkpoint_metadata.pkl",
        f"{STEM}_adam_0_s1_final_state",
        f"{STEM}_adaptive_only_0_s1",
        "section2_1_20261399_000000_e10_adam.pkl",
        "notes.txt",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="allowed") as error:
        parse(name)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_names_of_variants():
    run = Run("section2_1_highd_3d_shallow", "20260101_000000", 10)
    assert run.frame("lm") == "results/sec1_results/section2_1_highd_3d_shallow_20260101_000000_e10_lm.pkl"
    assert run.kind is RUN.kind
    assert parse(run.frame("lm")) == FileName(run, frame="lm")
    assert parse(run.record(run.training("lm", 12))) == FileName(run, model_type="lm", dataset_idx=12)
    merged = Run("section2_3_wide", "20260101_000000")
    assert parse(merged.frame("summary", "parquet")) == FileName(merged, frame="summary")
    assert parse(merged.expert(1, 2, 3, 10)).expert == (2, 3, 10)
    assert run.deliverables(1, ["lbfgs", "lm"]) == [path for path in run.deliverables(1) if "_adam" not in path]
    assert len(merged.deliverables(1, ["merge_kan"])) == 2 * 4 + 1 + 2 * 3
    for section in SECTIONS:
        assert without_variant(with_variant(section, None)) == section
        assert without_variant(with_variant(section, "a_1")) == section
    assert without_variant("section2_10") == "section2_10"
    assert [name for name in ("a", "a_1b", "1a", "A", "a-b", "", "a_20260101_000000") if is_variant(name)] == [
        "a",
        "a_1b",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "section2_1_highd_3d_shallow_20260101_000000_e10_summary.pkl",  # of another section
        "section2_3_wide_20260101_000000_e10_summary.pkl",  # no epochs there
        "section2_1_Wide_20260101_000000_e10_lm.pkl",
        "section2_1__20260101_000000_e10_lm.pkl",
    ],
)
def test_other_names_of_variants_are_refused(name):
    with pytest.raises(InputError, match="allowed"):
        parse(name)


def test_the_training_of_a_name():
    for run, training in ((RUN.replicate(7), RUN.replicate(7).training("lm", 2)), (MERGE, MERGE.expert(1, 2, 3, 10))):
        assert parse(run.record(training)).training == training
    assert parse(RUN.checkpoint_files("lm", 2)[0]).model == ("lm", 2)
    for name in (RUN.frame("adam"), RUN.checkpoint_metadata()):
        with pytest.raises(InputError, match="no training"):
            parse(name).training  # noqa: B018


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no time zones to choose from")
def test_new_timestamps_do_not_depend_on_the_time_zone(monkeypatch):
    try:
        for zone in ("Asia/Tokyo", "XYZ-9", "UTC", "ABC+11"):  # hours west of Greenwich
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            before, made, after = (
                f"{datetime.now(UTC):%Y%m%d_%H%M%S}",
                new_timestamp(),
                f"{datetime.now(UTC):%Y%m%d_%H%M%S}",
            )
            assert before <= made <= after
    finally:
        monkeypatch.undo()
        time.tzset()


def test_timestamps():
    assert is_timestamp(new_timestamp())
    assert is_timestamp("20240229_235959")
    assert not any(map(is_timestamp, ["20230229_000000", "20240101_240000", "20240101000000", "2024_01_01", ""]))
