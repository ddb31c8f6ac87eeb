"""File names: written and read back, and refused when they are wrong."""

import pytest

from kanbench.errors import InputError
from kanbench.naming import FileName, Run, check_target, is_timestamp, new_timestamp, parse

RUN = Run("section2_1", "20260101_000000", 10)
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


def test_names_are_read_back():
    assert parse(RUN.frame("adam")) == FileName(RUN, "adam")
    assert parse(RUN.checkpoint_metadata()) == FileName(RUN)
    assert parse(RUN.history("lm", 12)) == FileName(RUN, "lm", 12)
    assert parse(RUN.training("lm", 12)) == FileName(RUN, "lm", 12)
    for path in RUN.checkpoint_files("lbfgs", 0):
        assert parse(path) == FileName(RUN, "lbfgs", 0)
    adaptive = Run("section2_2", "20260101_000000", 10)
    assert parse(adaptive.frame("adaptive_only", "parquet")) == FileName(adaptive, "adaptive_only")


@pytest.mark.parametrize(
    "name",
    [
        f"{STEM}_sgd.pkl",
        f"{STEM}_adaptive_only.pkl",  # of another section
        "section2_1_20260101_000000_e010_adam.pkl",
        "section2_1_20260101_e10_adam.pkl",
        "section9_1_20260101_000000_e10_adam.pkl",
        f"{STEM}_adam_0_final",
        f"{STEM}_adam_0_last_state",
        f"{STEM}_adam.csv",
        "section2_1_20261399_000000_e10_adam.pkl",
        "notes.txt",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="allowed") as error:
        parse(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (RUN.frame("adam").replace("sec1", "sec2"), f"allowed: {RUN.frame('adam')}"),
        (f"{STEM}_adam.pkl", f"allowed: {RUN.frame('adam')}"),
        (f"results/sec1_results/{STEM}_lm_4_final_state", "found dataset 4; allowed: 0 to 3"),
        ("results/sec1_results/section2_1_20260101_000000_adam.pkl", "found no epochs"),
        (Run("section2_2", "20260101_000000", 10).frame("baseline"), "found section 'section2_2'; allowed: section2_1"),
    ],
)
def test_targets_that_nothing_makes(path, message):
    with pytest.raises(InputError) as error:
        check_target(path, ["all"], ["section2_1"], 4)
    assert message in str(error.value)


def test_rules_are_targets():
    check_target("all", ["all", "section2_1"], ["section2_1"], 4)
    with pytest.raises(InputError, match="found 'al'; allowed: all, section2_1, or the path"):
        check_target("al", ["all", "section2_1"], ["section2_1"], 4)


def test_every_deliverable_is_a_target():
    for path in [*RUN.deliverables(4), RUN.history("adam", 3)]:
        check_target(path, ["all"], ["section2_1"], 4)


def test_timestamps():
    assert is_timestamp(new_timestamp())
    assert is_timestamp("20240229_235959")
    assert not any(map(is_timestamp, ["20230229_000000", "20240101_240000", "20240101000000", "2024_01_01", ""]))
