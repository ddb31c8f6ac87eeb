"""Snakemake, as users call it: real runs of the smoke configuration, targets, and what goes wrong."""

import os
import pickle
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from kanbench.plan.config import DEFAULT_CONFIG
from kanbench.plan.figures import FORMATS, figures_of
from kanbench.plan.naming import CHECKPOINT_FILES, Run
from kanbench.plan.sections import SECTIONS
from support.kills import Finished, Pipeline, kill_and_continue
from support.pipelines import SMOKE, STAMP, contents, planned, run, snakemake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smoke(smoke_folder):
    """A finished smoke run: its folder, and the run of section 2.1 that the pinned timestamp names."""
    folder = smoke_folder
    return folder, Run("section2_1", (folder / "results" / "timestamp").read_text().strip(), 3)


def others(finished):
    """The runs of the other sections."""
    return Run("section2_2", finished.timestamp, finished.epochs), Run("section2_3", finished.timestamp)


EXPERTS = [(depth, k, 1) for depth in (1, 2) for k in (2, 3)]


def test_the_files_are_the_contracts(smoke):
    folder, finished = smoke
    found = contents(folder)
    trainings = []
    for made in (finished, *others(finished)):
        delivered = [path for path in found if path.startswith(f"{made.folder}/")]
        assert delivered == sorted(made.deliverables(2))
        assert [path for path in found if path.startswith(f"{made.table_folder}/")] == sorted(made.table_files())
        trainings += [made.training(m, i) for m in SECTIONS[made.section].model_types for i in (0, 1)]
    experts = [made.expert(i, *expert) for expert in EXPERTS for i in (0, 1)]
    trainings += experts + [made.training("control", i) for i in (0, 1)]
    jobs = {*trainings} - {*experts} | {others(finished)[1].experts_job(i, 1) for i in (0, 1)}
    for kind, suffix, made in [("trainings", "json", trainings), ("logs", "log", jobs), ("benchmarks", "tsv", jobs)]:
        assert {f"results/{kind}/{name}.{suffix}" for name in made} <= set(found)
    handed_over = {f"results/trainings/{training}.json" for training in trainings}
    handed_over |= {f"results/trainings/{expert}_{file}" for expert in experts for file in CHECKPOINT_FILES}
    assert {path for path in found if path.startswith("results/trainings/")} == handed_over
    folders = {path.split("/")[1] for path in found if path.count("/") > 1}
    ours = {"sec1_results", "sec2_results", "sec3_results", "trainings", "logs", "benchmarks", "tables", "figures"}
    assert folders == ours
    drawn = [
        f"{made.figure_folder}/{figure.name}.{suffix}"
        for made in (finished, *others(finished))
        for figure in figures_of(made.section, {"poisson_2d_poly": 2, "poisson_2d_sin": 2})
        for suffix in FORMATS
    ]
    assert {path for path in found if path.startswith("results/figures/") and Path(path).suffix} == set(drawn)
    for made in (finished, *others(finished)):
        assert "left out" not in (folder / made.log(f"{made.name}_figures")).read_text()
    assert {path for path in found if path.count("/") < 1} == {"results"}
    page = (folder / "results" / "report.html").read_text()
    for made in (finished, *others(finished)):
        assert made.name in page
    assert "Missing:" not in page


def test_progress_is_told_in_words(smoke_run):
    """In few lines without control characters; Snakemake's own are in its log."""
    folder, told = smoke_run
    lines = told.splitlines()
    assert "\x1b" not in told
    assert "39 jobs to do" in lines
    assert re.fullmatch(r"\d+:\d\d  39 of 39 jobs are done", lines[-1])
    done = [line.partition("  done: ")[2] for line in lines]
    assert {"train_expert, 2 jobs", "Drawing the figures of Section 2.1", "Writing the summary page"} <= set(done)
    assert len([line for line in lines if " of 39 done" not in line]) < 30  # those are of a machine's speed
    log = min((folder / ".snakemake" / "log").iterdir()).read_text()  # later ones are of other tests
    assert "Training L-BFGS on poisson_2d_sin" in log
    for word in ("Finished jobid: 3", "39 of 39 steps (100%) done"):
        assert word in log
        assert word not in told


def test_the_report_is_built_without_a_network(smoke):
    """With the figures in it, their captions and labels."""
    folder, _ = smoke
    before = contents(folder)
    try:
        result = snakemake(folder, "--report", "report.html")
        assert result.returncode == 0, result.stderr
        report = (folder / "report.html").read_text()
        assert "<script src=" not in report
        assert report.count("data:image/png;") == 10 + 11 + 5
        assert report.count("data:text/html;") == 3 * 2
        for text in (
            f"2.3 {SECTIONS['section2_3'].question}",
            "The merged network",
            "poisson_2d_sin",
            "One seed: there is no",
            "Statements",
        ):
            assert text in report
    finally:
        for path in set(contents(folder)) - set(before):
            (folder / path).unlink()


def test_a_second_invocation_has_nothing_to_do(smoke):
    folder, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in (folder / "results").rglob("*")}
    result = snakemake(folder)
    assert result.returncode == 0
    assert "Nothing to be done" in result.stdout + result.stderr
    assert {path: path.stat().st_mtime_ns for path in (folder / "results").rglob("*")} == before


def test_logs_have_a_line_per_epoch(smoke):
    folder, finished = smoke
    log = (folder / finished.log(finished.training("lm", 0))).read_text()
    assert "epoch 1/6  grid 3" in log
    assert "epoch 6/6  grid 6" in log


# With pandas, pickle and pykan only: what anybody has.
PLAIN = """
import pickle, sys
from pathlib import Path
import pandas as pd
import torch
from kan import KAN
from kan.utils import create_dataset

f = [
    lambda x: 2 * x[:, [1]] * (1 - x[:, [1]]) + 2 * x[:, [0]] * (1 - x[:, [0]]),
    lambda x: 2 * torch.pi**2 * torch.sin(torch.pi * x[:, [0]]) * torch.sin(torch.pi * x[:, [1]]),
]
inputs = create_dataset(f[0], n_var=2, train_num=200, test_num=200, seed=0)["test_input"].double()
torch.set_default_dtype(torch.float64)

def metadata_of(base):
    return pickle.load(open(base + "_checkpoint_metadata.pkl", "rb"))

def model_of(path, i, test_loss):
    model = KAN.loadckpt(path)
    loss = (model(inputs) - f[i](inputs)).square().mean().item()
    assert abs(loss - test_loss) <= 1e-9 * loss, (path, loss, test_loss)
    return model

optimizers, density, merging = sys.argv[1:]

# Section 2.1
base, metadata = optimizers, metadata_of(optimizers)
assert list(metadata) == ["adam", "lbfgs", "lm"]
for model_type in metadata:
    df = pd.read_pickle(f"{base}_{model_type}.pkl")
    same = pd.read_parquet(f"{base}_{model_type}.parquet")
    pd.testing.assert_frame_equal(df, same, check_dtype=False, check_column_type=False)
    assert df.attrs == same.attrs
    assert (df.groupby("dataset_idx")["epoch"].max() == 6).all() and len(df) == 12
    assert df["optimizer"].unique().tolist() == [model_type]
    assert list(df.attrs) == [
        "section", "timestamp", "epochs", "device", "model_type",
        "lbfgs_threshold_time", "baseline_threshold_time", "provenance",
    ]
    for i in (0, 1):
        loaded = {}
        for name in ("at_threshold", "final"):
            record = metadata[model_type][i][name]
            model = model_of(f"{base}_{model_type}_{i}_{name}", i, record["test_loss"])
            row = df[(df["dataset_idx"] == i) & (df["epoch"] == record["epoch"])].iloc[0]
            assert row["test_loss"] == record["test_loss"] and row["time"] == record["time"]
            loaded[name] = model.state_dict()["act_fun.0.coef"]
        same = metadata[model_type][i]["at_threshold"]["epoch"] == metadata[model_type][i]["final"]["epoch"]
        assert same == (loaded["at_threshold"].shape == loaded["final"].shape
                        and torch.equal(loaded["at_threshold"], loaded["final"]))

# Section 2.2
base, metadata = density, metadata_of(density)
assert list(metadata) == ["adaptive_only", "adaptive_regular", "baseline"]
num_params = set()
for approach, per_dataset in metadata.items():
    df = pd.read_pickle(f"{base}_{approach}.pkl")
    assert (df["approach"] == approach).all() and len(df) == 12
    assert df.attrs["lbfgs_threshold_time"] is None and df.attrs["baseline_threshold_time"] > 0
    assert (df["total_neurons"] == 7).all()
    assert (df["important_neurons"] == (7 if approach == "baseline" else 4)).all()
    for name in ("at_threshold", "final"):
        record = per_dataset[0][name]
        assert record["approach"] == approach
        model_of(f"{base}_{approach}_0_{name}", 0, record["test_loss"])
        row = df[(df["dataset_idx"] == 0) & (df["epoch"] == record["epoch"])].iloc[0]
        assert row["test_loss"] == record["test_loss"] and row["num_params"] == record["num_params"]
    num_params.add(record["num_params"])
assert len(num_params) == 3

# Section 2.3: the merged model, its experts and their weights
base, metadata = merging, metadata_of(merging)
frames = {}
for name in ("summary", "experts", "selected_experts", "grid_history"):
    frames[name] = pd.read_pickle(f"{base}_{name}.pkl")
    assert frames[name].attrs["n_experts"] == 4 and frames[name].attrs["n_selected"] == 3
metadata = metadata["merge_kan"]
summary = frames["summary"].set_index("dataset_idx")
assert summary["merged_dense_mse"][1] == metadata[1]["final"]["dense_mse"]
for name in ("at_threshold", "final"):
    model_of(f"{base}_merge_kan_0_{name}", 0, metadata[0][name]["test_loss"])
experts = frames["experts"][frames["experts"]["dataset_idx"] == 0]
assert len(experts) == 4 and experts["selected"].sum() == 3
for expert in experts.itertuples():
    path = f"results/trainings/{Path(base).name}_expert_0_d{expert.depth}_k{expert.k}_s{expert.seed}"
    model_of(path, 0, expert.test_loss)
assert (frames["selected_experts"]["dataset_idx"] == 0).sum() == 3
history = frames["grid_history"].query("dataset_idx == 0")
assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]

assert "kanbench" not in sys.modules
print("checked")
"""


def test_results_are_read_without_kanbench(smoke):
    folder, finished = smoke
    bases = [f"{made.folder}/{made.name}" for made in (finished, *others(finished))]
    result = run([sys.executable, "-W", "ignore", "-c", PLAIN, *bases], folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("checked\n")


def test_results_do_not_depend_on_the_cores(smoke, tmp_path):
    folder, finished = smoke
    given = [f"timestamp={finished.timestamp}", "datasets=[poisson_2d_poly]"]
    runs = finished, *others(finished)
    targets = [made.frame(name) for made in runs for name in SECTIONS[made.section].frames]
    targets += [made.checkpoint_metadata() for made in runs]
    result = snakemake(tmp_path, "--config", *given, "--verbose", "--", *targets, cores=1)
    assert result.returncode == 0, result.stderr
    jobs = len(re.findall("Finished jobid", result.stderr))
    assert jobs > 20
    assert result.stderr.count("Ready jobs: ") < 2 * jobs  # it does not look for jobs to start again and again
    assert not (tmp_path / "results" / "timestamp").exists()  # it was given, not chosen
    for made in runs:
        for name in SECTIONS[made.section].frames:
            frames = [pd.read_pickle(root / made.frame(name)) for root in (folder, tmp_path)]
            times = [column for column in frames[0] if column.endswith(("time", "time_per_epoch"))]
            first, second = (frame.query("dataset_idx == 0").drop(columns=times) for frame in frames)
            pd.testing.assert_frame_equal(first, second, check_exact=True)
        for path in (p for m in SECTIONS[made.section].model_types for p in made.checkpoint_files(m, 0)):
            if path.endswith("_state"):
                states = [torch.load(root / path, weights_only=True) for root in (folder, tmp_path)]
                assert states[0].keys() == states[1].keys()
                assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_single_checkpoint_trains_one_model(tmp_path):
    wanted = Run("section2_1", STAMP, 1)
    result = snakemake(tmp_path, "--", f"{wanted.checkpoint('lm', 1, 'final')}_state")
    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / "results" / "sec1_results") == sorted(
        Path(path).name for path in wanted.checkpoint_files("lm", 1)
    )
    assert not (tmp_path / "results" / "timestamp").exists()  # the target names its run


def test_a_deleted_checkpoint_is_made_again(smoke):
    folder, finished = smoke
    path = folder / finished.checkpoint_files("lm", 1)[1]
    kept = path.read_bytes()
    modified = path.stat()
    path.unlink()
    try:
        assert planned(snakemake(folder, "--dry-run"))["train_section2_1"] == 1
    finally:
        path.write_bytes(kept)
        os.utime(path, ns=(modified.st_atime_ns, modified.st_mtime_ns))


def test_a_changed_setting_trains_only_what_depends_on_it(smoke):
    folder, _ = smoke
    jobs = planned(snakemake(folder, "--dry-run", "--config", "optimizers={adam: {lr: 0.5}}"))
    assert jobs["train_section2_1"] == 2
    assert planned(snakemake(folder, "--dry-run", "--config", "seeds=[2]"))["train_section2_1"] == 6
    jobs = planned(snakemake(folder, "--dry-run", "--config", "adaptive_density={refinement_factor: 3}"))
    assert jobs["train_section2_2"] == 6  # the baseline's settings name it too
    assert "train_section2_1" not in jobs
    jobs = planned(snakemake(folder, "--dry-run", "--config", "merge_kan={cross_edges: zero}"))
    assert "train_expert" not in jobs
    assert jobs["merge_experts"] == jobs["train_control"] == 2
    assert planned(snakemake(folder, "--dry-run", "--config", "epochs=2"))["train_section2_1"] == 6


def test_a_new_run_is_asked_for(smoke):
    folder, finished = smoke
    small = ["epochs=1", "datasets=[poisson_2d_poly]", "grids={sizes: [3]}", "optimizers={compared: [lbfgs]}"]
    result = snakemake(folder, "--config", "timestamp=new", *small, "--", "section2_1")
    try:
        assert result.returncode == 0, result.stderr
        timestamp = (folder / "results" / "timestamp").read_text().strip()
        assert timestamp != finished.timestamp
        for path in Run("section2_1", timestamp, 1).deliverables(1, ["lbfgs"]):
            assert (folder / path).exists()
        assert "Nothing to be done" in snakemake(folder, "--config", *small, "--", "section2_1").stderr
    finally:
        (folder / "results" / "timestamp").write_text(finished.timestamp)


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(smoke, tmp_path):
    """Killed when some experts have finished, and compared with the smoke run; `support/kills.py` does more of it."""
    folder, finished = smoke
    targets = others(finished)[1].deliverables(2)
    killed = Pipeline(tmp_path / "killed", 2, [f"timestamp={finished.timestamp}"], targets)
    some_finished = lambda: "Finished jobid" in (killed.folder / "killed.txt").read_text()  # noqa: E731
    kills, kept = kill_and_continue(killed, [some_finished])
    assert kills == 1
    assert 0 < kept < 2 * (len(EXPERTS) + 2)  # the experts, the merged model, its control
    assert "no faults" in killed.run(sys.executable, "-m", "kanbench", "verify")
    made, undisturbed = killed.results(), Finished(folder).results()
    assert {Path(target).relative_to("results") for target in targets} <= set(map(Path, made))
    assert made == {name: undisturbed[name] for name in made}


def test_a_loss_that_is_not_finite_does_not_stop_the_pipeline(tmp_path):
    given = ["optimizers={adam: {lr: 1.0e300}}", "datasets=[poisson_2d_poly]", f"timestamp={STAMP}"]
    result = snakemake(tmp_path, "--config", *given, "--", "section2_1")
    assert result.returncode == 0, result.stderr
    made = Run("section2_1", STAMP, 3)
    assert (
        "ended early: epoch 1 ended with a loss that is not finite"
        in (tmp_path / made.log(made.training("adam", 0))).read_text()
    )
    assert len(pd.read_pickle(tmp_path / made.frame("adam"))) == 0
    metadata = pickle.loads((tmp_path / made.checkpoint_metadata()).read_bytes())
    assert metadata["adam"][0]["final"]["epoch"] == 0
    assert metadata["lm"][0]["final"]["epoch"] == 6


def test_smoke_is_the_same_pipeline_with_fewer_keys():
    assert set(yaml.safe_load(SMOKE.read_text())) < set(yaml.safe_load(DEFAULT_CONFIG.read_text()))
