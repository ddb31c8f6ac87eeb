"""Frames, metadata and runs on disk, read back with plain pandas, pickle and pykan."""

import io
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kan import KAN

import kanbench
from kanbench.analysis.moments import iso_compute, moments
from kanbench.cli.main import main
from kanbench.errors import InputError
from kanbench.io.atomic import atomic_write
from kanbench.network.initialization import initialize
from kanbench.network.pykan import to_pykan
from kanbench.plan.config import ROOT
from kanbench.plan.naming import Run, parse
from kanbench.storage.checkpoints import write_checkpoint
from kanbench.storage.frames import read_frame, write_frame
from kanbench.storage.metadata import build_metadata
from kanbench.storage.training_record import read_record
from kanbench.storage.verification import verify
from support.records import STAMP, TRAININGS, frame_of
from support.results import opened


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file"

    def fail():
        with atomic_write(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(path.parent.iterdir()) == []
    with atomic_write(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), atomic_write(tmp_path / "file" / "below"):
        pass


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    network, x = initialize([2, 2, 1], 3), torch.zeros(3, 2, dtype=torch.float64)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    monkeypatch.setattr("kanbench.network.checkpoints.write_arrays", full_disk)
    for model, inputs in ((to_pykan(network), x), (network, x.numpy())):
        with pytest.raises(InputError, match="No space left"):
            write_checkpoint(model, tmp_path / "model", inputs)
        assert list(tmp_path.iterdir()) == []


# --- save_run and load_run ---


def checkpoints_with_models():
    models = {
        name: to_pykan(initialize([2, 2, 1], 3, seed=seed)) for seed, name in enumerate(("at_threshold", "final"))
    }
    x = torch.rand(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for model in models.values():
        model(x)
    metadata = build_metadata(TRAININGS["adam"][:1])
    content = {name: {**metadata["adam"][0][name], "model": model} for name, model in models.items()}
    return {"adam": {0: content}}, x


def test_a_saved_run_is_loaded(tmp_path):
    frames = {m: frame_of(m) for m in ("lm", "adam")}
    before = {m: (frame.copy(), dict(frame.attrs)) for m, frame in frames.items()}
    checkpoints, x = checkpoints_with_models()
    expected = {name: content["model"](x) for name, content in checkpoints["adam"][0].items()}
    timestamp = kanbench.save_run(
        frames,
        "section2_1",
        checkpoints=checkpoints,
        epochs=2,
        device="cpu",
        lbfgs_threshold_time=45.2,
        results_dir=tmp_path,
    )
    for model_type, (frame, attrs) in before.items():
        pd.testing.assert_frame_equal(frames[model_type], frame)
        assert frames[model_type].attrs == attrs

    results, meta, models = kanbench.load_run("section2_1", timestamp, results_dir=tmp_path, load_models=True)
    assert list(results) == ["adam", "lm"]
    assert meta == {
        "section": "section2_1",
        "timestamp": timestamp,
        "epochs": 2,
        "device": "cpu",
        "lbfgs_threshold_time": 45.2,
        "baseline_threshold_time": None,
        "provenance": {"seed": 1, "dtype": "float64", "engine": "reference"},  # the frames' own, on which they agree
    }
    assert results["adam"].attrs == {**meta, "model_type": "adam", "provenance": before["adam"][1]["provenance"]}
    pd.testing.assert_frame_equal(results["adam"], before["adam"][0])
    for name, output in expected.items():
        assert torch.equal(models["adam"][0][name](x), output)
    metadata = kanbench.load_checkpoint_metadata("section2_1", timestamp, results_dir=tmp_path)
    assert metadata == build_metadata(TRAININGS["adam"][:1])


def test_derivable_metadata_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="is not stored: derive it with") as caught:
        timestamp = kanbench.save_run(
            {"adam": frame_of("adam")},
            "section2_1",
            grids=[3, 5],
            num_datasets=4,
            dataset_names=["a"],
            epochs=2,
            device="cpu",
            results_dir=tmp_path,
        )
    assert [str(warning.message).split()[0] for warning in caught] == ["grids", "num_datasets", "dataset_names"]
    assert str(caught[0].message) == "grids is not stored: derive it with df['grid_size'].unique()"
    _, meta = kanbench.load_run("section2_1", timestamp, results_dir=tmp_path)
    assert not {"grids", "num_datasets", "dataset_names"} & meta.keys()
    with pytest.raises(InputError, match="metadata: found 'colour'"):
        kanbench.save_run({}, "section2_1", epochs=1, colour=1, results_dir=tmp_path)
    with pytest.raises(InputError, match=r"baseline_threshold_time: found 3\.0; allowed: None in section2_1"):
        kanbench.save_run({}, "section2_1", epochs=1, baseline_threshold_time=3.0, results_dir=tmp_path)


def test_models_is_deprecated_and_works(tmp_path):
    checkpoints, x = checkpoints_with_models()
    model = checkpoints["adam"][0]["final"]["model"]
    with pytest.warns(DeprecationWarning, match="use checkpoints="):
        timestamp = kanbench.save_run(
            {"adam": frame_of("adam")}, "section2_1", models={"adam": {0: model}}, epochs=2, results_dir=tmp_path
        )
    _, _, models = kanbench.load_run("section2_1", timestamp, results_dir=tmp_path, load_models=True)
    assert torch.equal(models["adam"][0]["final"](x), model(x))


def test_a_run_is_not_overwritten_by_accident(tmp_path):
    arguments = {"timestamp": STAMP, "epochs": 2, "results_dir": tmp_path}
    kanbench.save_run({"adam": frame_of("adam")}, "section2_1", **arguments)
    with pytest.raises(InputError, match="this run exists"):
        kanbench.save_run({"adam": frame_of("adam")}, "section2_1", **arguments)
    kanbench.save_run({"adam": frame_of("adam").head(1)}, "section2_1", overwrite=True, **arguments)
    assert len(kanbench.load_run("section2_1", STAMP, results_dir=tmp_path)[0]["adam"]) == 1


def test_a_run_that_replaces_another_leaves_nothing_of_it(tmp_path):
    arguments = {"timestamp": STAMP, "epochs": 2, "results_dir": tmp_path}
    checkpoints, _ = checkpoints_with_models()
    kanbench.save_run({m: frame_of(m) for m in TRAININGS}, "section2_1", checkpoints=checkpoints, **arguments)
    kanbench.save_run({"lm": frame_of("lm")}, "section2_1", overwrite=True, **arguments)
    run = Run("section2_1", STAMP, 2, str(tmp_path))
    assert sorted(map(str, Path(run.folder).iterdir())) == [run.frame("lm", "parquet"), run.frame("lm")]


def test_a_run_that_is_replaced_leaves_what_another_needs(tmp_path):
    """A metadata file whose name has no epochs belongs to both."""
    given = {"timestamp": "20250101_000000", "results_dir": tmp_path}
    for epochs in (2, 3):
        kanbench.save_run({"adam": frame_of("adam")}, "section2_1", epochs=epochs, **given)
    shared = tmp_path / "sec1_results" / "section2_1_20250101_000000_meta.json"
    shared.write_text("{}")
    kanbench.save_run({"adam": frame_of("adam")}, "section2_1", epochs=2, overwrite=True, **given)
    assert shared.exists()


def test_a_run_without_frames_is_none(tmp_path):
    with pytest.raises(InputError, match="found no frames"):
        kanbench.save_run({}, "section2_1", epochs=2, results_dir=tmp_path)
    with pytest.raises(InputError, match="epochs: found True"):
        kanbench.save_run({"adam": frame_of("adam")}, "section2_1", epochs=True, results_dir=tmp_path)


def test_a_disk_that_is_full_in_the_middle_leaves_the_run_as_it_was(tmp_path, monkeypatch):
    arguments = {"timestamp": STAMP, "epochs": 2, "results_dir": tmp_path}
    kanbench.save_run({"adam": frame_of("adam")}, "section2_1", **arguments)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    checkpoints, _ = checkpoints_with_models()
    saved, save = [], torch.save

    def full_after_three(content, path):
        if len(saved) == 3:
            raise OSError(28, "No space left on device")
        saved.append(path)
        save(content, path)

    monkeypatch.setattr(torch, "save", full_after_three)
    with pytest.raises(InputError, match="No space left on device") as error:
        kanbench.save_run(
            {m: frame_of(m) for m in TRAININGS}, "section2_1", checkpoints=checkpoints, overwrite=True, **arguments
        )
    assert "\n" not in str(error.value)
    assert len(saved) == 3
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == ["sec1_results"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([2**70] * 8, "adam.pkl: refused: a number of 71 bits; allowed: numbers and text"),
        ([lambda: 0] * 8, "adam.pkl: pickle cannot hold this"),
        (["a", 1] * 4, "adam.parquet: parquet cannot hold this"),
    ],
)
def test_values_that_no_file_can_hold_are_one_line_that_names_the_file(tmp_path, values, message):
    frame = frame_of("adam").assign(u=pd.Series(values, dtype=object))
    with pytest.raises(InputError) as error:
        kanbench.save_run({"adam": frame}, "section2_1", timestamp=STAMP, epochs=2, results_dir=tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/sec1_results/section2_1_{STAMP}_e2_{message}")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "sec1_results").iterdir()) == []


def test_a_results_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        kanbench.save_run({"adam": frame_of("adam")}, "section2_1", epochs=2, results_dir=tmp_path / "results")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    (home := tmp_path / "home").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    for folder in ("~/x", Path("~/x")):
        arguments = {"epochs": 2, "timestamp": STAMP, "results_dir": folder, "overwrite": True}
        kanbench.save_run({"adam": frame_of("adam")}, "section2_1", **arguments)
        assert kanbench.list_runs(results_dir=folder) == [Run("section2_1", STAMP, 2, str(home / "x"))]
        assert list(kanbench.load_run("section2_1", results_dir=folder)[0]) == ["adam"]
    assert list(elsewhere.iterdir()) == []
    with pytest.raises(InputError, match="~nobody-of-this-name/x: no such folder"):
        kanbench.load_run("section2_1", results_dir="~nobody-of-this-name/x")


def test_runs_are_found(tmp_path):
    for timestamp, epochs in [("20260102_000000", 2), ("20260101_000000", 2), ("20260102_000000", 3)]:
        kanbench.save_run(
            {"adam": frame_of("adam")}, "section2_1", timestamp=timestamp, epochs=epochs, results_dir=tmp_path
        )
    names = [run.name for run in kanbench.list_runs(results_dir=tmp_path)]
    assert names == [f"section2_1_{t}" for t in ("20260101_000000_e2", "20260102_000000_e2", "20260102_000000_e3")]
    run = kanbench.find_run("section2_1", epochs=2, results_dir=tmp_path)
    assert run == Run("section2_1", "20260102_000000", 2, str(tmp_path))
    assert kanbench.find_run("section2_1", results_dir=tmp_path).epochs == 3  # written last
    with pytest.raises(InputError, match=r"epochs \(--epochs\) one of 2, 3"):
        kanbench.find_run("section2_1", "20260102_000000", results_dir=tmp_path)
    with pytest.raises(InputError, match=r"no run section2_1_20260103_000000_e\*; found section2_1_"):
        kanbench.load_run("section2_1", "20260103_000000", results_dir=tmp_path)
    with pytest.raises(InputError, match="section: found 'section3'"):
        kanbench.find_run("section3", results_dir=tmp_path)
    with pytest.raises(InputError, match="section: found 'section3'"):
        kanbench.list_runs("section3", results_dir=tmp_path)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"epochs": None}, "epochs: found None"),
        ({"epochs": 0}, "epochs: found 0"),
        ({"section": "section3"}, "section: found 'section3'"),
        ({"section": None}, "section: found None; allowed: section2_1"),
        ({"timestamp": "20261399_000000"}, "timestamp: found '20261399_000000'"),
        ({"timestamp": 20260101}, "timestamp: found 20260101; allowed: a date"),
        ({"results": frame_of("adam")}, "results: found DataFrame; allowed: {name: DataFrame}"),
        ({"results": {"adam": frame_of("adam")["time"]}}, "results.adam: found Series; allowed: a DataFrame"),
        ({"results": {"adam": None}}, "results.adam: found None; allowed: a DataFrame"),
        ({"results": {"sgd": None}}, "frame: found 'sgd'; allowed: adam, lbfgs, lm in section2_1"),
        ({"device": torch.zeros(3)}, "device: found Tensor"),
        ({"device": 5}, "device: found 5; allowed: text"),
        ({"lbfgs_threshold_time": "fast"}, "lbfgs_threshold_time: found 'fast'; allowed: seconds"),
        ({"lbfgs_threshold_time": -3}, "lbfgs_threshold_time: found -3; allowed: seconds"),
        ({"provenance": {"a": [object()]}}, "provenance.a: found object"),
        ({"checkpoints": [{}]}, "checkpoints: found list; allowed: {model_type: {dataset_idx"),
        ({"checkpoints": {"adam": [{}]}}, "checkpoints.adam: found list; allowed: {dataset_idx"),
        ({"checkpoints": {"adam": {0: [{}]}}}, "checkpoints.adam.0: found list; allowed: {checkpoint"),
        ({"checkpoints": {"adam": {0: {"best": {}}}}}, "checkpoint: found 'best'"),
        ({"checkpoints": {"adam": {0: {"final": 7}}}}, "checkpoints.adam.0.final: found 7; allowed: {metric: value}"),
        ({"checkpoints": {"adam": {0: {"final": {"model": {}}}}}}, "final.model: found dict; allowed: a KAN"),
        ({"checkpoints": {"adam": {0: {"final": {"model": to_pykan(initialize([2, 1, 1], 3))}}}}}, "no cache_data"),
        *(
            (
                {"checkpoints": {"adam": {index: {"final": {}}}}},
                f"checkpoints.adam: dataset: found {index!r}; allowed: 0",
            )
            for index in (-1, 1000, 0.0, 0.7, "0", "a", None, True)
        ),
    ],
)
def test_a_run_that_cannot_be_saved_leaves_nothing(tmp_path, over, message):
    arguments = {"results": {"adam": frame_of("adam")}, "section": "section2_1", "epochs": 2, **over}
    with pytest.raises(InputError, match=re.escape(message)):
        kanbench.save_run(**arguments, results_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda model: [model], "models.adam: found list; allowed: {dataset_idx"),
        (lambda model: {0: {"final": model}}, "models.adam.0: found dict; allowed: a KAN"),
        (lambda model: {0: model.state_dict()}, "models.adam.0: found OrderedDict; allowed: a KAN"),
        (lambda model: {"01": model}, "models.adam: dataset: found '01'; allowed: 0 to 999"),
        (lambda model: {0.0: model}, "models.adam: dataset: found 0.0; allowed: 0 to 999"),
        (lambda model: {0: model}, "models.adam.0: found a final model, and another one in checkpoints; allowed: one"),
    ],
)
@pytest.mark.filterwarnings("ignore:models= is deprecated")
def test_models_that_cannot_be_saved_leave_nothing(tmp_path, content, message):
    checkpoints, _ = checkpoints_with_models()
    models = {"adam": content(checkpoints["adam"][0]["final"]["model"])}
    with pytest.raises(InputError, match=re.escape(message)):
        kanbench.save_run(
            {"adam": frame_of("adam")},
            "section2_1",
            models=models,
            checkpoints=checkpoints,
            epochs=2,
            results_dir=tmp_path,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_that_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="results_dir: found None; allowed: a folder"):
        kanbench.save_run({"adam": frame_of("adam")}, "section2_1", epochs=2, results_dir=None)
    assert list(tmp_path.iterdir()) == []


# What load_run or loadckpt would not read is not saved, and does not replace what they read.


def refused(results_dir, frame, checkpoints=None):
    """The error of saving this where a run is already; which has to be there afterwards as it was."""
    given = {"timestamp": STAMP, "epochs": 2, "results_dir": results_dir}
    kanbench.save_run({"adam": frame_of("adam")}, "section2_1", **given)
    before = {path: path.read_bytes() for path in results_dir.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as error:
        kanbench.save_run({"adam": frame}, "section2_1", checkpoints=checkpoints, overwrite=True, **given)
    assert {path: path.read_bytes() for path in results_dir.rglob("*") if path.is_file()} == before
    message = str(error.value)
    start = f"{results_dir}/sec1_results/section2_1_{STAMP}_e2_"
    assert message.startswith(start)
    assert "\n" not in message
    assert "trusted" not in message
    return message.removeprefix(start)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(dataset_idx=-1), "adam.pkl: dataset_idx: found -1"),
        (lambda f: f.assign(dataset_idx=1000), "adam.pkl: dataset_idx: found 1000"),
        (lambda f: f.astype({"dataset_idx": "category"}), "adam.pkl: dataset_idx: found categorical"),
        (lambda f: f.assign(epoch=np.nan), "adam.pkl: epoch: found nan"),
        (lambda f: f.assign(dataset_name=5), "adam.pkl: dataset_name: found integer"),
        (lambda f: f.assign(test_loss="a"), "adam.pkl: test_loss: found string"),
        (lambda f: f.set_axis(range(f.shape[1]), axis="columns"), "adam.pkl: found columns ["),
        (
            lambda f: f.assign(u=pd.Timestamp(0, tz="UTC")),
            "adam.pkl: refused: it names pandas.DatetimeTZDtype; allowed: num",
        ),
        (lambda f: f.assign(u=pd.Period("2026-01")), "adam.pkl: refused: it names pandas.arrays.PeriodArray; allowed"),
        (lambda f: f.convert_dtypes(dtype_backend="pyarrow"), "adam.pkl: refused: it names pandas.arrays.ArrowExt"),
        (
            lambda f: f.assign(u=[{"a": 1}, {"b": 1}] * 4),
            "adam.parquet: refused: lists or mappings in u.",
        ),
    ],
)
def test_a_frame_that_would_not_be_read_is_not_saved(tmp_path, change, message):
    assert refused(tmp_path, change(frame_of("adam"))).startswith(message)


def pykans_model(**settings):
    model = KAN(**{"width": [2, 2, 1], "grid": 3, "auto_save": False, **settings})
    model(torch.zeros(3, 2))
    return model


def without_an_input(model):
    """As pykan's prune_input makes it: the name of the base function is the function."""
    model.save_act = True
    model(torch.rand(5, 2))
    return model.prune_input(active_inputs=[0], log_history=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pykans_model(base_fun=torch.sin), "torch.sin"),
        (lambda: without_an_input(pykans_model()), "torch.nn.modules.activation.SiLU"),
        (lambda: pykans_model(grid_range=torch.tensor([-1.0, 1.0])), "torch._utils._rebuild_tensor_v2"),
    ],
)
def test_a_model_that_would_not_be_read_is_not_saved(tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)  # prune_input makes a folder
    checkpoints = {"adam": {0: {"final": {"epoch": 4, "model": make()}}}}
    found = refused(tmp_path / "results", frame_of("adam"), checkpoints)
    assert found.startswith(f"adam_0_final_config.yml: refused: it names {message} in line ")


def test_metrics_that_would_not_be_read_are_not_saved(tmp_path):
    found = refused(tmp_path, frame_of("adam"), {"adam": {0: {"final": {Path("epoch"): 4}}}})
    assert found.startswith("checkpoint_metadata.pkl: refused: path as a key")


@pytest.mark.parametrize(
    "settings",
    [
        {"width": [np.int64(2), np.int64(2), 1]},
        {"grid_eps": np.float64(0.5)},
        {"grid_range": np.array([-1, 1])},
        {"grid_range": (-1, 1)},
        {"grid": np.int64(3), "k": np.int64(2)},
    ],
)
def test_a_model_with_numbers_of_numpy_in_its_configuration_is_read_by_pykan(tmp_path, settings):
    model, x = pykans_model(**settings), torch.rand(5, 2)
    before = {key: getattr(model, key) for key in settings}
    checkpoints = {"adam": {0: {"final": {"epoch": 4, "model": model}}}}
    kanbench.save_run(
        {"adam": frame_of("adam")}, "section2_1", checkpoints=checkpoints, timestamp=STAMP, results_dir=tmp_path
    )
    loaded = KAN.loadckpt(Run("section2_1", STAMP, 2, str(tmp_path)).checkpoint("adam", 0, "final"))
    assert torch.equal(loaded(x), model(x))
    assert all(getattr(model, key) is value for key, value in before.items())  # the caller's model stays as it is


def test_missing_values_of_pandas_are_saved(tmp_path):
    missing = {"a": pd.array(["a", None] * 4, "string"), "b": pd.array([1, None] * 4, "Int64"), "c": [None, pd.NA] * 4}
    frame = frame_of("adam").assign(**missing)
    kanbench.save_run({"adam": frame}, "section2_1", results_dir=tmp_path)
    results, _ = kanbench.load_run("section2_1", results_dir=tmp_path)
    assert results["adam"][list(missing)].isna().sum().to_dict() == {"a": 4, "b": 4, "c": 8}


def test_dates_and_spans_of_time_are_saved(tmp_path):
    more = {"a": pd.to_datetime(["2026-01-01", None] * 4), "b": pd.to_timedelta([1.5, None] * 4, unit="s")}
    kanbench.save_run({"adam": frame_of("adam").assign(**more)}, "section2_1", results_dir=tmp_path)
    for path in (tmp_path / "sec1_results").iterdir():
        read = read_frame(path)
        assert [str(read[name].dtype)[:-4] for name in more] == ["datetime64", "timedelta64"]
        assert all(read[name].equals(pd.Series(more[name])) for name in more)


# What is not given is what the frames' attrs tell.


def test_what_is_given_goes_before_the_attrs_of_frames(tmp_path):
    frame = frame_of("adam")
    kanbench.save_run(
        {"adam": frame}, "section2_1", epochs=3, device=None, provenance={"seed": 2}, results_dir=tmp_path
    )
    _, meta = kanbench.load_run("section2_1", results_dir=tmp_path)
    assert (meta["epochs"], meta["device"], meta["provenance"]) == (3, None, {"seed": 2})
    assert meta["lbfgs_threshold_time"] == 6.0


def test_the_attrs_of_frames_are_checked(tmp_path):
    frames = {m: frame_of(m) for m in ("adam", "lm")}
    frames["lm"].attrs["epochs"] = 3
    with pytest.raises(InputError, match=r"epochs: found 2, 3; allowed: an integer, at least 1, the same for all"):
        kanbench.save_run(frames, "section2_1", results_dir=tmp_path)
    frames["lm"].attrs |= {"epochs": 2, "device": 5}
    with pytest.raises(InputError, match=r"results\.lm\.attrs\.device: found 5; allowed: text"):
        kanbench.save_run(frames, "section2_1", results_dir=tmp_path)
    frames["lm"].attrs = {}
    with pytest.raises(InputError, match="epochs: found 2, None; allowed"):
        kanbench.save_run(frames, "section2_1", results_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("section", ["section2_1", "section2_2", "section2_3"])
def test_what_is_loaded_and_saved_elsewhere_has_no_faults(tiny_results, tmp_path, section):
    results, meta, models = kanbench.load_run(section, results_dir=tiny_results, load_models=True)
    checkpoints = kanbench.load_checkpoint_metadata(section, results_dir=tiny_results)
    for model_type, per_dataset in models.items():
        for index, per_name in per_dataset.items():
            for name, model in per_name.items():
                checkpoints[model_type][index][name]["model"] = model
    attrs = {name: frame.attrs for name, frame in results.items()}
    few = {"timestamp": meta["timestamp"], "section": section}
    for number, given in enumerate((few, meta)):
        copy = tmp_path / str(number)
        kanbench.save_run(results, checkpoints=checkpoints, results_dir=copy, **given)
        saved, saved_meta = kanbench.load_run(section, results_dir=copy)
        assert saved_meta == meta
        assert {name: frame.attrs for name, frame in saved.items()} == attrs
        assert verify(opened(kanbench.find_run(section, results_dir=copy))).faults == []


def test_numbers_of_numpy_become_pythons(tmp_path):
    timestamp = kanbench.save_run(
        {"adam": frame_of("adam")},
        "section2_1",
        epochs=np.int64(2),
        lbfgs_threshold_time=np.float32(0.5),
        provenance={"seeds": [np.int64(1)]},
        checkpoints={"adam": {np.int64(0): {"final": {"epoch": np.int64(3)}}}},
        results_dir=tmp_path,
    )
    _, meta = kanbench.load_run("section2_1", timestamp, results_dir=tmp_path)
    assert type(meta["lbfgs_threshold_time"]) is float
    assert type(meta["provenance"]["seeds"][0]) is int
    path = kanbench.find_run("section2_1", results_dir=tmp_path).checkpoint_metadata()
    assert b"numpy" not in Path(path).read_bytes()


def test_parquet_is_enough(tmp_path):
    timestamp = kanbench.save_run({"adam": frame_of("adam")}, "section2_1", epochs=2, results_dir=tmp_path)
    run = kanbench.find_run("section2_1", timestamp, results_dir=tmp_path)
    Path(run.frame("adam")).unlink()
    results, meta = kanbench.load_run("section2_1", timestamp, results_dir=tmp_path)
    pd.testing.assert_frame_equal(results["adam"], frame_of("adam"))
    assert meta["epochs"] == 2
    Path(run.frame("adam", "parquet")).write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"adam\.parquet: cannot be read"):
        kanbench.load_run("section2_1", timestamp, results_dir=tmp_path)


# --- what is derived ---


def test_iso_compute_is_the_last_epoch_within_the_reference_time():
    frames = {m: frame_of(m) for m in TRAININGS}
    frames["lm"]["time"] *= 2
    frames["adam"]["time"] *= 100
    metadata = build_metadata([t for trainings in TRAININGS.values() for t in trainings])
    iso = iso_compute(frames, metadata, "time")
    assert iso["epoch"].to_dict() == {(0, "lbfgs"): 3, (1, "lbfgs"): 3, (0, "lm"): 2, (1, "lm"): 2}
    errors = moments(frames, metadata)["dense_mse"]
    assert errors["iso_time"].to_dict() == iso["dense_mse"].to_dict()
    assert errors["iso_time", 0, "lm"] == 1.5
    assert errors["final", 1, "lm"] == 0.75
    assert errors["threshold", 1, "lm"] == metadata["lm"][1]["at_threshold"]["dense_mse"]


# --- the package and its command line ---


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_snakefile_imports_is_light():
    code = (
        "import sys, kanbench.plan.naming, kanbench.plan.config; print(*{'torch', 'kan', 'pandas'} & set(sys.modules))"
    )
    result = run_python("-c", code)
    assert result.stdout.strip() == ""
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "section2_1_adam_0"], "kanbench: section2_1_adam_0: no such result"),
        (["train", f"section2_1_{STAMP}_e3_adam_9"], "kanbench: dataset: found 9; allowed: 0 to 3"),
        (["train", f"section2_1_{STAMP}_e3_adam.pkl"], "not a training for this command; allowed: SECTION_"),
        (["train", f"section2_1_{STAMP}_adam_0"], f"kanbench: section2_1_{STAMP}_adam_0: found no epochs"),
        (["train", f"section2_3_{STAMP}_merge_kan_0"], "not a training for this command; allowed: SECTION_"),
        (["merge", f"section2_3_{STAMP}_merge_kan_0", "--experts", "none.json"], "kanbench: none.json: cannot be read"),
        (["merge", f"section2_1_{STAMP}_e3_lm_0", "--experts", "none.json"], "MODELTYPE one of merge_kan"),
        (["merge-frame", "results/x.pkl", "--n-selected", "3"], "kanbench: results/x.pkl: no such result"),
        (
            ["merge-frame", f"section2_3_{STAMP}_experts.pkl", "--n-selected", "3"],
            "experts: found no trainings of experts",
        ),
        (["train", f"section2_1_{STAMP}_e3_adam_0", "--config", "none.yaml"], "kanbench: none.yaml: cannot be read"),
        (
            ["summary", "section2_1", "--results-dir", "nowhere"],
            "kanbench: nowhere: no such folder",
        ),
        (["migrate", "--results-dir", "nowhere"], "kanbench: nowhere: no such folder"),
        (["verify", "--results-dir", "nowhere"], "kanbench: nowhere: no such folder"),
        (["metadata", "out.pkl", "--trainings", "none.json"], "kanbench: none.json: cannot be read"),
        (["sweep", "adam", "optimizers.adam.rate", "1"], "kanbench: config: optimizers.adam.rate: unknown key"),
    ],
)
def test_wrong_input_on_the_command_line_is_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_wrong_input_ends_a_process():
    result = run_python("-m", "kanbench", "summary", "section2_1", "--results-dir", "nowhere")
    hint = "make run makes runs; --results-dir names another folder"
    assert (result.returncode, result.stderr) == (1, f"kanbench: nowhere: no such folder ({hint})\n")


@pytest.mark.parametrize("epochs", ["ten", "0", "-1", "1.5", ""])
def test_epochs_on_the_command_line(epochs, capsys):
    with pytest.raises(SystemExit):
        main(["verify", f"--epochs={epochs}"])
    assert f"--epochs: found {epochs!r}; allowed: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_by_hand(tmp_path):
    name = f"section2_1_{STAMP}_e1_lm_1"
    smoke = str(ROOT / "config" / "smoke.yaml")
    result = run_python("-m", "kanbench", "train", name, "--config", smoke, "--results-dir", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "epoch 2/2  grid 6" in result.stderr
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    run = Run("section2_1", STAMP, 1, "")
    assert files == sorted(
        path.lstrip("/") for path in [*run.checkpoint_files("lm", 1), run.record(run.training("lm", 1))]
    )
    content = read_record(tmp_path / "trainings" / f"{name}.json")
    assert content.dataset_name == "poisson_2d_sin"
    assert parse(name).run == Run("section2_1", STAMP, 1)


@pytest.mark.slow
def test_an_expert_whose_model_is_gone(tiny_results, tmp_path):
    trainings = shutil.copytree(tiny_results / "trainings", tmp_path / "trainings")
    for path in trainings.glob("*_expert_0_*_state"):
        path.write_bytes(path.read_bytes()[:100])
    experts = sorted(map(str, trainings.glob("*_expert_0_*.json")))
    arguments = ["--experts", *experts, "--config", str(tiny_results.parent / "tiny.yaml")]
    result = run_python("-m", "kanbench", "merge", f"section2_3_{STAMP}_merge_kan_0", *arguments)
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f"kanbench: {trainings}")
    assert line.endswith(
        "_state: cannot be read (not a zip archive, which torch.save writes since 1.6); train this expert again"
    )


def test_pickled_frames_need_neither_kanbench_nor_pyarrow(tmp_path):
    write_frame(frame_of("adam"), tmp_path / "frame.pkl")

    class PandasOnly(pickle.Unpickler):
        def find_class(self, module, name):
            assert not module.startswith(("kanbench", "pyarrow"))
            return super().find_class(module, name)

    PandasOnly(io.BytesIO((tmp_path / "frame.pkl").read_bytes())).load()
