"""Trainings as jobs: all kinds make their samples once, and commit their results whole or not at all."""

import json
import operator
from pathlib import Path

import numpy as np
import pytest
import yaml

from kanbench.cli.main import main
from kanbench.jobs import training as jobs
from kanbench.network.checkpoints import read_checkpoint
from kanbench.network.evaluation import evaluate
from kanbench.plan.config import experts, load_config, merge
from kanbench.plan.naming import Run
from kanbench.plan.settings import canonical_json, training_settings
from kanbench.problems.samples import make_dataset
from kanbench.training import resume
from kanbench.training.trainer import make_data
from support.results import STAMP, TINY, command

FILES = ("config.yml", "state", "cache_data")


def write_config(folder):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def without_times(record):
    if isinstance(record, dict):
        return {key: without_times(value) for key, value in record.items() if "time" not in key or key == "timestamp"}
    return [without_times(value) for value in record] if isinstance(record, list) else record


# --- the four kinds ---


@pytest.fixture(scope="module")
def four_kinds(tmp_path_factory):
    """One job of every kind, by its command: the runs, and the jobs with the numbers of samples that each made."""
    folder = tmp_path_factory.mktemp("jobs")
    given = "--config", write_config(folder), "--results-dir", folder / "results"
    run, merging = Run("section2_1", STAMP, 2, str(given[-1])), Run("section2_3", STAMP, None, str(given[-1]))
    expert_names = [merging.expert(1, *numbers) for numbers in experts(merge(load_config(), TINY))[:2]]
    records = [merging.record(name) for name in expert_names]
    merged, control = merging.training("merge_kan", 1), merging.training("control", 1)
    run_job, made = jobs.run_job, []

    def running(job, threads=1):
        made.append((job, []))
        run_job(job, threads)

    def counted(*arguments, **more):
        made[-1][1].append(arguments[0].name)
        return make_dataset(*arguments, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("kanbench.jobs.training.run_job", running)
        for module in ("training.trainer", "problems.target_scale"):
            patched.setattr(f"kanbench.{module}.make_dataset", counted)
        command("train", run.training("adam", 1), *given)
        command("train", *expert_names, *given)
        command("merge", merged, "--experts", *records, *given)
        command("control", control, "--merged", merging.record(merged), "--experts", *records, *given)
    assert [job.name.training for job, _ in made] == [run.training("adam", 1), *expert_names, merged, control]
    return run, merging, made


def test_every_job_makes_its_samples_once(four_kinds):
    assert [problems for _, problems in four_kinds[2]] == [["poisson_2d_sin"]] * 5


def test_what_a_job_leaves(four_kinds):
    """The record and the checkpoints of its kind, and nothing else."""
    run, merging, made = four_kinds
    expected = {run.record(made[0][0].name.training), *run.checkpoint_files("adam", 1)}
    for job, _ in made[1:3]:
        expected |= {
            merging.record(job.name.training),
            *(f"{merging.expert_checkpoint(job.name.training)}_{file}" for file in FILES),
        }
    expected |= {merging.record(made[3][0].name.training), *merging.checkpoint_files("merge_kan", 1)}
    expected |= {merging.record(made[4][0].name.training)}
    assert {str(path) for path in Path(run.results).rglob("*") if path.is_file()} == expected


def test_checkpoints_are_of_the_training_in_the_record(four_kinds):
    """And come with the training inputs."""
    for job, _ in four_kinds[2]:
        record = json.loads(Path(job.name.run.record(job.name.training)).read_text())
        data = make_data(job.settings)
        for which, base in job.checkpoints.items():
            row, network = record["checkpoints"][which], read_checkpoint(base)
            assert network.n_parameters == row["num_params"]
            for sample in ("train", "test"):
                x, y = getattr(data, f"{sample}_input"), getattr(data, f"{sample}_label")
                assert np.square(evaluate(network, x) - y).mean() == pytest.approx(row[f"{sample}_loss"], rel=1e-9)
        assert canonical_json(record["settings"]) == canonical_json(job.settings)
        assert record["dataset_name"] == "poisson_2d_sin"
    expert, merged, control = (
        json.loads(Path(job.name.run.record(job.name.training)).read_text()) for job, _ in four_kinds[2][2:]
    )
    assert expert["expert"]["depth"] == 1
    assert len(merged["merging"]["selected"]) == 2
    assert len(control["width"]) == len(merged["merging"]["width"])


def test_experts_and_merged_models_of_another_dataset_are_one_line(four_kinds, capsys):
    _, merging, made = four_kinds
    expert, merged = (merging.record(made[i][0].name.training) for i in (1, 3))
    given = ["--config", str(Path(merging.results).parent / "tiny.yaml"), "--results-dir", merging.results]
    control = ["control", merging.training("control", 1), "--merged", expert, "--experts", expert]
    for arguments, path, allowed in (
        (["merge", merging.training("merge_kan", 0), "--experts", expert], expert, "experts of dataset 0"),
        (["merge", merging.training("merge_kan", 1), "--experts", merged], merged, "experts of dataset 1"),
        (control, expert, "the merged model of dataset 1"),
    ):
        assert main([*arguments, *given]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"kanbench: {path}: ") and line.endswith(allowed)


# --- interruptions of the commit ---


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("with_state", [True, False], ids=["with a state", "without a state"])
@pytest.mark.parametrize(
    ("dies_in", "call"),
    [("write_checkpoint", 1), ("write_checkpoint", 2), ("write_record", 1), ("ResumeState.remove", 1)],
    ids=["before all", "between checkpoints", "before the record", "before the state is removed"],
)
def test_a_commit_that_is_interrupted_is_completed_by_running_again(
    tmp_path, monkeypatch, caplog, dies_in, call, with_state
):
    config = write_config(tmp_path)
    runs = [Run("section2_1", STAMP, 2, str(tmp_path / folder)) for folder in ("undisturbed", "killed")]
    undisturbed, killed = runs
    title = killed.training("lm", 0)
    if with_state:
        monkeypatch.setattr(resume, "EVERY_STAGE", 0.0)

    def train(run):
        return main(["train", title, "--config", str(config), "--results-dir", run.results])

    assert train(undisturbed) == 0
    calls = []

    def dying(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise Killed
        return original(*arguments)

    with monkeypatch.context() as patched:
        original = operator.attrgetter(dies_in)(jobs)
        patched.setattr(f"kanbench.jobs.training.{dies_in}", dying)
        with pytest.raises(Killed):
            train(killed)
    committed = dies_in == "ResumeState.remove"
    assert Path(killed.record(title)).exists() == committed  # it says that all is there
    assert Path(killed.resume_folder(title)).exists() == with_state
    caplog.clear()
    caplog.set_level("INFO")
    assert train(killed) == 0
    assert ("resuming after epoch 4" in caplog.text) == with_state
    assert not Path(killed.resume_folder(title)).exists()
    first, second = (json.loads(Path(run.record(title)).read_text()) for run in runs)
    assert without_times(second) == without_times(first)
    paths = [sorted(run.checkpoint_files("lm", 0)) for run in runs]
    assert [Path(path).read_bytes() for path in paths[0]] == [Path(path).read_bytes() for path in paths[1]]
    assert sorted(p.name for p in Path(killed.results).rglob("*")) == sorted(
        p.name for p in Path(undisturbed.results).rglob("*")
    )


def test_settings_in_json_are_those_of_the_configuration(tmp_path, capsys):
    """As the rules give them; of several trainings each has its own."""
    config = write_config(tmp_path)
    results = [tmp_path / folder for folder in ("config", "settings")]
    titles = [Run("section2_1", STAMP, 2).training("adam", i) for i in (0, 1)]
    settings = [canonical_json(training_settings(load_config(config), "section2_1", "adam", i)) for i in (0, 1)]
    for title in titles:
        command("train", title, "--config", config, "--results-dir", results[0])
    command("train", *titles, "--settings", *settings, "--results-dir", results[1])
    for title in titles:
        records = [json.loads((folder / "trainings" / f"{title}.json").read_text()) for folder in results]
        assert without_times(records[0]) == without_times(records[1])
    assert main(["train", *titles, "--settings", settings[0]]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "kanbench: --settings: found 1; allowed: 2, one for each name"
