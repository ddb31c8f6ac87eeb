"""The scripts of the profile for PBS, with a qsub that prints what it is given and recorded answers of qstat."""

import re
import subprocess

import pytest

from kanbench.plan.config import ROOT

SCRIPTS = ROOT / "workflow" / "profiles" / "pbs"

PBS_PRO, TORQUE = "pbs_version = 22.05.11", "Version: 6.1.3"
PRO_HEAD = """Job Id: 4711.head
    Job_Name = kb-7
    Job_Owner = someone@head
    resources_used.walltime = 00:01:02
"""
TORQUE_HEAD = """Job Id: 179.host
    Job_Name = kb-7
    Job_Owner = someone@host
"""


def with_commands(folder, version, **scripts):
    """An environment whose commands are these scripts; qstat tells the version, too."""
    for name, script in scripts.items():
        path = folder / name
        version_too = f'[ "$1" = --version ] && echo "{version}" && exit\n' if name == "qstat" else ""
        path.write_text(f"#!/bin/bash\n{version_too}{script}\n")
        path.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("version", "gpus", "resources"),
    [
        (PBS_PRO, 0, "select=1:ncpus=2:mem=1500mb,walltime=01:35:00"),
        (PBS_PRO, 1, "select=1:ncpus=2:mem=1500mb:ngpus=1,walltime=01:35:00"),
        (PBS_PRO, 4, "select=1:ncpus=2:mem=1500mb:ngpus=1,walltime=01:35:00"),  # a group
        (TORQUE, 0, "nodes=1:ppn=2,mem=1500mb,walltime=01:35:00"),
        (TORQUE, 1, "nodes=1:ppn=2:gpus=1,mem=1500mb,walltime=01:35:00"),
    ],
)
def test_submit(tmp_path, version, gpus, resources):
    environment = with_commands(tmp_path, version, qsub='printf "%s\\n" "$@"', qstat="") | {"KANBENCH_QSUB": "-A ours"}
    words = [SCRIPTS / "submit.sh", "workq", "kb-a-name-that-is-long", 2, 1500, 95, gpus, "/tmp/snakejob.lm.7.sh"]
    result = subprocess.run(
        [str(word) for word in words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    log = tmp_path / "results" / "logs" / "pbs" / "snakejob.lm.7."
    expected = ["-V", "-q", "workq", "-N", "kb-a-name-that-", "-l", resources, "-j", "oe", "-o", str(log)]
    given = re.sub(r"\d+\.log$", "", result.stdout, flags=re.MULTILINE)  # the moment, so that attempts have logs each
    assert given.splitlines() == [*expected, "-A", "ours", "/tmp/snakejob.lm.7.sh"]
    assert log.parent.is_dir()


def test_submit_says_what_it_takes(tmp_path):
    result = subprocess.run([SCRIPTS / "submit.sh", "workq"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert (
        result.stderr == "submit.sh: found 1 arguments; allowed: QUEUE NAME THREADS MEMORY_MB MINUTES GPUS JOBSCRIPT\n"
    )


@pytest.mark.parametrize(
    ("version", "answer", "status"),
    [
        *((PBS_PRO, f"{PRO_HEAD}    job_state = {state}\n", "running") for state in "QRHEWSTU"),
        (PBS_PRO, f"{PRO_HEAD}    job_state = F\n    Exit_status = 0\n", "success"),
        (PBS_PRO, f"{PRO_HEAD}    job_state = F\n    Exit_status = 1\n", "failed"),
        (PBS_PRO, f"{PRO_HEAD}    job_state = F\n    Exit_status = 271\n", "failed"),  # qdel, or too long
        (PBS_PRO, f"{PRO_HEAD}    job_state = F\n    Exit_status = -29\n", "failed"),
        (PBS_PRO, f"{PRO_HEAD}    job_state = F\n", "failed"),  # deleted before it began
        *((TORQUE, f"{TORQUE_HEAD}    job_state = {state}\n", "running") for state in "QRHEWT"),
        (TORQUE, f"{TORQUE_HEAD}    job_state = C\n    exit_status = 0\n", "success"),
        (TORQUE, f"{TORQUE_HEAD}    job_state = C\n    exit_status = 271\n", "failed"),
        (TORQUE, f"{TORQUE_HEAD}    job_state = C\n    exit_status = -11\n", "failed"),
    ],
)
def test_status(tmp_path, version, answer, status):
    (tmp_path / "answer").write_text(answer)
    option = "-f -x" if version == PBS_PRO else "-f"
    qstat = f'[ "$*" = "{option} 4711" ] && cat {tmp_path}/answer'
    assert status_of(tmp_path, version, qstat) == status


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("qstat: Unknown Job Id 4711.head", "failed"),
        ("qstat: Unknown Job Id Error 4711.host", "failed"),
        ("qstat: cannot connect to server head (errno=111)", "running"),
    ],
)
def test_status_of_what_qstat_does_not_tell(tmp_path, message, status):
    assert status_of(tmp_path, PBS_PRO, f'echo "{message}" >&2; exit 1') == status


def test_status_of_an_answer_without_a_state(tmp_path):
    assert status_of(tmp_path, TORQUE, "echo nothing") == "running"


@pytest.mark.parametrize("code", [0, 1])
def test_a_pbs_that_keeps_no_history_ends_the_run(tmp_path, code):
    """OpenPBS refuses to tell with its history anything of jobs that run, too, and calls that a success."""
    says = "qstat: PBS is not configured to maintain job history 4711.head"
    result = asked_for_status(tmp_path, PBS_PRO, f'echo "{says}" >&2; exit {code}')
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"status.sh: PBS does not keep what became of jobs (job_history_enable): {says}; "
        "ask for it, or take cluster-generic-status-cmd out of the profile\n"
    )


def asked_for_status(folder, version, qstat):
    environment = with_commands(folder, version, qstat=qstat)
    return subprocess.run([SCRIPTS / "status.sh", "4711"], env=environment, capture_output=True, text=True, check=False)


def status_of(folder, version, qstat):
    result = asked_for_status(folder, version, qstat)
    assert result.returncode == 0, result.stderr
    [line] = result.stdout.splitlines()
    return line
