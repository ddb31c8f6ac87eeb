"""Kill runs of the pipeline at random moments, run them again, and compare with a run that nobody disturbed.

    python tests/support/kills.py --rounds 40 --seed 0
    python tests/support/kills.py --rounds 10 --given 'seeds=[1,2]' 'merge_kan={seeds: 2}'

A round starts the smoke configuration in a fresh folder, kills Snakemake and all its jobs with SIGKILL after a random
time of at most what an undisturbed run takes, and continues the run as `workflow/docs/running.md` says: `--unlock`, and
the same command with `--rerun-incomplete`. Every second continuation, on average, is killed too, up to two times in a
row. In the end the run has to be complete, to pass `verify` and to be the undisturbed one, measured times aside; and no
training whose job had finished before a kill may have been touched. Only rounds in which a kill met the running
pipeline are counted.
"""

import argparse
import contextlib
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from pathlib import Path

import pandas as pd

from kanbench.plan.config import ROOT

STAMP = "20260101_000000"
SMOKE = ROOT / "config" / "smoke.yaml"
TIMES = re.compile(r"(^|_)time(_|$)")  # keys and columns that hold measured times
OF_JOBS = ("logs", "benchmarks")
SHOWING_TIMES = ("tables", "figures", "report.html")  # of which only their being there is compared
MOST_KILLS = 3  # in a round


class Pipeline:
    """One run in a folder of its own."""

    def __init__(self, folder, cores=1, given=(), targets=("all",)):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        options = ["--configfile", SMOKE, "--config", f"timestamp={STAMP}", *given]
        self.command = ["snakemake", "-s", ROOT / "Snakefile", "--cores", cores, *options]
        self.targets = ["--", *targets]

    def run(self, *command):
        """The output of a command that has to succeed."""
        result = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{self.folder}: {command}: status {result.returncode}\n{result.stdout}"
        return result.stdout

    def complete(self, *options):
        """Run to the end; return the seconds that it took."""
        start = time.monotonic()
        self.run(*self.command, *options, *self.targets)
        return time.monotonic() - start

    def start_and_kill(self, when, *options):
        """Start, and kill everything as soon as `when()`; return whether it was still running."""
        command = [str(part) for part in (*self.command, *options, *self.targets)]
        with (self.folder / "killed.txt").open("w") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment(), stdout=output, stderr=output, start_new_session=True
            )
            while process.poll() is None and not when():
                time.sleep(0.01)
            killed = process.poll() is None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            assert process.wait() in (0, -signal.SIGKILL), output.name
        while any(session(pid) == process.pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))):  # noqa: PTH208
            time.sleep(0.01)
        return killed

    def unlock(self):
        self.run(*self.command, "--unlock")

    def finished(self):
        """Inode and time of the records, and of the logs, of all trainings that Snakemake knows to be finished."""
        marks = self.folder / ".snakemake" / "incomplete"  # a file for each output of a running job
        running = {b64decode("".join(mark.relative_to(marks).parts)).decode() for mark in files(marks)}
        records = (self.folder / "results" / "trainings").glob("*.json")
        done = [path for path in records if str(path.relative_to(self.folder)) not in running]
        logs = [self.log(path.stem) for path in done]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in done + logs}

    def log(self, training):
        """Of the job that a training was part of: experts share one, and in sections 2.1 and 2.2 the other seeds."""
        jobs = training, re.sub(r"_d\d+_k\d+_s", "_s", training), re.sub(r"_s\d+$", "_seeds", training)
        logs = [self.folder / "results" / "logs" / f"{job}.log" for job in jobs]
        return next((log for log in logs if log.exists()), logs[-1])

    def resumed(self):
        """How many trainings went on where they had been interrupted."""
        return sum("resuming after epoch" in path.read_text() for path in files(self.folder / "results" / "logs"))

    def results(self):
        """The content of every result, times aside, by its path below the folder; logs and benchmarks are left out."""
        root, found = self.folder / "results", {}
        for path in files(root):
            below = path.relative_to(root)
            if below.parts[0] not in OF_JOBS:
                found[str(below)] = None if below.parts[0] in SHOWING_TIMES else content(path)
        return found


class Finished(Pipeline):
    """A run that is there already."""

    def __init__(self, folder):
        self.folder = folder


def environment():
    """With the programs beside this Python, and this package."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "workflow")}


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def session(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return None


def content(path):
    """What a result says, measured times aside, to be compared with `==`."""
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    if path.name.endswith("checkpoint_metadata.pkl"):
        return without_times(pickle.loads(path.read_bytes()))
    if path.suffix in (".pkl", ".parquet"):
        frame = pd.read_pickle(path) if path.suffix == ".pkl" else pd.read_parquet(path)
        columns = {name: [repr(value) for value in frame[name]] for name in frame.columns}
        return without_times({"columns": columns, "attrs": frame.attrs})
    return path.read_bytes()


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if not TIMES.search(str(key))}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def kill_and_continue(pipeline, moments):
    """Kill the pipeline at each of the moments, functions that say whether it is time; then let it end.

    Returns
    -------
    kills, kept : int
        How often it was still running; how many trainings had finished before the last kill.
    """
    kills, options, finished = 0, [], {}
    for moment in moments:
        kills += pipeline.start_and_kill(moment, *options)
        for path, before in finished.items():
            assert pipeline.finished().get(path) == before, f"{path}: trained again"
        finished = pipeline.finished()
        pipeline.unlock()
        options = ["--rerun-incomplete"]
    pipeline.complete(*options)
    for path, before in finished.items():
        assert pipeline.finished().get(path) == before, f"{path}: trained again"
    return kills, sum(path.suffix == ".json" for path in finished)


def compare(pipeline, undisturbed):
    """Check that a run is the undisturbed one, whose results are given."""
    results = pipeline.results()
    assert results.keys() == undisturbed.keys(), sorted(results.keys() ^ undisturbed.keys())
    differing = [name for name in results if results[name] != undisturbed[name]]
    assert not differing, f"{pipeline.folder}: differ: {differing}"


def after(seconds):
    """A function that says whether so many seconds have passed since it was first called."""
    end = []

    def passed():
        end[:] = end or [time.monotonic() + seconds]
        return time.monotonic() >= end[0]

    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--given", nargs="+", default=[], metavar="KEY=VALUE", help="over the smoke configuration")
    parser.add_argument("--folder", type=Path, help="where to make the runs' folders (default: a temporary one)")
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="kill_test_", dir=arguments.folder))
    moments = random.Random(arguments.seed)

    first = Pipeline(folder / "undisturbed", arguments.cores, arguments.given)
    duration = first.complete()
    print(first.run(sys.executable, "-m", "kanbench", "verify"), flush=True)
    undisturbed = first.results()
    print(f"undisturbed: {duration:.0f} s, {len(undisturbed)} files", flush=True)
    number = total = 0
    while number < arguments.rounds:
        pipeline = Pipeline(folder / f"round_{number + 1}", arguments.cores, arguments.given)
        seconds = [moments.uniform(0, duration)]
        while len(seconds) < MOST_KILLS and moments.random() < 0.5:
            seconds.append(moments.uniform(0, duration))
        kills, kept = kill_and_continue(pipeline, map(after, seconds))
        pipeline.run(sys.executable, "-m", "kanbench", "verify")
        compare(pipeline, undisturbed)
        number, total = number + (kills > 0), total + kills
        said = ", ".join(f"{moment:.1f}" for moment in seconds)
        print(
            f"{f'round {number}' if kills else 'not a round'}: killed after {said} s ({kills} while it ran); "
            f"{kept} trainings had finished, {pipeline.resumed()} went on; equals the undisturbed run",
            flush=True,
        )
        shutil.rmtree(pipeline.folder)
    shutil.rmtree(folder)
    print(f"{arguments.rounds} rounds, {total} kills: every run completed, verified, and equal")


if __name__ == "__main__":
    main()
