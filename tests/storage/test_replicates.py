"""A run with several seeds: trained, consolidated, loaded, explained and verified."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from kanbench.cli.main import main
from kanbench.errors import InputError
from kanbench.jobs import training as jobs
from kanbench.plan.config import experts, load_config, merge
from kanbench.plan.naming import Run
from kanbench.plan.settings import canonical_json, training_settings
from kanbench.storage.frames import write_frame
from kanbench.storage.runs import load_replicates
from kanbench.storage.verification import verify
from support.kills import without_times
from support.old_formats import META, STEM, json_beside, no_epochs_in_names, plain_frame, present
from support.results import STAMP, TINY, command, opened, train_and_compare, train_and_merge

# --- loading ---


def with_seeds(folder, names=("2_adam", "2_lbfgs", "10_adam")):
    """A run of seed 1, and frames of other seeds."""
    present(folder / "sec1_results")
    for path in (folder / "sec1_results").glob("*.pkl"):
        frame = pd.read_pickle(path)
        frame.attrs["provenance"] = {"seed": 1}
        write_frame(frame, path)
    for name in names:
        seed, model_type = name.split("_")
        frame = plain_frame(model_type).assign(test_loss=float(seed))
        frame.attrs = {**META, "model_type": model_type, "provenance": {"seed": int(seed)}}
        write_frame(frame, folder / "seeds" / f"{STEM}_e2_s{name}.parquet")


def test_every_seed_is_loaded_the_runs_own_first(tmp_path):
    with_seeds(tmp_path)
    replicates = load_replicates("section2_1", results_dir=tmp_path)
    assert {seed: list(frames) for seed, frames in replicates.items()} == {
        1: ["adam", "lbfgs"],
        2: ["adam", "lbfgs"],
        10: ["adam"],
    }
    assert list(replicates) == [1, 2, 10]
    assert (replicates[10]["adam"]["test_loss"] == 10).all()
    first, other = replicates[1]["adam"], replicates[2]["adam"]
    assert list(first.columns) == list(other.columns)
    assert {**first.attrs, "provenance": {"seed": 2}} == other.attrs


def test_frames_of_other_runs_are_not_taken_for_replicates(tmp_path):
    with_seeds(tmp_path)
    for stem in (STEM, f"{STEM}_e20", f"section2_1_{STAMP}_e2", f"section2_2_{STAMP}_e2"):
        shutil.copy(tmp_path / "seeds" / f"{STEM}_e2_s2_adam.parquet", tmp_path / "seeds" / f"{stem}_s5_adam.parquet")
    assert list(load_replicates("section2_1", results_dir=tmp_path)) == [1, 2, 10]
    assert list(load_replicates("section2_1", META["timestamp"], 2, tmp_path)) == [1, 2, 10]


def test_the_runs_own_seed_is_there_once(tmp_path):
    with_seeds(tmp_path, ["1_adam", "2_adam"])
    replicates = load_replicates("section2_1", results_dir=tmp_path)
    assert list(replicates) == [1, 2]
    assert (replicates[1]["adam"]["test_loss"] != 1).any()  # not the frame among the replicates


@pytest.mark.parametrize("write", [present, no_epochs_in_names, json_beside])
def test_a_run_whose_seed_is_not_recorded(tmp_path, write):
    write(tmp_path)
    ((seed, frames),) = load_replicates("section2_1", results_dir=tmp_path).items()
    assert seed is None
    assert list(frames) == ["adam", "lbfgs"]


def test_a_damaged_replicate_is_one_line(tmp_path):
    with_seeds(tmp_path)
    path = tmp_path / "seeds" / f"{STEM}_e2_s2_adam.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"s2_adam\.parquet: cannot be read") as error:
        load_replicates("section2_1", results_dir=tmp_path)
    assert "\n" not in str(error.value)


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no runs"):
        load_replicates("section2_1", results_dir=tmp_path)


def test_replicates_are_listed_and_explained(tmp_path, capsys):
    with_seeds(tmp_path)
    assert main(["list", "--results-dir", str(tmp_path)]) == 0
    assert " 2, 10 " in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "sec1_results" / f"{STEM}_e2")]) == 0
    said = capsys.readouterr().out
    assert "  seed 2: frames adam, lbfgs\n  seed 10: frames adam\n" in said
    path = tmp_path / "seeds" / f"{STEM}_e2_s10_adam.parquet"
    assert main(["inspect", str(path)]) == 0
    assert f"{path}: frame adam of section2_1, seed 10: 8 rows" in capsys.readouterr().out


# --- trainings ---


def write_config(folder, **over):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**TINY, **over}))
    return path


def test_the_name_says_the_seed_and_only_the_history_is_kept(tmp_path):
    run, config = Run("section2_1", STAMP, 2, str(tmp_path / "results")), write_config(tmp_path, seeds=[3, 4])
    trainings = [run.training("adam", 0), *(run.replicate(seed).training("adam", 0) for seed in (3, 5))]
    for training in trainings:
        command("train", training, "--config", config, "--results-dir", run.results)
    first, same, other = (json.loads(Path(run.record(training)).read_text()) for training in trainings)
    assert first["settings"]["seed"] == first["provenance"]["seed"] == 3
    assert without_times(same) == without_times(first)
    assert other["settings"] == {**first["settings"], "seed": 5}
    assert other["history"][0]["test_loss"] != first["history"][0]["test_loss"]
    found = {str(path) for path in Path(run.results).rglob("*") if path.is_file()}
    assert found == {*run.checkpoint_files("adam", 0), *map(run.record, trainings)}


def test_a_training_that_was_interrupted_goes_on(tmp_path, monkeypatch, caplog):
    run, config = Run("section2_1", STAMP, 2, str(tmp_path / "results")).replicate(5), write_config(tmp_path)
    training = run.training("lm", 0)
    arguments = ["train", training, "--config", str(config), "--results-dir", run.results]

    def full_disk(content, path):
        raise InputError(f"{path}: cannot be written (No space left on device)")

    with monkeypatch.context() as patched:
        patched.setattr("kanbench.training.resume.EVERY", 0.0)
        patched.setattr("kanbench.jobs.training.write_record", full_disk)
        assert main(arguments) == 1
    assert [path.name for path in Path(run.resume_folder(training)).iterdir()] == ["training.state"]
    caplog.set_level("INFO")
    assert main(arguments) == 0
    assert "resuming after epoch 3" in caplog.text  # the fourth ends a stage, for which EVERY does not count
    assert not Path(run.resume_folder(training)).exists()
    assert len(json.loads(Path(run.record(training)).read_text())["history"]) == 4


def test_the_seed_of_the_name_counts_with_given_settings(tmp_path):
    run, config = Run("section2_1", STAMP, 2, str(tmp_path)).replicate(5), load_config(write_config(tmp_path))
    settings = canonical_json(training_settings(config, "section2_1", "adam", 0))
    command("train", run.training("adam", 0), "--settings", settings, "--results-dir", run.results)
    recorded = json.loads(Path(run.record(run.training("adam", 0))).read_text())["settings"]
    assert recorded == {**json.loads(settings), "seed": 5}


@pytest.mark.slow
def test_several_seeds_in_one_process_are_those_of_a_process_each(tmp_path):
    """To the last bit, whichever optimizer has been at work before."""
    config = write_config(tmp_path)
    together, alone = (Run("section2_1", STAMP, 2, str(tmp_path / folder)) for folder in ("together", "alone"))
    seeds = 7, 2
    for model_type in ("adam", "lbfgs", "lm"):
        given = "--config", config, "--results-dir", together.results
        command("train", together.training(model_type, 1), *given, "--seeds", *seeds)
        for seed in seeds:
            training = alone.replicate(seed).training(model_type, 1)
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "kanbench",
                    "train",
                    training,
                    "--config",
                    config,
                    "--results-dir",
                    alone.results,
                ],
                check=True,
            )
    first, second = (Path(run.results, "trainings") for run in (together, alone))
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert len(names) == 3 * len(seeds)
    for name in names:
        records = [json.loads((folder / name).read_text()) for folder in (first, second)]
        assert without_times(records[0]) == without_times(records[1])
    assert [path for path in Path(together.results).rglob("*") if path.is_file() and path.parent != first] == []


def test_a_seed_that_cannot_be_trained_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    run, config = Run("section2_1", STAMP, 2, str(tmp_path / "results")), write_config(tmp_path)
    write = jobs.write_record

    def full_disk(record, path):
        if str(path).endswith("_s2.json"):
            raise InputError(path, problem="cannot be written (No space left on device)")
        write(record, path)

    monkeypatch.setattr(jobs, "write_record", full_disk)
    given = ["--config", str(config), "--results-dir", run.results, "--seeds", "2", "3"]
    assert main(["train", run.training("adam", 0), *given]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("kanbench: " + run.replicate(2).results)
    there = [path.name for path in Path(run.results, "trainings").iterdir()]
    assert there == [f"{run.replicate(3).training('adam', 0)}.json"]


@pytest.mark.parametrize(
    ("name", "seeds", "said"),
    [
        (Run("section2_1", STAMP, 2, seed=3).training("adam", 0), ["2"], "a seed in the name"),
        (Run("section2_3", STAMP).expert(0, 1, 3, 1), ["2"], "a seed in the name"),
        (Run("section2_1", STAMP, 2).training("adam", 0), ["2", "1.5"], "allowed: an integer from 0 to 4294967295"),
        (Run("section2_1", STAMP, 2).training("adam", 0), ["4294967296"], "allowed: an integer from 0 to 4294967295"),
    ],
)
def test_wrong_seeds_are_one_line(tmp_path, capsys, name, seeds, said):
    try:
        status = main(["train", name, "--results-dir", str(tmp_path), "--seeds", *seeds])
    except SystemExit as error:
        status = error.code
    assert status
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.json"))


# --- verification ---


@pytest.fixture(scope="module")
def replicated(tiny_results, tmp_path_factory):
    """The tiny runs of sections 2.1 and 2.3, and their replicates with seed 2."""
    folder = tmp_path_factory.mktemp("replicated")
    results = shutil.copytree(tiny_results, folder / "results")
    path = write_config(folder, seeds=[1, 2])

    train_and_compare(Run("section2_1", STAMP, 2, str(results), seed=2), path)
    configured = merge(load_config(), {**TINY, "seeds": [1, 2]})
    train_and_merge(Run("section2_3", STAMP, None, str(results), seed=2), path, experts(configured, 2))
    return results


@pytest.mark.slow
@pytest.mark.parametrize("section", ["section2_1", "section2_3"])
def test_replicates_of_the_pipeline_pass(replicated, section):
    findings = verify(opened(Run(section, STAMP, 2 if section == "section2_1" else None, str(replicated))))
    assert findings.faults == findings.notes == []
    first, other = load_replicates(section, results_dir=replicated).values()
    assert list(first) == list(other)
    for name in first:
        assert list(first[name].columns) == list(other[name].columns)
        assert first[name].attrs.keys() == other[name].attrs.keys()
        assert not first[name].equals(other[name])


@pytest.mark.slow
def test_times_are_measured_against_the_reference_with_the_same_seed(replicated):
    frames = load_replicates("section2_1", results_dir=replicated)[2]
    run = Run("section2_1", STAMP, 2, str(replicated), seed=2)
    reference = [json.loads(Path(run.record(run.training("lbfgs", i))).read_text()) for i in (0, 1)]
    wanted = sum(training["checkpoints"]["at_threshold"]["time"] for training in reference) / 2
    assert {frame.attrs["lbfgs_threshold_time"] for frame in frames.values()} == {wanted}


@pytest.mark.slow
def test_replicates_of_merging_have_other_experts(replicated):
    first, other = load_replicates("section2_3", results_dir=replicated).values()
    assert set(first["experts"]["seed"]) == {1, 2}
    assert set(other["experts"]["seed"]) == {1001, 1002}
    assert set(other["selected_experts"]["seed"]) <= {1001, 1002}
    checkpoints = {path.name.rsplit("_", 1)[0] for path in (replicated / "trainings").glob("*_state")}
    assert len(checkpoints) == 2 * 2 * 4  # seeds, datasets, experts: none of other trainings


def change_frame(run, change, name="adam"):
    frame = pd.read_parquet(run.frame(name))
    attrs = json.loads(json.dumps(frame.attrs))
    changed = change(frame, attrs)
    changed.attrs = attrs
    changed.to_parquet(run.frame(name))


def a_frame_is_cut(run):
    path = Path(run.frame("adam"))
    path.write_bytes(path.read_bytes()[:-50])


def a_row_is_missing(run):
    change_frame(run, lambda frame, attrs: frame.iloc[:-1])


def a_column_is_missing(run):
    change_frame(run, lambda frame, attrs: frame.drop(columns="dense_mse"))


def a_loss_is_another(run):
    change_frame(run, lambda frame, attrs: frame.assign(test_loss=frame["test_loss"] * 1.001))


def attrs_of_another_run(run):
    change_frame(run, lambda frame, attrs: attrs.update(timestamp="20200101_000000") or frame)


def the_threshold_time_of_another_seed(run):
    change_frame(run, lambda frame, attrs: attrs.update(lbfgs_threshold_time=123.0) or frame)


def the_frame_of_another_seed(run):
    change_frame(run, lambda frame, attrs: attrs["provenance"].update(seed=3) or frame)


def other_datasets(run):
    change_frame(
        run, lambda frame, attrs: frame.assign(dataset_name=frame["dataset_name"].replace("poisson_2d_sin", "sin"))
    )


def a_frame_of_no_model_type(run):
    shutil.copy(run.frame("adam"), run.frame("sgd"))


def other_settings(run):
    path = Path(run.record(run.training("adam", 1)))
    path.write_text(path.read_text().replace('"lr": 0.02', '"lr": 0.2'))


FAULTS = {
    a_frame_is_cut: "s2_adam.parquet: cannot be read",
    a_row_is_missing: "s2_adam.parquet: the frame built from its training records has (8, 14)",
    a_column_is_missing: "s2_adam.parquet: no columns dense_mse",
    a_loss_is_another: "s2_adam.parquet: test_loss differ from those of the frame built from",
    attrs_of_another_run: "s2_adam.parquet: timestamp is '20200101_000000' in its attrs, '20260101_000000' in its name",
    the_threshold_time_of_another_seed: "s2_adam.parquet: its attrs differ from those of the frame built",
    the_frame_of_another_seed: "s2_adam.parquet: seed is 3 in its attrs, 2 in its name",
    other_datasets: "s2_adam.parquet: dataset 1 is sin, in another frame poisson_2d_sin",
    a_frame_of_no_model_type: "s2_sgd.parquet: allowed: a frame of adam, lbfgs, lm",
    other_settings: "adam_1_s2.json: its settings differ from those with the first seed in more than the seed",
}


@pytest.fixture
def copied(replicated, tmp_path):
    """The frames and records of section 2.1, to be spoiled."""
    for folder in ("trainings", "seeds"):
        shutil.copytree(replicated / folder, tmp_path / folder)
    (tmp_path / "sec1_results").mkdir()
    for path in (replicated / "sec1_results").glob("*.p*"):  # no checkpoints, whose check takes long
        shutil.copy(path, tmp_path / "sec1_results")
    return Run("section2_1", STAMP, 2, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant, copied):
    plant(copied.replicate(2))
    faults = [fault for fault in verify(opened(copied)).faults if not fault.endswith(": missing")]
    assert any(FAULTS[plant] in fault for fault in faults), faults
    assert all("\n" not in fault and "_s2" in fault for fault in faults)


@pytest.mark.slow
def test_what_cannot_be_compared_is_said(copied):
    run = copied.replicate(2)
    Path(run.record(run.training("lm", 0))).unlink()
    Path(run.frame("adam")).unlink()  # is not missed: its trainings need not have ended
    findings = verify(opened(copied))
    assert [fault for fault in findings.faults if not fault.endswith(": missing")] == []
    gone = "not compared with its training records: some are missing"
    assert findings.notes == [f"{run.frame('lm')}: {gone}"]
