"""What is derived from the columns of frames, against answers worked out by hand and by pandas."""

import numpy as np
import pandas as pd
import pytest

from kanbench.analysis.moments import iso_compute
from kanbench.errors import InputError
from kanbench.storage import derive

LOSSES = {0: [5.0, 2.0, 1.0, 1.04, 1.2, 1.3, 0.1], 1: [4.0, 3.0, 3.1, 2.0]}  # the last of 0 comes after the threshold
GRIDS = [3, 3, 5, 5, 10, 10, 20]


def frame(factor=1.0, optimizer="adam"):
    rows = [
        {
            "dataset_idx": i,
            "dataset_name": ("sin", "poly")[i],
            "grid_size": GRIDS[epoch - 1],
            "epoch": epoch,
            "test_loss": loss,
            "time": factor * epoch,
            "optimizer": optimizer,
        }
        for i, losses in LOSSES.items()
        for epoch, loss in enumerate(losses, start=1)
    ]
    return pd.DataFrame(rows)


def test_what_the_columns_tell():
    one = frame()
    assert derive.grids(one) == [3, 5, 10, 20] == sorted(one["grid_size"].unique())
    assert derive.dataset_names(one) == ["sin", "poly"]  # not by name: "poly" is dataset 1
    assert derive.num_datasets(one) == 2
    assert derive.total_epochs(one) == {0: 7, 1: 4}
    assert derive.final_grid(one) == {0: 20, 1: 5}
    assert derive.epochs_per_grid(one) == 2
    assert all(type(grid) is int for grid in derive.grids(one))


def test_the_frames_of_a_run_together():
    short = frame(optimizer="lm").query("epoch < 3 and dataset_idx == 1")
    short.attrs = {"array": np.zeros(3)}  # which pandas cannot compare
    run = {"lm": short, "adam": frame(), "other": pd.DataFrame({"x": [1]})}
    assert derive.grids(run) == [3, 5, 10, 20]
    assert derive.dataset_names(run) == ["sin", "poly"]
    assert derive.DERIVABLE["optimizers"][1](run) == ["adam", "lm"]
    with pytest.raises(InputError, match="no frame with the column 'depth'"):
        derive.DERIVABLE["depths"][1](run)


@pytest.mark.parametrize(
    "derive_it",
    [derive.total_epochs, derive.final_grid, derive.epochs_per_grid, derive.threshold_rows, derive.num_datasets],
)
def test_a_column_that_is_not_there_is_one_line(derive_it):
    with pytest.raises(InputError, match=r"no frame with the columns? 'dataset_idx'"):
        derive_it(frame().drop(columns="dataset_idx"))


def test_rows_in_any_order_give_the_same():
    mixed = frame().sample(frac=1, random_state=1)
    assert derive.final_grid(mixed) == {0: 20, 1: 5}
    assert derive.threshold_rows(mixed)["epoch"].to_dict() == {0: 3, 1: 4}


def test_the_threshold_is_the_best_epoch_before_two_that_are_worse():
    rows = derive.threshold_rows(frame())
    assert rows["epoch"].to_dict() == {0: 3, 1: 4}
    assert rows["test_loss"].to_dict() == {0: 1.0, 1: 2.0}
    assert derive.threshold_rows(frame(), patience=3)["epoch"].to_dict() == {0: 7, 1: 4}
    assert derive.threshold_rows(frame(), tolerance=0.5)["epoch"].to_dict() == {0: 7, 1: 4}


def test_a_training_without_a_finite_loss_has_no_threshold():
    lost = frame()
    lost.loc[lost["dataset_idx"] == 1, "test_loss"] = np.nan
    assert derive.threshold_rows(lost)["epoch"].to_dict() == {0: 3}


def test_the_summary_of_thresholds():
    table = derive.threshold_summary({"lm": frame(), "adam": frame(2.0)})
    assert table["time"].to_dict() == {(0, "lm"): 3, (0, "adam"): 6, (1, "lm"): 4, (1, "adam"): 8}
    assert table["dataset_name"].to_dict()[(1, "lm")] == "poly"


def test_iso_compute_without_metadata():
    run = {"adam": frame(0.5), "lbfgs": frame(), "lm": frame(100)}
    for one in run.values():
        one.attrs["section"] = "section2_1_highd"
    iso = iso_compute(run, by="time")
    assert iso["epoch"].to_dict() == {(0, "adam"): 6, (1, "adam"): 4, (0, "lbfgs"): 3, (1, "lbfgs"): 4}
    run["adam"] = run["adam"].drop(columns="time")
    with pytest.raises(InputError, match="adam has no column 'time'"):
        iso_compute(run, by="time")
    del run["lbfgs"]
    with pytest.raises(InputError, match="the reference lbfgs is missing; found adam, lm"):
        iso_compute(run, by="time")


def test_iso_compute_by_flops():
    """The reference's threshold is at its epochs 3 and 4, after 30 and 40 flops."""
    run = {"adam": frame(), "lbfgs": frame(), "lm": frame()}
    for (name, one), per_epoch in zip(run.items(), (5, 10, 15), strict=True):
        run[name] = one.assign(flops=per_epoch * one["epoch"])
        run[name].attrs["section"] = "section2_1"
    assert iso_compute(run)["epoch"].to_dict() == {
        **{(0, "adam"): 6, (1, "adam"): 4},
        **{(0, "lbfgs"): 3, (1, "lbfgs"): 4, (0, "lm"): 2, (1, "lm"): 2},
    }
    recorded = {
        "lbfgs": {0: {"at_threshold": {"epoch": 2, "time": 99.0}}, 1: {"at_threshold": {"epoch": 0, "time": 0.0}}}
    }
    assert iso_compute(run, recorded)["epoch"].to_dict() == {(0, "adam"): 4, (0, "lbfgs"): 2, (0, "lm"): 1}
    del run["lbfgs"]
    with pytest.raises(InputError, match="the reference lbfgs is missing"):
        iso_compute(run, recorded)
    assert len(iso_compute(run, recorded, "time")) == 2  # metadata tell times


def test_iso_compute_of_section_1_is_measured_against_kan():
    run = {"mlp": frame(0.5), "kan": frame()}
    for one in run.values():
        one.attrs["section"] = "section1_1"
    assert iso_compute(run, by="time")["epoch"].to_dict() == {
        (0, "mlp"): 6,
        (1, "mlp"): 4,
        (0, "kan"): 3,
        (1, "kan"): 4,
    }
