"""Runs for the readers of the study's original scripts, which are tried here as those scripts read."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from kanbench.cli.main import main
from kanbench.network.initialization import initialize
from kanbench.storage.checkpoints import write_checkpoint
from kanbench.storage.runs import open_run
from support.old_formats import plain_frame
from support.original import merging, section_1_newest
from support.results import STAMP


def exported(results, folder, *options):
    return main(["migrate", "--for-original", str(folder), "--results-dir", str(results), *options])


def read_as_they_do(folder, section, timestamp):
    """`{what follows the last underscore: frame}`, of the files that their pattern finds."""
    number = section.split("_")[1]
    paths = Path(folder, f"sec{number}_results").glob(f"{section}_{timestamp}_*.pkl")
    return {path.stem.split("_")[-1]: pd.read_pickle(path) for path in sorted(paths)}


def test_merging_has_one_row_for_every_grid(tiny_results, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(Path(tiny_results) / "sec3_results", results / "sec3_results")
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert exported(results, tmp_path / "out") == 0
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    ours = open_run("section2_3", STAMP, results_dir=results).frames
    found = read_as_they_do(tmp_path / "out", "section2_3", STAMP)
    history, own = found["history"], ours["grid_history"]
    assert not history.duplicated(["dataset_idx", "grid_size"]).any()
    assert len(history) == own.groupby(["dataset_idx", "grid_size"]).ngroups
    for row in history.to_dict("records"):
        stage = own[(own["dataset_idx"] == row["dataset_idx"]) & (own["grid_size"] == row["grid_size"])]
        assert row["final_train_loss"] == stage["train_loss"].iloc[-1]
        assert row["final_test_loss"] == stage["test_loss"].iloc[-1]
    counts = history.groupby("dataset_idx").size()
    assert found["summary"].set_index("dataset_idx")["grids_completed"].to_dict() == counts.to_dict()
    assert "final_train_loss" not in own and "grids_completed" not in ours["summary"]


@pytest.mark.parametrize(
    ("section", "width", "kind"),
    [
        ("section2_1_highd_3d_shallow", [3, 5, 1], "shallow"),
        ("section2_1_highd_3d_deep", [3, 3, 2, 1], "deep"),
        ("section2_1_in_3d", [3, 3, 2, 1], "deep"),
        ("section2_1_in_3d", [3, 2, 1], "shallow"),
    ],
)
def test_frames_of_variants_tell_dimension_and_architecture(section, width, kind, tmp_path):
    folder = tmp_path / "sec1_results"
    folder.mkdir()
    frame = plain_frame("lbfgs").query("dataset_idx == 0").assign(dataset_name="poisson_3d_sin")
    frame.to_pickle(folder / f"{section}_{STAMP}_e2_lbfgs.pkl")
    write_checkpoint(initialize(width, 3), folder / f"{section}_{STAMP}_e2_lbfgs_0_final", [[0.0] * 3])
    assert exported(tmp_path, tmp_path / "out") == 0
    made = read_as_they_do(tmp_path / "out", section, STAMP)["lbfgs"]
    assert set(made["dimension"]) == {3} and set(made["architecture_type"]) == {kind}
    assert set(made["architecture"]) == {str([[nodes, 0] for nodes in width])}
    assert len(list((tmp_path / "out" / "sec1_results").glob("*_final_*"))) == 3


def test_what_cannot_be_told_is_not_written(tmp_path):
    folder = tmp_path / "sec1_results"
    folder.mkdir()
    plain_frame("lbfgs").to_pickle(folder / f"section2_1_highd_3d_deep_{STAMP}_e2_lbfgs.pkl")  # `sin`, and no model
    assert exported(tmp_path, tmp_path / "out") == 0
    made = read_as_they_do(tmp_path / "out", "section2_1_highd_3d_deep", STAMP)["lbfgs"]
    assert {"dimension", "architecture", "architecture_type"}.isdisjoint(made)


def test_a_run_of_the_original_comes_out_in_mean_squared_errors(tmp_path):
    results, out = tmp_path / "results", tmp_path / "out"
    merging(results)
    assert exported(results, out, "--dry-run") == 0
    assert not out.exists()
    assert exported(results, out) == 0
    stored = open_run("section2_3", results_dir=results)
    made = read_as_they_do(out, "section2_3", stored.run.timestamp)["history"]
    assert (made["final_test_loss"] ** 0.5).tolist() == pytest.approx(
        stored.frames["grid_history"]["final_test_loss"].tolist()
    )


def test_all_configurations_and_converted_metadata_come_out(tmp_path):
    results, out = tmp_path / "results", tmp_path / "out"
    stored = open_run(section_1_newest(results), results_dir=results)
    assert exported(results, out) == 0
    found = read_as_they_do(out, "section1_1", stored.run.timestamp)
    assert len(found["mlp"]) == len(stored.frames["mlp"])
    kept, rows = found["metadata"]["kan"][0]["final"], found["kan"][found["kan"]["dataset_idx"] == 0]
    assert kept["epoch"] == rows["epoch"].max()
    assert kept["test_loss"] == pytest.approx(rows["test_loss"].iloc[-1], rel=1e-5)


def test_a_run_is_not_written_over(tmp_path, capsys):
    merging(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert exported(tmp_path, tmp_path) == 1
    assert "already exists" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_ways_at_once_are_refused(tmp_path, capsys):
    assert exported(tmp_path, tmp_path / "out", "--delete-json") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--for-original" in error and "--delete-json" in error
