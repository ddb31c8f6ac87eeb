"""`list`, `inspect` and `verify` on the command line: what they say about runs and files."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import kanbench
from kanbench.cli.main import main
from kanbench.errors import InputError
from kanbench.network.initialization import initialize
from kanbench.network.pykan import save_checkpoint, to_pykan
from kanbench.plan.naming import Run
from kanbench.storage.verification import verify
from support.old_formats import STAMP, STEM, json_beside, plain_frame, present, write
from support.results import opened


def said(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments, lines=1):
    assert main([str(argument) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == lines
    return error


def test_a_name_that_no_file_can_have_is_one_line(capsys):
    path = Path("a" * 300, "b", "c")
    for command in (["inspect", str(path)], ["list", "--results-dir", str(path)]):
        assert main(command) == 1
        assert "no such" in capsys.readouterr().err


def test_runs_are_listed_as_a_table(tmp_path, capsys):
    present(tmp_path / "sec1_results")
    write(tmp_path, f"section1_1_{STAMP}", ("mlp", "kan_pruning"))
    torch.save({}, tmp_path / f"section1_1_{STAMP}_mlp_0_final.pth")
    header, *rows = said(capsys, "list", "--results-dir", tmp_path).splitlines()
    columns = ["section", "timestamp", "epochs", "frames", "checkpoints", "more_seeds", "MB", "written", "folder"]
    assert header.split() == columns
    assert len(rows) == 2
    assert rows[0].split()[:4] == ["section1_1", STAMP, "kan_pruning,", "mlp"]
    assert rows[1].split()[:5] == ["section2_1", STAMP, "2", "adam,", "lbfgs"]
    assert len(said(capsys, "list", "section2_1", "--results-dir", tmp_path).splitlines()) == 2
    (tmp_path / "empty").mkdir()
    assert said(capsys, "list", "--results-dir", tmp_path / "empty") == f"{tmp_path / 'empty'}: no runs\n"
    assert "none: no such folder" in refused(capsys, "list", "--results-dir", tmp_path / "none")
    assert "section: found 'section9'" in refused(capsys, "list", "section9", "--results-dir", tmp_path)


@pytest.mark.parametrize(
    "command",
    [["summary"], ["summary", "section2_1"], ["report"], ["verify"], ["migrate"]]
    + [[name, "section2_1"] for name in ("tables", "figures", "verify")],
    ids=" ".join,
)
@pytest.mark.parametrize(("folder", "words"), [("empty", "no runs"), ("none", "no such folder")])
def test_what_needs_a_run_says_where_runs_come_from(command, folder, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    hint = "make run makes runs; --results-dir names another folder"
    assert refused(capsys, *command, "--results-dir", tmp_path / folder) == (
        f"kanbench: {tmp_path / folder}: {words} ({hint})\n"
    )


@pytest.mark.parametrize("name", [os.fsdecode(b"nu\xff"), "\33[31mred"], ids=["no text", "a command to a terminal"])
def test_folders_of_any_name_are_listed(name, tmp_path, capsys):
    folder = tmp_path / name
    write(folder / "sec1_results", f"{STEM}_e2")
    shown = tmp_path / name.replace("\udcff", "?").replace("\33", "?")
    for command in (["list", "--results-dir", folder], ["inspect", folder]):
        assert f"{shown}/sec1_results\n" in said(capsys, *command)
        (folder / "empty").mkdir(exist_ok=True)
        assert said(capsys, *command[:-1], folder / "empty") == f"{shown}/empty: no runs\n"


def test_names_that_are_no_text_are_written_as_they_are(tmp_path):
    folder = os.fsencode(tmp_path) + b"/nu\xff"
    write(Path(os.fsdecode(folder)) / "sec1_results", f"{STEM}_e2")
    command = [sys.executable, "-m", "kanbench", "verify", "--results-dir", folder]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}  # as in most places
    done = subprocess.run(command, env=strict, capture_output=True, check=False)
    assert folder + b"/sec1_results/" in done.stdout
    assert done.stderr.splitlines()[-1].startswith(b"kanbench: verify: ")


def test_output_that_is_closed_or_encoded_as_the_user_says(tmp_path):
    (folder := tmp_path / "nü").mkdir()
    command = [sys.executable, "-m", "kanbench", "list", "--results-dir", folder]
    env = os.environ | {"PYTHONIOENCODING": "ascii:replace"}
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (f"{tmp_path}/n?: no runs\n".encode(), b"")
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_tensors_beside_other_things_are_explained(tmp_path, capsys):
    shared = [1.0]
    for _ in range(20):  # 2 ** 20 numbers when written out
        shared = [shared, shared]
    torch.save({"shared": shared, "epoch": 3, "name": "kan", "weight": torch.zeros(2)}, tmp_path / "model.pth")
    *_, first, epoch, name, weight = said(capsys, "inspect", tmp_path / "model.pth").splitlines()
    assert (first, epoch, name) == ("  shared: list", "  epoch: 3", '  name: "kan"')
    assert weight == "  weight: (2,) torch.float32"


def test_a_frame_is_explained(tmp_path, capsys):
    frame = plain_frame("adam")
    frame.attrs = {"section": "section2_1", "device": "cpu", "grids": [3, 5]}
    path = tmp_path / f"{STEM}_e2_adam.pkl"
    frame.to_pickle(path)
    text = said(capsys, "inspect", path)
    assert f"{path}: frame adam of section2_1: 8 rows" in text
    assert 'attrs: device = "cpu"' in text
    assert "missing attrs: timestamp, model_type, epochs, lbfgs_threshold_time" in text
    assert "attrs that can be derived: grids" in text
    assert "trainings: 2, grids 3, 5" in text
    assert "1 poly: 4 epochs to grid 5; train_loss 0.25, test_loss 0.5, dense_mse 0.5" in text
    shutil.copy(path, tmp_path / "mail.pkl")  # a name that tells nothing
    assert "frame ? of section2_1: 8 rows" in said(capsys, "inspect", tmp_path / "mail.pkl")


def test_a_run_of_an_earlier_format_is_explained(tmp_path, capsys):
    json_beside(tmp_path)
    save_checkpoint(to_pykan(initialize([2, 2, 1], 3)), str(tmp_path / f"{STEM}_adam_0_final"), torch.zeros(1, 2))
    text = said(capsys, "inspect", tmp_path / STEM)
    assert "format: an earlier one (migrate turns it into the present one)" in text
    assert "meta: lbfgs_threshold_time = 45.2" in text
    assert "frame lbfgs: 8 rows" in text
    assert "checkpoint adam, dataset 0: final" in text
    assert "missing: frame lm" in text
    assert "missing: metrics of the checkpoints" in text
    assert "the run section2_1" in said(capsys, "inspect", tmp_path / f"{STEM}_meta.json")
    assert ": 1 runs\n" in said(capsys, "inspect", tmp_path)


def test_other_files_are_explained(tmp_path, capsys):
    base = tmp_path / f"{STEM}_e2_adam_0_final"
    save_checkpoint(to_pykan(initialize([2, 3, 1], 5)), str(base), torch.zeros(4, 2))
    text = said(capsys, "inspect", f"{base}_state")
    assert "KAN: width [2, 3, 1], grid 5, k 3, 9 edges, device cpu" in text
    assert "act_fun.0.coef: (2, 3, 8) torch.float64" in text
    assert f"complete: KAN.loadckpt('{base}') reads it" in text
    assert said(capsys, "inspect", base) == text
    Path(f"{base}_cache_data").unlink()
    assert "missing: cache_data" in said(capsys, "inspect", f"{base}_config.yml")
    torch.save({"weight": torch.ones(2, 3)}, tmp_path / f"section1_1_{STAMP}_mlp_0.pth")
    assert "weight: (2, 3) torch.float32" in said(capsys, "inspect", tmp_path / f"section1_1_{STAMP}_mlp_0.pth")
    metadata = {"adam": {0: {"final": {"epoch": 3, "test_loss": 0.125}}}}
    for name in (f"{STEM}_checkpoint_metadata.pkl", "mail.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(metadata))
        assert "adam, dataset 0, final: epoch 3, test_loss 0.125" in said(capsys, "inspect", tmp_path / name)
    (tmp_path / "notes.json").write_text(json.dumps({"a": 1}))
    assert "not a kanbench file" in said(capsys, "inspect", tmp_path / "notes.json")


def test_what_cannot_be_explained_is_one_line(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("hello")
    assert "not a kanbench file" in refused(capsys, "inspect", tmp_path / "notes.txt")
    assert "no such file or run" in refused(capsys, "inspect", tmp_path / STEM)
    (tmp_path / "mail.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "refused: it names os.system" in refused(capsys, "inspect", tmp_path / "mail.pkl")
    pd.DataFrame({"when": [pd.Timestamp("2026-01-01", tz="UTC")]}).to_pickle(tmp_path / "date.pkl")
    assert "refused" in refused(capsys, "inspect", tmp_path / "date.pkl")
    assert "columns: when" in said(capsys, "inspect", tmp_path / "date.pkl", "--trusted")


@pytest.mark.slow
def test_verify_on_the_command_line(tiny_results, tmp_path, capsys):
    text = said(capsys, "verify", "--results-dir", tiny_results)
    assert [line.split(": ")[1] for line in text.splitlines()] == ["no faults"] * 3
    shutil.copytree(tiny_results / "sec1_results", tmp_path / "sec1_results")
    run = Run("section2_1", "20260101_000000", 2, str(tmp_path))
    Path(run.frame("lm")).unlink()
    assert main(["verify", "section2_1", "--results-dir", str(tmp_path)]) == 1
    out, error = capsys.readouterr()
    assert f"{run.frame('lm')}: missing\n" in out
    assert "not checked: " in out
    assert error == "kanbench: verify: 1 fault\n"
    interrupted = Run("section2_1", "20270101_000000", 2, str(tmp_path))  # not passed over
    shutil.copy(run.checkpoint_metadata(), interrupted.checkpoint_metadata())
    assert main(["verify", "section2_1", "--results-dir", str(tmp_path)]) == 1
    assert f"{interrupted.frame('adam')}: missing\n" in capsys.readouterr().out
    write(tmp_path / "earlier", f"section1_1_{STAMP}", ("mlp",))
    assert "no run of section2_1, section2_2" in refused(capsys, "verify", "--results-dir", tmp_path / "earlier")


@pytest.mark.slow
def test_whole_runs_are_explained(tiny_results, capsys):
    text = said(capsys, "inspect", tiny_results / "sec3_results" / "section2_3_20260101_000000")
    assert "missing" not in text
    assert "earlier" not in text
    assert "meta: n_experts = 4" in text
    record = tiny_results / "trainings" / "section2_1_20260101_000000_e2_lm_0.json"
    assert "history: 4 epochs" in said(capsys, "inspect", record)


@pytest.mark.parametrize(
    "columns",
    [
        {"epoch": "a"},
        {"epoch": float("nan")},
        {"grid_size": float("inf")},
        {"grid_size": [[3]]},
        {"dataset_idx": [[1]]},
        {"dataset_idx": -1},
        {"dataset_idx": 1 << 28},
        {"dataset_idx": 0.5},
        {"train_loss": "a"},
        {"dataset_name": [[1]]},
    ],
    ids=str,
)
def test_columns_of_anything_are_one_line(tmp_path, capsys, columns):
    frame = pd.DataFrame({"dataset_idx": [0], "epoch": [1], "grid_size": [3], "train_loss": [0.5]}).assign(**columns)
    path = tmp_path / "section2_1_20250101_000000_e2_adam.pkl"
    frame.to_pickle(path)
    assert refused(capsys, "inspect", path).startswith(f"kanbench: {path}: {next(iter(columns))}: found ")


def test_models_without_a_grid_are_explained(tmp_path, capsys):
    plain_frame("mlp").assign(grid_size=float("nan")).to_pickle(tmp_path / f"section1_1_{STAMP}_mlp.pkl")
    text = said(capsys, "inspect", tmp_path / f"section1_1_{STAMP}")
    assert "meta: epochs = 4" in text
    assert "1 poly: 4 epochs; train_loss 0.25" in text


@pytest.mark.parametrize("missing", [range(8), [3]], ids=["in all rows", "in the last of a training"])
def test_losses_that_are_missing_are_said(missing, tmp_path, capsys):
    frame = plain_frame("adam").astype({"train_loss": object})
    frame.loc[list(missing), "train_loss"] = None
    frame.to_pickle(tmp_path / f"{STEM}_e2_adam.pkl")
    for path in (tmp_path / f"{STEM}_e2_adam.pkl", tmp_path / f"{STEM}_e2"):
        text = said(capsys, "inspect", path)
        assert "0 sin: 4 epochs to grid 5; train_loss not a number, test_loss 0.25, dense_mse 0.5" in text


@pytest.mark.parametrize("target", ["gone", f"{STEM}_e2_adam.pkl"], ids=["to nothing", "to itself"])
def test_links_that_lead_nowhere_are_files_that_cannot_be_read(target, tmp_path, capsys):
    """They are what is left of a run whose files lie elsewhere: it is listed, and nothing is loaded without them."""
    folder = tmp_path / "sec1_results"
    present(folder)
    link = folder / f"{STEM}_e2_adam.pkl"
    link.unlink()
    link.symlink_to(folder / target)
    for command in (["list", "--results-dir", tmp_path], ["inspect", folder]):
        assert "2 adam, lbfgs" in said(capsys, *command)
    for command in (
        ["inspect", link],
        ["inspect", folder / f"{STEM}_e2"],
        ["migrate", "--results-dir", tmp_path],
    ):
        assert f"{link}: cannot be read (" in refused(capsys, *command, lines=2 if command[0] == "migrate" else 1)
    with pytest.raises(InputError, match=r"adam\.pkl: cannot be read"):
        kanbench.load_run("section2_1", results_dir=tmp_path)
    assert f"{link}: missing" in map(str, verify(opened(kanbench.find_run("section2_1", results_dir=tmp_path))).faults)


def test_links_that_lead_nowhere_are_named_whatever_they_stand_for(tmp_path, capsys):
    present(tmp_path)
    base = tmp_path / f"{STEM}_e2_adam_0_final"
    save_checkpoint(to_pykan(initialize([2, 2, 1], 3)), str(base), torch.zeros(1, 2))
    for name in ("adam_0_final_state", "checkpoint_metadata.pkl", "meta.json"):
        link = tmp_path / f"{STEM}_e2_{name}"
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / "gone")
        assert refused(capsys, "inspect", link).startswith(f"kanbench: {link}: cannot be read (")
        if name.endswith("_state"):  # one model does not cost the frames
            with pytest.warns(UserWarning, match=f"left out: .*{name}: cannot be read"):
                kanbench.load_run("section2_1", results_dir=tmp_path, load_models=True)
        else:
            with pytest.raises(InputError, match=f"{name}: cannot be read"):
                kanbench.load_run("section2_1", results_dir=tmp_path)
                kanbench.load_checkpoint_metadata("section2_1", results_dir=tmp_path)
        link.unlink()
        if name.endswith("_state"):
            Path(f"{base}_config.yml").unlink()


def test_a_link_that_leads_nowhere_is_not_written_over(tmp_path, capsys):
    write(tmp_path, f"{STEM}_e2", ("adam",), {"device": "cpu"})
    link = tmp_path / f"{STEM}_e2_adam.parquet"
    link.symlink_to(tmp_path / "gone")
    assert f"{link}: cannot be read (" in refused(capsys, "migrate", "--results-dir", tmp_path, lines=2)
    assert link.is_symlink()
