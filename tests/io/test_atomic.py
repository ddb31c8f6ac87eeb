"""Files that several processes write, or that a process was killed over, or that do not fit on the disk."""

import os
import signal
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

import kanbench
from kanbench.errors import InputError
from kanbench.io.atomic import PARTIAL, atomic_folder, atomic_write, check_writable
from kanbench.io.locks import locked
from kanbench.plan.config import ROOT
from support.windows import PRETENDED

# What does not rest on the locks of Unix is tested without them, too.
systems = pytest.mark.parametrize("before", ["", PRETENDED], ids=["here", "as on Windows"])


def start(code, folder, before=""):
    """Another process that runs `code` in a folder."""
    program = f"{before}\nimport sys, time\nfrom kanbench.io.atomic import *\n{textwrap.dedent(code)}"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ends_well(process):
    process.communicate()
    assert process.returncode == 0


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    """But not what another process is still writing."""
    code = """
        with atomic_write("result") as partial:
            partial.write_text("half")
            print("writes", flush=True)
            sys.stdin.readline()
    """
    killed, living = start(code, tmp_path), start(code, tmp_path)
    for process in (killed, living):
        assert process.stdout.readline() == "writes\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(list(tmp_path.glob(f"{PARTIAL}*"))) == 2
    with atomic_write(tmp_path / "other") as partial:
        partial.write_text("whole")
    (left,) = tmp_path.glob(f"{PARTIAL}*")
    assert (left / "result").read_text() == "half"
    ends_well(living)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "result"]


@systems
def test_processes_that_write_the_same_file_leave_one_of_theirs(before, tmp_path):
    code = """
        for _ in range(100):
            with atomic_write("result") as partial:
                partial.write_text(WORD * 10000)
    """
    both = [start(code.replace("WORD", repr(word)), tmp_path, before) for word in "ab"]
    while any(process.poll() is None for process in both):
        if (tmp_path / "result").exists():
            text = (tmp_path / "result").read_text()
            assert len(text) == 10000
            assert len(set(text)) == 1
    for process in both:
        ends_well(process)
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@systems
def test_one_process_at_a_time(before, tmp_path):
    code = """
        for _ in range(50):
            with folder_lock("."):
                with open("log", "a") as log:
                    log.write("begins ")
                time.sleep(0.001)
                with open("log", "a") as log:
                    log.write("ends\\n")
    """
    both = [start(code, tmp_path, before) for _ in range(2)]
    for process in both:
        ends_well(process)
    assert (tmp_path / "log").read_text().splitlines() == ["begins ends"] * 100


def test_a_lock_ends_with_its_process(tmp_path):
    process = start("with folder_lock('.'):\n    print('locked', flush=True)\n    sys.stdin.readline()", tmp_path)
    process.stdout.readline()
    with locked(tmp_path, wait=False) as is_free:
        assert not is_free
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with locked(tmp_path, wait=False) as is_free:
        assert is_free


def test_a_lock_that_windows_has_leaves_nothing(tmp_path, monkeypatch):
    """Not even where the locks are; and what is left by a process without a lock is cleared away."""
    (tmp_path / "temporary").mkdir()
    code = f"""
        Path("{PARTIAL}left").mkdir()
        with folder_lock("."), atomic_write("result") as partial:
            partial.write_text("whole")
            with locked(Path("."), wait=False) as is_held, locked(partial.parent, wait=False) as is_left:
                print(is_held, is_left, *sorted(path.name for path in Path(".").iterdir()))
    """
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    process = start(code, tmp_path, PRETENDED)
    said, _ = process.communicate()
    assert process.returncode == 0
    assert said.startswith(f"False False {PARTIAL}")
    assert "left" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"result", "temporary"}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_several_files_appear_together_or_not_at_all(tmp_path):
    def write(fail):
        with atomic_folder(tmp_path / "run", about="run") as folder:
            (folder / "a").write_text("a")
            assert not (tmp_path / "run" / "a").exists()
            (folder / "b").write_text("b")
            if fail:
                raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"^run: cannot be written \(No space left on device\)$"):
        write(fail=True)
    assert list((tmp_path / "run").iterdir()) == []
    write(fail=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["a", "b"]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"below: cannot be written \(Not a directory\)"):
        check_writable(tmp_path / "file" / "below")
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


SAVE = """
    import warnings
    import pandas as pd
    import kanbench
    number = NUMBER
    row = {"dataset_idx": 0, "dataset_name": "poisson_2d_sin", "grid_size": 3, "train_loss": number, "test_loss": 1.0,
           "dense_mse": 1.0, "time": 1.0, "total_time": 1.0, "time_per_epoch": 1.0, "n_evals": 1, "num_params": 1}
    frames = {m: pd.DataFrame([{**row, "epoch": e, "optimizer": m} for e in range(1, 2000)]) for m in TYPES}
    for go in sys.stdin:
        kanbench.save_run(frames, "section2_1", timestamp=go.strip(), epochs=10, device="cpu",
                          lbfgs_threshold_time=number, results_dir=".", overwrite=True)
        print("saved", flush=True)
"""


@pytest.mark.slow
def test_two_processes_that_save_the_same_run_leave_the_run_of_one(tmp_path):
    kinds = [(1.0, ["adam", "lbfgs"]), (2.0, ["lbfgs", "lm"])]
    both = [start(SAVE.replace("NUMBER", str(n)).replace("TYPES", str(types)), tmp_path) for n, types in kinds]
    for second in range(20):
        timestamp = f"20260101_0000{second:02}"
        for process in both:
            process.stdin.write(f"{timestamp}\n")
            process.stdin.flush()
        assert [process.stdout.readline() for process in both] == ["saved\n"] * 2
        results, meta = kanbench.load_run("section2_1", timestamp, results_dir=tmp_path)
        assert (meta["lbfgs_threshold_time"], list(results)) in kinds
        for frame in results.values():
            assert set(frame["train_loss"]) == {meta["lbfgs_threshold_time"]}
        names = {path.name for path in (tmp_path / "sec1_results").glob(f"*_{timestamp}_*")}
        assert names == {f"section2_1_{timestamp}_e10_{m}.{suffix}" for m in results for suffix in ("pkl", "parquet")}
    for process in both:
        ends_well(process)


def test_a_run_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full_disk)
    with pytest.raises(InputError, match=r"adam.parquet: cannot be written \(No space left on device\)"):
        kanbench.save_run({"adam": pd.DataFrame()}, "section2_1", epochs=3, results_dir=tmp_path)
    assert list((tmp_path / "sec1_results").iterdir()) == []


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_is_one_line_that_says_so(tmp_path):
    """Files of more than 2000 bytes do not fit; torch only says that its writer failed."""
    code = """
        import resource
        import torch
        from kanbench.errors import InputError
        from kanbench.network.initialization import initialize
        from kanbench.network.pykan import to_pykan
        from kanbench.storage.checkpoints import write_checkpoint
        network, x = initialize([2, 5, 1], 5), torch.zeros(3, 2, dtype=torch.float64)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        for model, inputs in ((to_pykan(network), x), (network, x.numpy())):
            try:
                write_checkpoint(model, "model", inputs)
            except InputError as error:
                print(error)
    """
    process = start(code, tmp_path)
    assert process.communicate()[0] == "model: cannot be written (File too large)\n" * 2
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
