"""Runs of every known format, written with plain pandas, pickle, json and torch, and loaded with `load_run`."""

import json
import os
import pickle
import warnings
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import kanbench
from kanbench.errors import InputError
from kanbench.network.initialization import initialize
from kanbench.network.pykan import save_checkpoint, to_pykan
from kanbench.plan.naming import Run
from kanbench.storage.derive import threshold_summary
from kanbench.storage.frames import read_frame
from kanbench.storage.migration import migrate
from kanbench.storage.runs import choose_run, open_run
from kanbench.storage.schema import HISTORY
from kanbench.storage.stored_names import parse_stored
from kanbench.storage.stored_run import stored_runs
from support.old_formats import (
    ESSENTIAL,
    META,
    SECTION_1,
    STAMP,
    STEM,
    VARIANTS,
    json_beside,
    no_epochs_in_names,
    plain_frame,
    present,
    write,
)


@pytest.mark.parametrize("flat", [False, True], ids=["in sec1_results", "in one folder"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_every_variant_is_the_same_run(variant, flat, tmp_path):
    variant(tmp_path if flat else tmp_path / "sec1_results")
    results, meta = kanbench.load_run("section2_1", STAMP, results_dir=tmp_path)
    assert meta == META
    assert list(results) == ["adam", "lbfgs"]
    for model_type, frame in results.items():
        expected = plain_frame(model_type).astype({"dataset_name": object, "optimizer": object})
        pd.testing.assert_frame_equal(frame, expected, check_column_type=False, check_exact=True)
        assert frame.attrs == {**META, "model_type": model_type}
    assert len(kanbench.list_runs(results_dir=tmp_path)) == 1


def test_opening_and_reading_a_run_lists_every_folder_once(tmp_path, monkeypatch):
    folder, seeds = tmp_path / "sec1_results", tmp_path / "seeds"
    present(folder)
    write(seeds, f"{STEM}_e2_s2", attrs=META, formats=("parquet",))
    save_checkpoint(to_pykan(initialize([2, 2, 1], 3)), str(folder / f"{STEM}_e2_adam_0_final"), torch.zeros(1, 2))
    listed = Counter()

    def counted(function):
        return lambda path=".": listed.update([str(path)]) or function(path)

    monkeypatch.setattr("os.listdir", counted(os.listdir))
    monkeypatch.setattr("os.scandir", counted(os.scandir))
    stored = open_run("section2_1", results_dir=tmp_path)
    assert list(stored.models()) == ["adam"]
    assert stored.metadata is None and stored.last_change > 0
    assert list(stored.replicates) == [None, 2]
    assert stored.attrs == META
    assert {path: count for path, count in listed.items() if path.startswith(str(tmp_path))} == {
        str(path): 1 for path in (tmp_path, folder, seeds)
    }


def test_what_nothing_tells_is_none_and_the_data_tell_the_epochs(tmp_path):
    write(tmp_path, STEM, formats=("parquet",))
    _, meta = kanbench.load_run("section2_1", STAMP, results_dir=tmp_path)
    assert meta == {**META, "device": None, "lbfgs_threshold_time": None}


@pytest.mark.parametrize("stem", [f"section1_1_{STAMP}_e2", f"section1_1_{STAMP}"])
def test_a_run_of_section_1(stem, tmp_path):
    folder = tmp_path / "sec1_results"
    types = ("siren", "kan_pruning", "mlp", "kan")
    write(folder, stem, types, {key: SECTION_1[key] for key in SECTION_1 if key != "provenance"}, label="activation")
    weights = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).state_dict()
    model, x = to_pykan(initialize([2, 2, 1], 3)), torch.rand(5, 2, dtype=torch.float64)
    for name in ("at_kan_threshold_time", "final"):
        for model_type in ("mlp", "siren"):
            torch.save(weights, folder / f"{stem}_{model_type}_0_{name}.pth")
    for name in ("at_threshold", "final"):
        for model_type in ("kan", "kan_pruning"):
            save_checkpoint(model, str(folder / f"{stem}_{model_type}_0_{name}"), x)
    mlp = {"epoch": 1, "dense_mse": np.float64(0.5), "depth": 2, "activation": "tanh"}
    metadata = {
        "mlp": {0: {"at_kan_threshold_time": mlp}},
        "kan": {0: {"at_threshold": {"epoch": np.int64(2), "dense_mse": 0.25, "time": 12.5}}},
    }
    (folder / f"{stem}_checkpoint_metadata.pkl").write_bytes(pickle.dumps(metadata))

    results, meta, models = kanbench.load_run("section1_1", STAMP, results_dir=tmp_path, load_models=True)
    assert meta == SECTION_1
    assert list(results) == list(models) == ["mlp", "siren", "kan", "kan_pruning"]
    assert results["kan_pruning"].attrs == {**SECTION_1, "model_type": "kan_pruning"}
    assert list(models["mlp"][0]) == ["at_kan_threshold_time", "final"]
    assert all(torch.equal(models["siren"][0]["final"][key], value) for key, value in weights.items())
    assert torch.equal(models["kan_pruning"][0]["at_threshold"](x), model(x))
    loaded = kanbench.load_checkpoint_metadata("section1_1", STAMP, results_dir=tmp_path)
    assert loaded == metadata
    assert type(loaded["mlp"][0]["at_kan_threshold_time"]["dense_mse"]) is float


def test_checkpoints_without_a_name_are_the_final_models(tmp_path):
    model, x = to_pykan(initialize([2, 2, 1], 3)), torch.rand(5, 2, dtype=torch.float64)
    stem = f"section1_2_{STAMP}"
    write(tmp_path, stem, ("kan", "kan_pruning", "mlp"))
    save_checkpoint(model, str(tmp_path / f"{stem}_kan_3"), x)
    save_checkpoint(model, str(tmp_path / f"{stem}_pruned_3"), x)
    (tmp_path / f"{stem}_kan_3_cache_data").unlink()
    torch.save({"weight": x}, tmp_path / f"{stem}_mlp_10.pth")
    _, _, models = kanbench.load_run("section1_2", STAMP, results_dir=tmp_path, load_models=True)
    assert models["kan"][3]["final"].cache_data is None
    assert torch.equal(models["kan"][3]["final"](x), model(x))
    assert torch.equal(models["kan_pruning"][3]["final"](x), model(x))
    assert torch.equal(models["mlp"][10]["final"]["weight"], x)


@pytest.mark.parametrize(
    ("section", "model_type", "named", "other"),
    [
        ("section2_1", "adam", "adam_0_final", "adam_0"),
        ("section1_1", "kan_pruning", "kan_pruning_0_at_threshold", "pruned_0_at_threshold"),
    ],
)
def test_of_two_checkpoints_with_one_name_the_named_one_is_loaded_and_none_migrated(
    section, model_type, named, other, tmp_path
):
    stem, x = f"{section}_{STAMP}", torch.rand(5, 2, dtype=torch.float64)
    write(tmp_path, stem, (model_type,))
    model = to_pykan(initialize([2, 2, 1], 3))
    save_checkpoint(model, str(tmp_path / f"{stem}_{named}"), x)
    save_checkpoint(to_pykan(initialize([2, 3, 1], 3)), str(tmp_path / f"{stem}_{other}"), x)
    with pytest.warns(UserWarning, match=f"{other}_state: differs from {stem}_{named}_state, which is used") as caught:
        models = kanbench.load_run(section, results_dir=tmp_path, load_models=True)[2]
    assert caught[0].filename == __file__
    assert all(torch.equal(loaded(x), model(x)) for loaded in models[model_type][0].values())

    for gone in ((), (f"{named}_config.yml", f"{named}_state", f"{other}_cache_data")):  # whole ones, then parts
        for name in gone:
            (tmp_path / f"{stem}_{name}").unlink()
        before = {path.name for path in tmp_path.iterdir()}
        with pytest.raises(InputError, match=rf"_e2_{named}: found {stem}_\w+ and {stem}_\w+, which differ; allowed"):
            migrate(open_run(section, results_dir=tmp_path))
        assert {path.name for path in tmp_path.iterdir()} == before


def test_a_checkpoint_and_its_copy_with_the_present_name_are_one(tmp_path):
    """What migration leaves where names have epochs."""
    write(tmp_path, f"{STEM}_e2", attrs=META, formats=("pkl", "parquet"))
    save_checkpoint(to_pykan(initialize([2, 2, 1], 3)), str(tmp_path / f"{STEM}_e2_adam_0"), torch.zeros(3, 2))
    run = open_run("section2_1", results_dir=tmp_path)
    assert len(migrate(run)) == 3
    assert list(kanbench.load_run("section2_1", results_dir=tmp_path, load_models=True)[2]["adam"][0]) == ["final"]
    (tmp_path / f"{STEM}_e2_adam_0_final_state").unlink()
    assert migrate(run) == [f"write {tmp_path / f'{STEM}_e2_adam_0_final_state'}"]
    assert migrate(run) == []


def test_sections_with_longer_names_and_model_types_with_underscores(tmp_path):
    long = "section2_2_highd_3d_shallow"
    types = ("baseline", "adaptive_only", "adaptive_regular")
    write(tmp_path / "sec_shallow_results", f"{long}_{STAMP}_e2", types, {"device": "cuda"}, label="approach")
    write(tmp_path / "sec2_results", f"section2_2_{STAMP}_e2", types[:1], {"device": "cpu"}, label="approach")
    model = to_pykan(initialize([2, 2, 1], 3))
    base = tmp_path / "sec_shallow_results" / f"{long}_{STAMP}_e2_adaptive_only_0_at_threshold"
    save_checkpoint(model, str(base), torch.zeros(2, 2, dtype=torch.float64))
    results, meta, models = kanbench.load_run(long, results_dir=tmp_path, load_models=True)
    assert list(results) == ["adaptive_only", "adaptive_regular", "baseline"]
    assert meta == {**META, "section": long, "device": "cuda", "lbfgs_threshold_time": None}
    assert list(models["adaptive_only"][0]) == ["at_threshold"]
    assert [run.section for run in kanbench.list_runs(results_dir=tmp_path)] == ["section2_2", long]
    assert kanbench.load_run("section2_2", results_dir=tmp_path)[1]["device"] == "cpu"


def test_a_model_type_that_nobody_knows_keeps_its_name(tmp_path):
    write(tmp_path, f"section4_1_{STAMP}", ("my_own_kan", "b"), {"device": "cpu", "note": "first try"})
    results, meta = kanbench.load_run("section4_1", results_dir=tmp_path)
    assert list(results) == ["b", "my_own_kan"]
    assert meta["note"] == "first try"


# --- what is stored and wrong ---


def test_the_data_win_over_what_is_stored(tmp_path):
    write(tmp_path, STEM)
    wrong = {"grids": [3, 5, 10], "num_datasets": 4, "dataset_names": ["sin", "poly"]}
    (tmp_path / f"{STEM}_meta.json").write_text(json.dumps({**ESSENTIAL, **wrong}))
    with pytest.warns(UserWarning) as caught:
        _, meta = kanbench.load_run("section2_1", results_dir=tmp_path)
    assert [str(warning.message) for warning in caught] == [
        f"{STEM}: grids=[3, 5, 10] conflicts with the data; using [3, 5]",
        f"{STEM}: num_datasets=4 conflicts with the data; using 2",
    ]
    assert caught[0].filename == __file__
    assert meta == META


def test_what_cannot_be_compared_with_the_data_is_left_out_quietly(tmp_path):
    stored = {**ESSENTIAL, "depths": [2, 3], "num_params": {"adam": 120}, "activations": ["tanh"], "total_epochs": 4}
    write(tmp_path, STEM, attrs=stored)
    frame = plain_frame("lm").assign(num_params=None)
    frame.attrs = {**stored, "num_params": 120}
    frame.to_pickle(tmp_path / f"{STEM}_lm.pkl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kanbench.load_run("section2_1", results_dir=tmp_path)[1] == META


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("num_params", 300, 999),
        ("num_params", [120, 300], [120, 999]),
        ("grids", 5, 7),
        ("grids", [5, 3], [3, 5, None]),
        ("grids", (3, 5), [3, [5]]),
        ("grids", [3.0, 5], [{"a": 1}, {"b": 2}]),
        ("grids", [3, 5], [True, None, "x", 5]),
        ("num_datasets", 2, 3),
        ("dataset_names", "sin", "cos"),
        ("optimizers", "adam", "lm"),
        ("total_epochs", 4.0, 60),
        ("final_grid", 5, 100),
    ],
)
@pytest.mark.parametrize("beside", [True, False], ids=["JSON", "attrs"])
def test_what_can_be_derived_is_compared_with_the_data(key, right, wrong, beside, tmp_path):
    frame = plain_frame("adam")
    frame["num_params"] = frame["grid_size"].map({3: 120, 5: 300})
    for stored in (right, wrong):
        frame.attrs = ESSENTIAL if beside else {**ESSENTIAL, key: stored}
        frame.to_pickle(tmp_path / f"{STEM}_adam.pkl")
        if beside:
            (tmp_path / f"{STEM}_meta.json").write_text(json.dumps({key: stored}))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kanbench.load_run("section2_1", results_dir=tmp_path)
        said = [str(warning.message) for warning in caught]
        assert len(said) == (stored is wrong)
        assert all(f"{key}={wrong!r} conflicts with the data" in text for text in said)


def test_dicts_of_collections_come_out_as_plain_ones(tmp_path):
    rows = {"epoch": 4, "dense_mse": 0.5}
    made = OrderedDict(lm=defaultdict(dict, {0: {"final": OrderedDict(rows)}}))
    made["adam"] = defaultdict(None, {1: defaultdict(float, {"final": defaultdict(OrderedDict, rows)})})
    for protocol in range(6):
        write(tmp_path, STEM)
        (tmp_path / f"{STEM}_checkpoint_metadata.pkl").write_bytes(pickle.dumps(made, protocol))
        metadata = kanbench.load_checkpoint_metadata("section2_1", results_dir=tmp_path)
        assert repr(metadata) == repr({"lm": {0: {"final": rows}}, "adam": {1: {"final": rows}}})
        frame = plain_frame("adam")
        frame.attrs = {"provenance": OrderedDict(seed=1)}
        frame.to_pickle(tmp_path / f"{STEM}_adam.pkl", protocol=protocol)
        assert repr(read_frame(tmp_path / f"{STEM}_adam.pkl").attrs["provenance"]) == "{'seed': 1}"
    for refused, word in ((defaultdict(print), "print"), ({"lm": int}, "type"), ({"lm": Counter("a")}, "Counter")):
        (tmp_path / f"{STEM}_checkpoint_metadata.pkl").write_bytes(pickle.dumps(refused))
        with pytest.raises(InputError, match=f"refused: .*{word}"):
            kanbench.load_checkpoint_metadata("section2_1", results_dir=tmp_path)


def test_frames_without_rows(tmp_path):
    frame = plain_frame("adam").head(0)
    frame.attrs = {**ESSENTIAL, "grids": [3], "total_epochs": 4}
    frame.to_pickle(tmp_path / f"{STEM}_adam.pkl")
    with pytest.warns(UserWarning, match=r"grids=\[3\] conflicts with the data; using \[\]"):
        results, _ = kanbench.load_run("section2_1", results_dir=tmp_path)
    assert len(results["adam"]) == 0


def test_names_win_over_attrs_and_attrs_over_json(tmp_path):
    attrs = {**ESSENTIAL, "epochs": 3, "timestamp": "20200101_000000"}
    write(tmp_path, f"{STEM}_e2", ("adam",), attrs)
    (tmp_path / f"{STEM}_meta.json").write_text(json.dumps({"device": "cuda", "n_runs": 7}))
    with pytest.warns(UserWarning) as caught:
        _, meta = kanbench.load_run("section2_1", results_dir=tmp_path)
    assert sorted(str(warning.message) for warning in caught) == [
        f"{STEM}_e2: the JSON file: device='cuda' conflicts with other sources; using 'cpu'",
        f"{STEM}_e2_adam: attrs: epochs=3 conflicts with other sources; using 2",
        f"{STEM}_e2_adam: attrs: timestamp='20200101_000000' conflicts with other sources; using '{STAMP}'",
    ]
    assert meta == {**META, "n_runs": 7, "model_type": "adam"}


def test_a_json_file_of_another_run_is_not_taken(tmp_path):
    write(tmp_path, f"{STEM}_e2")
    write(tmp_path, f"{STEM}_e3", attrs={"device": "cuda"})
    (tmp_path / f"{STEM}_meta.json").write_text(json.dumps(ESSENTIAL))
    assert kanbench.load_run("section2_1", STAMP, epochs=2, results_dir=tmp_path)[1] == META
    other = kanbench.load_run("section2_1", STAMP, epochs=3, results_dir=tmp_path)[1]
    assert other == {**META, "epochs": 3, "device": "cuda", "lbfgs_threshold_time": None}


@pytest.mark.parametrize("stem", [f"{STEM}_e2", STEM])
def test_a_json_file_with_other_epochs_in_its_name_is_not_taken(stem, tmp_path):
    write(tmp_path, stem)
    other = tmp_path / f"{STEM}_e5_meta.json"
    other.write_text(json.dumps({"device": "cuda", "lbfgs_threshold_time": 99.0}))
    _, meta = kanbench.load_run("section2_1", STAMP, results_dir=tmp_path)
    assert meta == {**META, "device": None, "lbfgs_threshold_time": None}
    migrate(open_run("section2_1", results_dir=tmp_path), delete_json=True)
    assert other.exists()


def test_a_json_file_alone_is_no_run(tmp_path):
    (tmp_path / f"{STEM}_meta.json").write_text("{}")
    assert kanbench.list_runs(results_dir=tmp_path) == []
    with pytest.raises(InputError, match="no runs"):
        kanbench.load_run("section2_1", results_dir=tmp_path)


def test_damaged_files_of_a_run_are_named(tmp_path):
    json_beside(tmp_path)
    (tmp_path / f"{STEM}_meta.json").write_text("[1")
    with pytest.raises(InputError, match=r"_meta\.json: cannot be read"):
        kanbench.load_run("section2_1", results_dir=tmp_path)
    (tmp_path / f"{STEM}_adam.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match=r"adam\.pkl: refused: it names os\.system"):
        kanbench.load_run("section2_1", results_dir=tmp_path)


# --- names ---


@pytest.mark.parametrize(
    ("name", "kind", "stored"),
    [
        (f"{STEM}_e10_adaptive_only.pkl", "frame", ("adaptive_only", "pkl", None, None)),
        (f"{STEM}_checkpoint_metadata.pkl", "metadata", ("", "", None, None)),
        (f"{STEM}_meta.json", "meta", ("", "", None, None)),
        (f"{STEM}_adaptive_only_12_at_threshold_state", "checkpoint", ("adaptive_only", "state", 12, "at_threshold")),
        (f"{STEM}_e7_kan_0_config.yml", "checkpoint", ("kan", "config.yml", 0, None)),
        (f"section1_1_{STAMP}_mlp_3_at_kan_threshold_time.pth", "weights", ("mlp", "", 3, "at_kan_threshold_time")),
        (f"section1_3_{STAMP}_e30_pruned_2_state", "checkpoint", ("kan_pruning", "state", 2, None)),
    ],
)
def test_names_of_earlier_formats(name, kind, stored):
    file = parse_stored(f"folder/{name}")
    assert (file.kind, file.name, file.suffix, file.dataset_idx, file.checkpoint) == (kind, *stored)
    assert file.run.timestamp == STAMP
    assert file.run.folder == "folder"


@pytest.mark.parametrize("name", ["notes.txt", f"{STEM}_adam.csv", "section2_1_20251324_143022_adam.pkl", "adam.pkl"])
def test_other_files_are_of_no_run(name):
    assert parse_stored(name) is None


# --- frames of other versions of pandas ---

DATA = Path(__file__).parents[1] / "support" / "data"  # written by `DataFrame.to_pickle` of the versions in their names


@pytest.mark.parametrize("trusted", [False, True], ids=["", "trusted"])
@pytest.mark.parametrize("path", sorted(DATA.glob("*.pkl")), ids=lambda path: path.stem)
def test_frames_of_earlier_versions_of_pandas(path, trusted):
    frame = read_frame(path, trusted)
    expected = pd.DataFrame(
        {
            "dataset_idx": [0, 0],
            "dataset_name": ["sin", "sin"],
            "grid_size": [3, 5],
            "epoch": [1, 2],
            "train_loss": [0.5, 0.25],
            "optimizer": ["adam", "adam"],
            "flag": [True, False],
        }
    )
    expected = expected[expected["epoch"] > 1] if "some_rows" in path.stem else expected
    assert frame.astype({"optimizer": object}).to_dict() == expected.to_dict()
    assert [str(dtype) for dtype in frame.dtypes[["epoch", "train_loss", "flag"]]] == ["int64", "float64", "bool"]
    assert isinstance(frame["optimizer"].dtype, pd.CategoricalDtype) == ("categorical" in path.stem)
    assert frame.attrs == {"epochs": 1, "device": "cpu", "lbfgs_threshold_time": 45.2}


def test_frames_of_pandas_before_1_3(tmp_path):
    """These kept blocks in a state of their manager (pandas 1.2, `BlockManager.__getstate__`)."""
    state = {
        "axes": [pd.Index(["epoch", "name"], dtype=object), pd.RangeIndex(2)],
        "blocks": [
            {"values": np.array([[1, 2]]), "mgr_locs": slice(0, 1, 1)},
            {"values": np.array([["a", "b"]], dtype=object), "mgr_locs": np.array([1])},
        ],
    }
    manager = ([], [], [], {"0.14.1": state})
    inner = pickle.dumps(manager, 2)[2:-1]
    # the memo of the inner pickle begins at 0, so the outer program must not use it
    program = b"\x80\x02cpandas.core.frame\nDataFrame\n)\x81}(X\x05\x00\x00\x00_data"
    program += b"cpandas.core.internals.managers\nBlockManager\n)\x81" + inner + b"b"
    program += b"X\x05\x00\x00\x00attrs}X\x01\x00\x00\x00aK\x07sub."
    (tmp_path / "frame.pkl").write_bytes(program)
    frame = read_frame(tmp_path / "frame.pkl")
    assert frame.to_dict() == {"epoch": {0: 1, 1: 2}, "name": {0: "a", 1: "b"}}
    assert frame.attrs == {"a": 7}


FRAME = plain_frame("adam").assign(flag=[True, False] * 4, half=np.float32(0.5))
KINDS = {
    "text of pandas": FRAME,
    "missing text": FRAME.assign(note=["a", None] * 4),
    "objects": FRAME.astype({"optimizer": object}).assign(deps=[[0, 1], "x", None, 1.5, {}, (), True, "ü"]),
    "some rows": FRAME[FRAME["epoch"] > 2],
    "every other row": FRAME.iloc[::2],
    "sorted": FRAME.sort_values("test_loss"),
    "no rows": FRAME.head(0),
    "another index": FRAME.set_index("optimizer"),
    "one column": FRAME[["epoch"]],
    "whole numbers with gaps": FRAME.assign(n=pd.array([1, None] * 4, dtype="Int64")),
    "numbers with gaps": FRAME.assign(n=pd.array([1, None] * 4, dtype="Float64")),
    "the types of convert_dtypes": FRAME.convert_dtypes(),
    "truth with gaps": FRAME.assign(n=pd.array([True, None] * 4, dtype="boolean")),
    "put together": pd.concat([FRAME, FRAME], ignore_index=True),
    "columns dropped and added": FRAME.drop(columns="flag").assign(z=1, y=2.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_read_as_pandas_reads_them(kind, tmp_path):
    path = tmp_path / "frame.pkl"
    for protocol in range(6):
        KINDS[kind].to_pickle(path, protocol=protocol)
        plain = pd.read_pickle(path)
        text = {name: object for name, dtype in plain.dtypes.items() if isinstance(dtype, pd.StringDtype)}
        floats = {name: "float64" for name, dtype in plain.dtypes.items() if str(dtype) in ("Float32", "Float64")}
        trained = {name: c.dtype for name, c in HISTORY.items() if name in plain and c.dtype != "object"}
        plain = plain.astype(text | floats | trained)
        pd.testing.assert_frame_equal(
            read_frame(path), plain, check_exact=True, check_column_type=False, check_index_type=False
        )


@pytest.mark.parametrize("kind", ["Float64", "Int64", object])
@pytest.mark.parametrize("suffix", ["pkl", "parquet"])
def test_losses_that_are_missing_are_nan(kind, suffix, tmp_path):
    frame = plain_frame("adam").assign(test_loss=[8, 4, 5, 6, 4, 2, 3, 5]).astype({"test_loss": kind})
    frame.loc[[2, 7], "test_loss"] = pd.NA if suffix == "pkl" else None
    path = tmp_path / f"frame.{suffix}"
    frame.to_pickle(path) if suffix == "pkl" else frame.to_parquet(path)
    read = read_frame(path)
    assert read["test_loss"].dtype == "float64"
    assert np.isnan(read["test_loss"]).tolist() == [index in (2, 7) for index in range(8)]
    summary = threshold_summary({"adam": read})
    assert summary["test_loss"].to_list() == [4.0, 2.0]


@pytest.mark.parametrize("kind", ["Int64", object])
def test_numbers_of_trainings_are_numpys(kind, tmp_path):
    columns = ["dataset_idx", "epoch", "grid_size", "num_params", "total_time"]
    frame = plain_frame("adam").astype(dict.fromkeys(columns[:-1], kind))
    frame.loc[0, "grid_size"] = None  # as of a model without a grid
    frame.to_pickle(tmp_path / "frame.pkl")
    read = read_frame(tmp_path / "frame.pkl")[columns]
    assert [str(dtype) for dtype in read.dtypes] == ["int64", "int64", "float64", "int64", "float64"]
    plain = plain_frame("adam")[columns]
    plain.loc[0, "grid_size"] = np.nan
    pd.testing.assert_frame_equal(read, plain, check_column_type=False)


# --- finding ---


def test_runs_are_found_by_their_epochs(tmp_path):
    for stamp, epochs in [("20260101_000000", 10), ("20260102_000000", 3), ("20260103_000000", 7)]:
        write(tmp_path, f"section2_1_{stamp}_e{epochs}", ("adam",))
    write(tmp_path, "section2_1_20260104_000000", ("adam",), {"epochs": 12})

    def found(**wanted):
        return kanbench.find_run("section2_1", results_dir=tmp_path, **wanted).timestamp

    assert found() == "20260104_000000"
    assert found(epochs="most") == "20260104_000000"
    assert found(epochs="fewest") == "20260102_000000"
    assert found(epochs=10) == "20260101_000000"
    assert found(epochs=12) == "20260104_000000"
    with pytest.raises(InputError, match=r"no run section2_1_\*_e11"):
        found(epochs=11)
    for wrong in ("many", 0, True):
        with pytest.raises(InputError) as error:
            found(epochs=wrong)
        assert (error.value.where, error.value.found) == ("epochs", repr(wrong))


def test_a_run_without_frames_is_passed_over(tmp_path):
    """One that was interrupted has checkpoints only."""
    write(tmp_path, "section2_1_20260101_000000_e2", ("adam",))
    write(tmp_path, "section2_1_20260102_000000_e3", ("adam",))
    later = f"section2_1_{STAMP.replace('2025', '2027')}_e4"
    (tmp_path / f"{later}_adam_0_final_config.yml").write_text("")

    def found(**wanted):
        return kanbench.find_run("section2_1", results_dir=tmp_path, **wanted).epochs

    message = f"^{later}: no frames; using section2_1_20260102_000000, the latest with frames$"
    with pytest.warns(UserWarning, match=message) as caught:
        results, meta = kanbench.load_run("section2_1", results_dir=tmp_path)
    assert caught[0].filename == __file__
    assert (list(results), meta["epochs"]) == (["adam"], 3)
    with pytest.warns(UserWarning, match=message):
        assert found(epochs="most") == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(epochs=2) == 2
        assert found(epochs=4) == 4
        runs = stored_runs(tmp_path)
        assert choose_run(runs, "section2_1", None, None, tmp_path, need_frames=False).run.epochs == 4
    with pytest.raises(InputError, match="no frames; allowed: a run with at least one"):
        kanbench.load_run("section2_1", later.split("_", 2)[2][:15], results_dir=tmp_path)
    for path in tmp_path.glob("*.pkl"):
        path.unlink()
    with pytest.raises(InputError, match="no frames; allowed: a run with at least one"):
        kanbench.load_run("section2_1", results_dir=tmp_path)


def test_the_present_format_stands_for_the_old_one_beside_it(tmp_path):
    no_epochs_in_names(tmp_path / "sec1_results")
    present(tmp_path / "sec1_results")
    assert kanbench.find_run("section2_1", STAMP, results_dir=tmp_path) == Run("section2_1", STAMP, 2, str(tmp_path))


def test_the_same_run_in_two_folders_is_not_guessed(tmp_path):
    present(tmp_path / "sec1_results")
    present(tmp_path)
    with pytest.raises(InputError, match=r"in several folders; allowed: results_dir \(--results-dir\) one of"):
        kanbench.load_run("section2_1", STAMP, results_dir=tmp_path)
    assert kanbench.load_run("section2_1", STAMP, results_dir=tmp_path / "sec1_results")[1] == META


def test_loading_a_run_warns_of_nothing_and_leaves_the_files_alone(tmp_path):
    present(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kanbench.load_run("section2_1", results_dir=tmp_path, load_models=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
