"""The profiles of clusters, with a real Slurm of one node on this machine, which `slurm.sh` starts and stops.

Where there can be none (not root, no apt-get), they are skipped; with KANBENCH_SLURM=1 in the environment they fail.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from kanbench.plan.config import ROOT
from kanbench.plan.naming import Run
from support.kills import SMOKE, STAMP, Finished, environment

pytestmark = pytest.mark.slow

PROFILES = ROOT / "workflow" / "profiles"
SLURM = Path(__file__).parents[1] / "support" / "slurm.sh"
QUICK = ["--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "3"]
MOST_SECONDS = 1800  # of anything, on however busy a machine; on one with nothing else to do, it takes up to 120


def command(*words):
    """The output of a command that has to succeed."""
    result = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=MOST_SECONDS, check=False
    )
    assert result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"
    return result.stdout.strip()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The folder of a Slurm that runs."""
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(
        [SLURM, "up", folder], stderr=subprocess.PIPE, text=True, timeout=MOST_SECONDS, check=False
    )
    if started.returncode:
        message = f"no Slurm on this machine: {started.stderr.strip()}"
        pytest.fail(message) if os.getenv("KANBENCH_SLURM") else pytest.skip(message)
    yield folder
    command(SLURM, "down", folder)


class Submission:
    """Snakemake with a profile, in a folder and a process of its own."""

    def __init__(self, folder, profile, *options, targets=("all",), env=None):
        self.folder = folder
        self.log = folder / "snakemake.txt"
        words = ["snakemake", "-s", ROOT / "Snakefile", "--profile", PROFILES / profile, "--configfile", SMOKE]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(word) for word in (*words, *options, "--", *targets)],
                cwd=folder,
                env=env or environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for(self, condition):
        """What `condition()` gives as soon as it is true."""
        end = time.monotonic() + MOST_SECONDS
        while not (result := condition()):
            assert time.monotonic() < end, f"{condition}: not within {MOST_SECONDS} s\n{self.log.read_text()}"
            time.sleep(0.1)
        return result

    def ends(self, *statuses):
        """Wait until it ends with one of the statuses; return what it wrote."""
        self.wait_for(lambda: self.process.poll() is not None)
        assert self.process.returncode in statuses, self.log.read_text()
        return self.log.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def jobs(folder):
    """What Slurm knows about every job that was submitted in a folder, the first submission first."""
    known = command("scontrol", "--oneliner", "show", "job").splitlines()
    found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in known if "JobId=" in line]
    return sorted((job for job in found if job["WorkDir"] == str(folder)), key=lambda job: int(job["JobId"]))


def running(folder):
    return [job for job in jobs(folder) if job["JobState"] == "RUNNING"]


def states(folder):
    return [job["JobState"] for job in jobs(folder)]


def records(folder):
    return sorted((folder / "results" / "trainings").glob("*.json"))


def fail_node(slurm, folder):
    """What a crash of the node does, while jobs run: its daemon and all processes of its jobs are gone at once.

    Slurm is told, rather than left to notice. Whatever else the jobs may do meanwhile, their processes are stopped
    before. Jobs that had ended by then cannot fail any more: with no others all goes on, and False is returned.
    """
    steps = [process for process in psutil.process_iter() if process.name() == "slurmstepd"]
    daemon = psutil.Process(int((slurm / "slurmd.pid").read_text()))
    stopped = [each for process in (daemon, *steps) for each in stop(process)]
    set_node("state=down", "reason=crash")
    failed = "NODE_FAIL" in states(folder)
    for process in stopped:  # steps before their children, whose deaths they would report as failures
        reached(process.kill if failed else process.resume)
    if not failed:
        set_node("state=resume")
    return failed


def set_node(*what):
    command("scontrol", "update", f"nodename={os.uname().nodename.partition('.')[0]}", *what)


def stop(process):
    """Stop a process, and then what it has started, which it adds nothing to any more; return all of them."""
    reached(process.suspend)
    return [process, *(each for child in reached(process.children) or [] for each in stop(child))]


def reached(method, **options):
    """What a process answers; None where it has ended meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return method(**options)


def test_a_run_whose_node_fails_ends_like_a_local_one(slurm, smoke_folder, tmp_path):
    """Frames of two sections, trainings in groups; no retries, and the same command once more."""
    local, timestamp = Finished(smoke_folder).results(), (smoke_folder / "results" / "timestamp").read_text().strip()
    compared, merged = Run("section2_1", timestamp, 3), Run("section2_3", timestamp)
    targets = [*map(compared.frame, ("adam", "lbfgs", "lm")), merged.frame("selected_experts")]
    (tmp_path / "results").mkdir()
    shutil.copy(smoke_folder / "results" / "timestamp", tmp_path / "results")
    groups = ["train_section2_1=short", "train_expert=experts"]
    options = [*QUICK, "--retries", 0, "--groups", *groups, "--group-components", "short=3", "experts=4"]
    with Submission(tmp_path, "slurm", *options, targets=targets) as first:
        first.wait_for(lambda: len(records(tmp_path)) >= 3 and running(tmp_path) and fail_node(slurm, tmp_path))
        command(SLURM, "node", slurm)
        first.ends(1)
    assert "NODE_FAIL" in states(tmp_path)
    with Submission(tmp_path, "slurm", *options, targets=targets) as second:
        second.ends(0)
    made = Finished(tmp_path).results()
    assert {Path(target).relative_to("results") for target in targets} <= set(map(Path, made))
    assert made == {name: local[name] for name in made}


def test_jobs_that_fail_are_tried_again_with_more(slurm, tmp_path):
    """One exceeds its memory, one is cancelled; both succeed at the second attempt, which asks for more."""
    run = Run("section2_1", STAMP, 1)
    greedy, cancelled = run.record(run.training("adam", 0)), f"{run.checkpoint('lm', 0, 'final')}_state"
    memory = "train_section2_1:mem_mb=(100 if wildcards.model_type == 'adam' else 1000) * 6 ** (attempt - 1)"
    with Submission(tmp_path, "slurm", *QUICK, "--set-resources", memory, targets=[greedy, cancelled]) as submission:
        [job] = submission.wait_for(lambda: [job for job in running(tmp_path) if "lm" in job["Comment"]])
        command("scancel", job["JobId"])
        log = submission.ends(0)
    assert log.count("Trying to restart job") == 2
    attempts = {name: [job for job in jobs(tmp_path) if name in job["Comment"]] for name in ("adam", "lm")}
    assert [job["JobState"] for job in attempts["adam"]] == ["FAILED", "COMPLETED"]
    assert [job["JobState"] for job in attempts["lm"]] == ["CANCELLED", "COMPLETED"]
    assert [job["TimeLimit"] for job in attempts["lm"]] == ["00:10:00", "00:20:00"]
    assert [job["MinMemoryNode"] for job in attempts["adam"]] == ["100M", "600M"]
    assert not any("TresPerJob" in job for job in jobs(tmp_path))  # with `device: auto` none asks for a GPU


def test_a_training_on_cuda_asks_for_a_gpu(slurm, tmp_path):
    run = Run("section2_1", STAMP, 1)
    target = run.record(run.training("adam", 0))
    with Submission(tmp_path, "slurm", *QUICK, "--config", "device=cuda", targets=[target]) as submission:
        [job] = submission.wait_for(lambda: jobs(tmp_path))
    command("scancel", job["JobId"])
    assert job["TresPerJob"] == "gres:gpu:1"


def test_what_slurm_refuses_is_said_in_its_words(slurm, tmp_path):
    run = Run("section2_1", STAMP, 1)
    target = run.record(run.training("adam", 0))
    options = [*QUICK, "--retries", 0, "--default-resources", "slurm_partition=nowhere"]
    with Submission(tmp_path, "slurm", *options, targets=[target]) as submission:
        assert "invalid partition specified: nowhere" in submission.ends(1)


# Slurm's qstat leaves out the exit status, which Torque's has.
QSTAT = r"""#!/bin/bash
/usr/bin/qstat "$@" || exit
state=$(squeue --noheader --states all --format %T --jobs "${@: -1}")
[[ $state =~ ^(PENDING|RUNNING|COMPLETING)$ ]] || echo "    exit_status = $([ "$state" = COMPLETED ]; echo $?)"
"""


def test_pbs_submits_retries_and_recovers(slurm, smoke_folder, tmp_path):
    """With Slurm's own qsub, which takes Torque's options; the results are a local run's."""
    qstat = tmp_path / "bin" / "qstat"
    qstat.parent.mkdir()
    qstat.write_text(QSTAT)
    qstat.chmod(0o755)
    env = environment() | {"PATH": f"{qstat.parent}{os.pathsep}{environment()['PATH']}"}
    timestamp = (smoke_folder / "results" / "timestamp").read_text().strip()
    frame = Run("section2_1", timestamp, 3).frame("lbfgs")
    with Submission(tmp_path, "pbs", "--latency-wait", 5, targets=[frame], env=env) as submission:
        job = submission.wait_for(lambda: running(tmp_path))[0]
        command("qdel", job["JobId"])
        log = submission.ends(0)
    assert log.count("Trying to restart job") == 1
    assert states(tmp_path).count("COMPLETED") == 3
    assert {job["Partition"] for job in jobs(tmp_path)} == {"workq"}
    made, local = Finished(tmp_path).results(), Finished(smoke_folder).results()
    assert f"{Path(frame).relative_to('results')}" in made
    assert made == {name: local[name] for name in made}
    assert len(list((tmp_path / "results" / "logs" / "pbs").iterdir())) == 4  # of every attempt
