"""Runs of earlier formats become runs of the present one, and nothing in them changes."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import kanbench
from kanbench.cli.main import main
from kanbench.errors import InputError
from kanbench.network.initialization import initialize
from kanbench.network.pykan import save_checkpoint, to_pykan
from kanbench.plan.naming import Run
from kanbench.storage import frames, migration
from kanbench.storage.inspection import inspect
from kanbench.storage.metadata import read_metadata
from kanbench.storage.migration import migrate
from kanbench.storage.runs import open_run
from support.old_formats import META, SECTION_1, STAMP, STEM, json_beside, numbers_of_numpy, plain_frame, present, write
from support.results import opened


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def old_run(folder):
    """A run of section 2.1 with everything that the first format had."""
    json_beside(folder)
    for model_type in ("adam", "lbfgs"):
        for name in ("at_threshold", "final"):
            model = to_pykan(initialize([2, 2, 1], 3))
            save_checkpoint(
                model, str(folder / f"{STEM}_{model_type}_0_{name}"), torch.zeros(3, 2, dtype=torch.float64)
            )
    metadata = {"adam": {np.int64(0): {"final": {"epoch": np.int64(4), "dense_mse": np.float64(0.5)}}}}
    metadata = {m: {int(i): rows for i, rows in per_dataset.items()} for m, per_dataset in metadata.items()}
    (folder / f"{STEM}_checkpoint_metadata.pkl").write_bytes(pickle.dumps(metadata))


def test_an_old_run_is_written_in_the_present_format_beside_it(tmp_path):
    folder = tmp_path / "sec1_results"
    old_run(folder)
    before = contents(folder)
    done = migrate(open_run("section2_1", results_dir=tmp_path))
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    new = Run("section2_1", STAMP, 2, str(tmp_path))
    made = {Path(new.frame(m, suffix)).name for m in ("adam", "lbfgs") for suffix in ("pkl", "parquet")}
    made |= {Path(new.checkpoint_metadata()).name}
    made |= {Path(path).name for m in ("adam", "lbfgs") for path in new.checkpoint_files(m, 0)}
    assert set(after) - set(before) == made
    assert done == [f"write {folder / name}" for name in [line.rsplit("/", 1)[1] for line in done]]
    for model_type in ("adam", "lbfgs"):
        for frame in (pd.read_pickle(new.frame(model_type)), pd.read_parquet(new.frame(model_type, "parquet"))):
            pd.testing.assert_frame_equal(
                frame, plain_frame(model_type), check_dtype=False, check_column_type=False, check_exact=True
            )
            assert frame.attrs == {**META, "model_type": model_type}
    plain = pickle.loads(Path(new.checkpoint_metadata()).read_bytes())
    assert plain == {"adam": {0: {"final": {"epoch": 4, "dense_mse": 0.5}}}}
    assert b"numpy" not in Path(new.checkpoint_metadata()).read_bytes()
    assert after[f"{STEM}_e2_lbfgs_0_final_state"] == before[f"{STEM}_lbfgs_0_final_state"]

    assert kanbench.find_run("section2_1", STAMP, results_dir=tmp_path) == new
    assert kanbench.load_run("section2_1", STAMP, results_dir=tmp_path)[1] == META
    assert migrate(opened(new)) == []


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(tmp_path):
    old_run(tmp_path)
    before = contents(tmp_path)
    run = open_run("section2_1", results_dir=tmp_path)
    would = migrate(run, dry_run=True, delete_json=True)
    assert contents(tmp_path) == before
    assert would[-1] == f"delete {tmp_path / f'{STEM}_meta.json'}"
    assert migrate(run, delete_json=True) == would
    assert not (tmp_path / f"{STEM}_meta.json").exists()
    assert kanbench.load_run("section2_1", STAMP, results_dir=tmp_path)[1] == META


def test_checkpoints_that_nothing_is_compared_with_are_not_read(tmp_path, monkeypatch):
    """All at once they may not fit into the memory."""
    old_run(tmp_path / "sec1_results")
    read = []
    monkeypatch.setattr(migration, "read_bytes", lambda path: read.append(path) or Path(path).read_bytes())
    assert len(migrate(open_run("section2_1", results_dir=tmp_path), dry_run=True)) > 12
    assert read == []


def test_frames_that_have_their_names_get_their_attrs(tmp_path):
    write(tmp_path, f"{STEM}_e2", ("adam",))
    (tmp_path / f"{STEM}_e2_meta.json").write_text(json.dumps({"device": "cuda", "lbfgs_threshold_time": 45.2}))
    (tmp_path / f"{STEM}_e2_checkpoint_metadata.pkl").write_bytes(
        pickle.dumps({"adam": {0: {"final": {"time": np.float64(1.5)}}}})
    )
    migrate(open_run("section2_1", results_dir=tmp_path), delete_json=True)
    for frame in (
        pd.read_pickle(tmp_path / f"{STEM}_e2_adam.pkl"),
        pd.read_parquet(tmp_path / f"{STEM}_e2_adam.parquet"),
    ):
        assert frame.attrs == {**META, "device": "cuda", "model_type": "adam"}
    assert b"numpy" not in (tmp_path / f"{STEM}_e2_checkpoint_metadata.pkl").read_bytes()


def test_a_run_of_section_1(tmp_path):
    stem = f"section1_1_{STAMP}"
    write(tmp_path, stem, ("mlp", "kan_pruning"), {"epochs": 2, "device": "cpu", "kan_threshold_time": 12.5})
    torch.save({"weight": torch.ones(2)}, tmp_path / f"{stem}_mlp_0.pth")
    save_checkpoint(to_pykan(initialize([2, 1, 1], 3)), str(tmp_path / f"{stem}_pruned_0"), torch.zeros(1, 2))
    migrate(open_run("section1_1", results_dir=tmp_path))
    _, meta, models = kanbench.load_run("section1_1", STAMP, epochs=2, results_dir=tmp_path, load_models=True)
    assert meta == SECTION_1
    assert (tmp_path / f"{stem}_e2_mlp_0_final.pth").exists()
    assert (tmp_path / f"{stem}_e2_kan_pruning_0_final_state").exists()
    assert list(models) == ["mlp", "kan_pruning"]


def test_what_is_in_the_way_is_left_alone(tmp_path):
    old_run(tmp_path)
    other = tmp_path / f"{STEM}_e2_adam_0_final_state"
    other.write_bytes(b"another")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="adam_0_final_state: already exists"):
        migrate(opened(Run("section2_1", STAMP, None, str(tmp_path), str(tmp_path))))
    assert contents(tmp_path) == before


def test_what_does_not_come_back_as_it_was_changes_nothing(tmp_path, monkeypatch):
    old_run(tmp_path)
    before = contents(tmp_path)

    def lossy(frame, path):
        write_frame(frame.head(1), path)

    write_frame = frames.write_frame
    monkeypatch.setattr(frames, "write_frame", lossy)
    with pytest.raises(InputError, match=r"adam\.pkl: does not "):
        migrate(open_run("section2_1", results_dir=tmp_path), delete_json=True)
    assert contents(tmp_path) == before


def test_a_json_file_that_two_runs_share_is_not_deleted(tmp_path):
    write(tmp_path, f"{STEM}_e2", ("adam",))
    write(tmp_path, f"{STEM}_e3", ("adam",))
    (tmp_path / f"{STEM}_meta.json").write_text(json.dumps({"device": "cpu"}))
    run = open_run("section2_1", STAMP, 2, tmp_path)
    with pytest.raises(InputError, match=f"also belongs to {STEM}_e3"):
        migrate(run, delete_json=True)
    migrate(run)
    assert (tmp_path / f"{STEM}_meta.json").exists()


def test_a_run_that_does_not_tell_its_epochs(tmp_path):
    write(tmp_path, f"section4_1_{STAMP}", ("a",))
    pd.DataFrame({"x": [1]}).to_pickle(tmp_path / f"section4_1_{STAMP}_a.pkl")
    with pytest.raises(InputError, match="found no number of epochs"):
        migrate(open_run("section4_1", results_dir=tmp_path))


def test_the_command(tmp_path, capsys):
    numbers_of_numpy(tmp_path)
    assert main(["migrate", "--results-dir", str(tmp_path), "--dry-run"]) == 0
    assert f"{STEM}: would write {tmp_path / f'{STEM}_e2_adam.pkl'}\n" in capsys.readouterr().out
    assert main(["migrate", "section2_1", "--results-dir", str(tmp_path)]) == 0
    assert "would" not in capsys.readouterr().out
    assert (tmp_path / f"{STEM}_e2_adam.parquet").exists()
    assert main(["migrate", "--results-dir", str(tmp_path), "--timestamp", "20200101_000000"]) == 1
    assert "no runs to migrate" in capsys.readouterr().err


def test_a_run_of_the_present_format_has_nothing_to_migrate(tmp_path, capsys):
    present(tmp_path)
    assert main(["migrate", "--results-dir", str(tmp_path), "--delete-json"]) == 0
    assert capsys.readouterr().out == f"{STEM}_e2: nothing to do: already in the present format\n"


def test_migrating_again_finds_nothing_to_do_and_the_json_file_can_go_then(tmp_path):
    old_run(tmp_path)
    run = open_run("section2_1", results_dir=tmp_path)
    migrate(run)
    before = contents(tmp_path)
    assert migrate(run) == []
    assert migrate(run, delete_json=True) == [f"delete {tmp_path / f'{STEM}_meta.json'}"]
    assert contents(tmp_path) == {name: part for name, part in before.items() if not name.endswith("_meta.json")}
    assert migrate(run) == migrate(run, delete_json=True) == []  # the copies tell more than what is left of the old run
    new = Run("section2_1", STAMP, 2, str(tmp_path), folder_override=str(tmp_path))
    assert kanbench.load_run("section2_1", results_dir=tmp_path)[1] == META
    Path(new.checkpoint_metadata()).write_bytes(pickle.dumps({"adam": {0: {"final": {"epoch": 5}}}}))
    with pytest.raises(InputError, match="already exists"):
        migrate(run)


def test_who_waits_for_another_process_finds_its_work_done(tmp_path, monkeypatch):
    old_run(tmp_path)
    run = open_run("section2_1", results_dir=tmp_path)

    def after_another(folder):
        monkeypatch.undo()
        assert migrate(run, delete_json=True) != []
        return migration.folder_lock(folder)

    monkeypatch.setattr(migration, "folder_lock", after_another)
    assert migrate(run, delete_json=True) == []


def test_a_json_file_that_another_process_deletes_first(tmp_path, monkeypatch):
    """As may be where the file system has no locks."""
    old_run(tmp_path)
    staged = migration.staged

    def after_another(run):
        (tmp_path / f"{STEM}_meta.json").unlink()
        return staged(run)

    monkeypatch.setattr(migration, "staged", after_another)
    migrate(open_run("section2_1", results_dir=tmp_path), delete_json=True)
    assert kanbench.load_run("section2_1", results_dir=tmp_path)[1] == META


def test_a_copy_whose_attrs_contradict_the_old_frame_is_in_the_way(tmp_path):
    write(tmp_path, STEM, ("adam",), {"device": "cpu"})
    write(tmp_path, f"{STEM}_e2", ("adam",), {**META, "device": "cuda"}, ("pkl", "parquet"))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"_e2_adam\.pkl: already exists"):
        migrate(opened(Run("section2_1", STAMP, None, str(tmp_path), str(tmp_path))))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("epochs", ["../../x", "..", -1, 0, True, [1], 2.5, {"a": 1}, "9" * 50])
def test_epochs_that_are_no_number_do_not_get_into_names(tmp_path, epochs):
    json_beside(tmp_path)
    path = tmp_path / f"{STEM}_meta.json"
    path.write_text(json.dumps({**META, "epochs": epochs}))
    with pytest.warns(UserWarning, match="epochs: found"):
        migrate(open_run("section2_1", results_dir=tmp_path))
    with pytest.warns(UserWarning, match="epochs: found"):
        assert kanbench.find_run("section2_1", results_dir=tmp_path, epochs="most").epochs == 2
    assert {name for name in contents(tmp_path) if "_e" in name} == {
        f"{STEM}_e2_{model_type}.{suffix}" for model_type in ("adam", "lbfgs") for suffix in ("pkl", "parquet")
    }


@pytest.mark.parametrize("epochs", [2.0, "2"])
def test_epochs_may_be_written_otherwise(tmp_path, epochs):
    json_beside(tmp_path)
    (tmp_path / f"{STEM}_meta.json").write_text(json.dumps({**META, "epochs": epochs}))
    assert repr(kanbench.load_run("section2_1", results_dir=tmp_path)[1]["epochs"]) == "2"


def test_a_run_of_merging_has_no_epochs(tmp_path):
    frame = pd.DataFrame({"dataset_idx": [0], "dataset_name": ["a"], "merged_dense_mse": [0.5]})
    frame.to_pickle(tmp_path / f"section2_3_{STAMP}_summary.pkl")
    (tmp_path / f"section2_3_{STAMP}_meta.json").write_text(json.dumps({"epochs": 10, "device": "cpu"}))
    migrate(open_run("section2_3", results_dir=tmp_path))
    made = pd.read_parquet(tmp_path / f"section2_3_{STAMP}_summary.parquet")
    assert "epochs" not in made.attrs and made.attrs["device"] == "cpu"


def test_what_old_runs_have_comes_back(tmp_path):
    """Losses that are nan, tuples, keys that are numbers, lists in columns, categories, numbers as objects."""
    frame = plain_frame("adam").assign(
        parts=[(1, 2)] * len(plain_frame("adam")),
        number=pd.Series([1] * len(plain_frame("adam")), dtype=object),
        label=pd.Categorical(["a"] * len(plain_frame("adam"))),
    )
    frame.loc[0, "test_loss"] = np.nan
    frame.attrs = {"device": "cpu", "epochs": 2, "lbfgs_threshold_time": float("nan"), "by": {0: (1, 2)}}
    frame.to_pickle(tmp_path / f"{STEM}_adam.pkl")
    metadata = {"adam": {0: {"final": {"epoch": 4, "test_loss": float("nan")}}}}
    (tmp_path / f"{STEM}_checkpoint_metadata.pkl").write_bytes(pickle.dumps(metadata))
    with pytest.raises(InputError, match=r"refused: lists or mappings in parts\."):
        migrate(open_run("section2_1", results_dir=tmp_path))
    run = open_run("section2_1", results_dir=tmp_path, trusted=True)
    assert len(migrate(run)) == 3
    assert migrate(run) == []
    _, meta = kanbench.load_run("section2_1", STAMP, results_dir=tmp_path)
    assert np.isnan(meta["lbfgs_threshold_time"])


def test_a_frame_that_parquet_cannot_hold_is_one_line(tmp_path):
    frame = plain_frame("adam").assign(mixed=["a", *range(len(plain_frame("adam")) - 1)])
    frame.attrs = {"device": "cpu", "epochs": 2}
    frame.to_pickle(tmp_path / f"{STEM}_adam.pkl")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=f"^{tmp_path / STEM}_e2_adam.parquet: parquet cannot hold this"):
        migrate(open_run("section2_1", results_dir=tmp_path))
    assert contents(tmp_path) == before


def test_arrays_in_attrs_of_a_trusted_file(tmp_path):
    frame = plain_frame("adam")
    frame.attrs = {"device": "cpu", "epochs": np.int64(2), "grids": np.array([3, 5]), "note": np.float64(0.5)}
    frame.to_pickle(tmp_path / f"{STEM}_adam.pkl")
    migrate(open_run("section2_1", results_dir=tmp_path, trusted=True))
    assert type(pd.read_parquet(tmp_path / f"{STEM}_e2_adam.parquet").attrs["note"]) is float


def test_one_run_that_cannot_be_migrated_does_not_stop_the_others(tmp_path, capsys):
    json_beside(tmp_path)
    (tmp_path / "section2_1_20200101_000000_adam.pkl").write_bytes(b"damaged")
    assert main(["migrate", "--results-dir", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert f"{STEM}: write" in captured.out
    assert captured.err.startswith("section2_1_20200101_000000: ")
    assert captured.err.endswith("kanbench: migrate: 1 of 2 runs could not be migrated; the others were\n")
    with pytest.warns(UserWarning, match="left out"):
        assert kanbench.find_run("section2_1", results_dir=tmp_path, epochs=2).timestamp == STAMP


@pytest.mark.parametrize("other", [(f"{STEM}_meta.json", {"epochs": 3}), (f"{STEM}_e2_meta.json", {"device": "cpu"})])
def test_a_json_file_that_was_not_read_is_not_deleted(tmp_path, other):
    """That of other epochs, or a second one."""
    plain_frame("adam").to_pickle(tmp_path / f"{STEM}_e2_adam.pkl")
    for name, content in ((f"{STEM}_meta.json", {"device": "cuda", "lbfgs_threshold_time": 9.0}), other):
        (tmp_path / name).write_text(json.dumps(content))
    before = contents(tmp_path)
    run = open_run("section2_1", results_dir=tmp_path)
    with pytest.raises(InputError, match=r"meta\.json: not used for the frames"):
        migrate(run, delete_json=True)
    assert contents(tmp_path) == before
    migrate(run)
    assert before.keys() <= contents(tmp_path).keys()


def frames_with_epochs_and_others_without(folder):
    """Metadata, metrics and checkpoints whose names have no epochs."""
    old_run(folder)
    for path in folder.glob("*.pkl"):
        if "checkpoint" not in path.name:
            path.rename(path.with_name(path.name.replace(STEM, f"{STEM}_e2")))


def test_checkpoints_without_epochs_in_their_names_belong_to_the_frames_with_them(tmp_path):
    frames_with_epochs_and_others_without(tmp_path)
    before = contents(tmp_path)
    run = Run("section2_1", STAMP, 2, str(tmp_path), folder_override=str(tmp_path))
    assert kanbench.list_runs(results_dir=tmp_path) == [run]
    _, meta, models = kanbench.load_run("section2_1", STAMP, results_dir=tmp_path, load_models=True)
    assert meta == META
    assert {m: {i: list(names) for i, names in models[m].items()} for m in models} == {
        m: {0: ["at_threshold", "final"]} for m in ("adam", "lbfgs")
    }
    metadata = kanbench.load_checkpoint_metadata("section2_1", STAMP, results_dir=tmp_path)
    assert metadata == {"adam": {0: {"final": {"epoch": 4, "dense_mse": 0.5}}}}

    migrate(opened(run))
    after = contents(tmp_path)
    assert {name: after[name] for name in before if "_e2" not in name} == {
        name: content for name, content in before.items() if "_e2" not in name
    }
    for name in (name for name in before if "_e2" not in name and not name.endswith(("_meta.json", ".pkl"))):
        assert after[name.replace(STEM, f"{STEM}_e2")] == before[name]
    assert read_metadata(run.checkpoint_metadata()) == metadata
    assert kanbench.list_runs(results_dir=tmp_path) == [run]
    assert migrate(opened(run)) == []
    (tmp_path / f"{STEM}_meta.json").unlink()
    assert "format: an earlier one" in inspect(tmp_path / f"{STEM}_e2")


def test_of_checkpoints_with_and_without_epochs_in_their_names_the_former_are_loaded(tmp_path):
    frames_with_epochs_and_others_without(tmp_path)
    run = Run("section2_1", STAMP, 2, str(tmp_path), folder_override=str(tmp_path))
    save_checkpoint(to_pykan(initialize([2, 7, 1], 3)), run.checkpoint("adam", 0, "final"), torch.zeros(3, 2))
    own = {"adam": {0: {"final": {"epoch": 9}}}}
    Path(run.checkpoint_metadata()).write_bytes(pickle.dumps(own))
    before = contents(tmp_path)
    with pytest.warns(UserWarning, match=r"adam_0_final_state: differs from .*_e2_adam_0_final_state, which is used"):
        _, _, models = kanbench.load_run("section2_1", STAMP, results_dir=tmp_path, load_models=True)
    assert [len(models["adam"][0][name].act_fun[0].coef[0]) for name in ("at_threshold", "final")] == [2, 7]
    assert kanbench.load_checkpoint_metadata("section2_1", STAMP, results_dir=tmp_path) == own
    with pytest.raises(InputError, match=r"_e2_.*: already exists"):
        migrate(opened(run))
    Path(run.checkpoint_metadata()).unlink()
    with pytest.raises(InputError, match=r"e2_adam_0_final_.*: already exists"):
        migrate(opened(run))
    before.pop(Path(run.checkpoint_metadata()).name)
    assert contents(tmp_path) == before


def test_saving_frames_deletes_no_checkpoints_that_were_there_without(tmp_path):
    folder = tmp_path / "sec1_results"
    frames_with_epochs_and_others_without(folder)
    for path in folder.glob("*_e2_*"):
        path.unlink()
    before = contents(folder)
    kanbench.save_run(
        {"adam": plain_frame("adam")}, "section2_1", timestamp=STAMP, epochs=2, device="cpu", results_dir=tmp_path
    )
    assert before.items() <= contents(folder).items()


def test_checkpoints_without_epochs_in_their_names_are_not_guessed_to_be_of_one_of_two_runs(tmp_path):
    frames_with_epochs_and_others_without(tmp_path)
    write(tmp_path, f"{STEM}_e3")
    assert [run.epochs for run in kanbench.list_runs(results_dir=tmp_path)] == [None, 2, 3]
    for epochs in (2, 3):
        models = kanbench.load_run("section2_1", STAMP, epochs=epochs, results_dir=tmp_path, load_models=True)[2]
        assert models == {}


def test_a_copy_in_parquet_with_other_data_is_not_written_over(tmp_path):
    plain_frame("adam").to_pickle(tmp_path / f"{STEM}_e2_adam.pkl")
    plain_frame("adam").assign(test_loss=7.0).to_parquet(tmp_path / f"{STEM}_e2_adam.parquet")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"_e2_adam\.parquet: already exists"):
        migrate(open_run("section2_1", results_dir=tmp_path))
    assert contents(tmp_path) == before


def test_attrs_that_only_the_copy_in_parquet_has_are_not_lost(tmp_path):
    write(tmp_path, f"{STEM}_e2", ("adam",))
    write(tmp_path, f"{STEM}_e2", ("adam",), META, ("parquet",))
    before = contents(tmp_path)
    with pytest.raises(
        InputError, match=r"_e2_adam\.parquet: found device, lbfgs_threshold_time in the attrs of this file only"
    ):
        migrate(open_run("section2_1", results_dir=tmp_path))
    assert contents(tmp_path) == before


def test_of_two_formats_with_other_data_none_is_migrated(tmp_path):
    plain_frame("adam").to_pickle(tmp_path / f"{STEM}_adam.pkl")
    plain_frame("adam").to_parquet(tmp_path / f"{STEM}_adam.parquet")
    run = open_run("section2_1", results_dir=tmp_path)
    assert len(migrate(run, dry_run=True)) == 2
    plain_frame("adam").assign(test_loss=7.0).to_parquet(tmp_path / f"{STEM}_adam.parquet")
    before = contents(tmp_path)
    with pytest.raises(
        InputError, match=rf"{STEM}_adam\.parquet: found data that differs from the pickle of this frame"
    ):
        migrate(run)
    assert contents(tmp_path) == before


def test_a_run_of_merging_that_was_migrated_stands_for_one_named_with_epochs(tmp_path):
    frame = pd.DataFrame({"dataset_idx": [0], "dataset_name": ["a"], "merged_dense_mse": [0.5]})
    frame.to_pickle(tmp_path / f"section2_3_{STAMP}_e10_summary.pkl")
    migrate(open_run("section2_3", results_dir=tmp_path))
    for timestamp in (None, STAMP):
        assert kanbench.find_run("section2_3", timestamp, results_dir=tmp_path).epochs is None
