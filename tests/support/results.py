"""Runs made by the commands of the rules, with a tiny configuration."""

from pathlib import Path

from kanbench.cli.main import main
from kanbench.plan.sections import SECTIONS
from kanbench.storage.stored_run import StoredRun, stored_runs

STAMP = "20260101_000000"
TINY = {
    "datasets": ["poisson_2d_poly", "poisson_2d_sin"],
    "epochs": 2,
    "data": {"train_num": 60, "test_num": 50, "dense_num": 200},
    "model": {"width": [2, 2, 1]},
    "grids": {"sizes": [3, 5]},
    "experts": {"depths": [1, 2], "orders": [3], "seeds": [1, 2], "hidden_width": 2, "epochs": 3},
    "merge_kan": {"n_selected": 2, "valid_num": 50, "grids": [5, 7], "epochs": 2},
}


def opened(run):
    """A run, opened; it need not have files."""
    return next((stored for stored in stored_runs(run.results) if stored.run == run), StoredRun(run, ()))


def command(*arguments):
    """Run a subcommand that has to succeed."""
    assert main([str(argument) for argument in arguments]) == 0


def train_and_compare(run, config):
    """Train what a run of section 2.1 or 2.2, or a replicate of one, consists of, and write its frames.

    On the two datasets of the configuration file; returns the paths of the records.
    """
    section = SECTIONS[run.section]
    records = {m: [run.record(run.training(m, i)) for i in (0, 1)] for m in section.model_types}
    every = [path for paths in records.values() for path in paths]
    for path in every:
        command("train", Path(path).stem, "--config", config, "--results-dir", run.results)
    for m, paths in records.items():
        command("frame", *run.frame_files(m), "--trainings", *paths, "--reference", *records[section.reference])
    return every


def train_and_merge(run, config, experts):
    """Train and merge these experts, and write the frames; returns the paths of the merged models' records."""
    given = "--config", config, "--results-dir", run.results
    parts = {"experts": [], "merged": [], "controls": []}
    for i in (0, 1):
        names = [run.expert(i, *expert) for expert in experts]
        for name in names:
            command("train", name, *given)
        paths = [run.record(name) for name in names]
        merged, control = run.training("merge_kan", i), run.training("control", i)
        command("merge", merged, "--experts", *paths, *given)
        command("control", control, "--merged", run.record(merged), "--experts", *paths, *given)
        parts["experts"] += paths
        parts["merged"].append(run.record(merged))
        parts["controls"].append(run.record(control))
    records = [argument for part, paths in parts.items() for argument in (f"--{part}", *paths)]
    for frame in SECTIONS["section2_3"].frames:
        command("merge-frame", *run.frame_files(frame), "--n-selected", 2, *records)
    return parts["merged"]
