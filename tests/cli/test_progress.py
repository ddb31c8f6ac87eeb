"""What a run shows: rough times, what remains, and what stands on a terminal or in a file in the end."""

import io
import logging
import re
from pathlib import Path

import pytest

from kanbench.cli.progress import BETWEEN_LINES, COMPILES, FAILED_LINES, Display, Progress, about, clock, usual
from kanbench.io.kernel_cache import KernelCache


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "a few seconds"),
        (14.9, "a few seconds"),
        (15, "about 20 seconds"),
        (44.9, "about 40 seconds"),
        (45, "about 1 minute"),
        (100, "about 1.5 minutes"),
        (17.6 * 60, "about 18 minutes"),
        (33 * 60, "about 35 minutes"),
        (46 * 60, "about 1 hour"),
        (5.4 * 3600, "about 5 hours"),
        (40 * 3600, "about 1.5 days"),
    ],
)
def test_a_rough_time_has_few_digits(seconds, text):
    assert about(seconds) == text


def test_a_time_that_has_been_is_a_clock_s():
    assert [clock(seconds) for seconds in (0.9, 61, 3599, 3600, 360000)] == [
        "0:00",
        "1:01",
        "59:59",
        "1:00:00",
        "100:00:00",
    ]


def progress(**planned):
    made = Progress()
    made.planned.update(planned)
    return made


def pair(of, number, rule, begun, *ended):
    """Two jobs of a rule at the same time."""
    for i in range(len(ended)):
        of.begin(number + i, rule, "", begun)
    for i, end in enumerate(ended):
        of.end(number + i, end)


def test_what_remains_is_the_usual_time_of_every_rule_by_the_jobs_at_once():
    of = progress(short=8, long=3)
    pair(of, 1, "short", 0, 60, 62)  # which compile kernels
    assert of.remaining(62) is None
    pair(of, 3, "short", 62, 64, 64)
    pair(of, 5, "short", 64, 66, 66)
    pair(of, 7, "long", 66, 96, 96)
    assert of.remaining(96) == (2 * 2 + 30) / 2
    of.begin(9, "long", "", 96)
    assert of.remaining(100) == 26 > (2 * 2 + 26) / 2  # not before the one that runs
    assert of.remaining(200) == 2 * 2 / 2  # which takes longer than usual


def test_what_no_job_has_shown_is_weighed():
    """By what is usual, as many times as the jobs that have ended took."""
    of = progress(train_expert=4, train_control=1, own=1)
    pair(of, 1, "train_expert", 0, *[3 * usual("train_expert")] * 2)
    pair(of, 3, "train_expert", 5, *[5 + 3 * usual("train_expert")] * 2)
    assert of.remaining(10) == 3 * (usual("train_control") + usual("own")) / 2
    of.begin(5, "train_control", "", 10)
    of.end(5, 20, has_failed=True)
    assert of.remaining(20) == 3 * usual("own") / 2  # nothing is known of a failure, and it is not made again
    assert of.state(20) == "4 of 6 done, 1 failed, a few seconds left"
    of.begin(6, "own", "", 20)
    of.end(6, 21)
    assert of.remaining(21) is None
    assert of.state(21) == "5 of 6 done, 1 failed"


def test_a_job_that_begins_again_has_not_failed():
    of = progress(rule=1)
    of.begin(7, "rule", "Training", 0)
    of.end(7, 1, has_failed=True)
    assert of.summary() == "0 of 1 jobs are done, 1 failed (Training)"
    of.begin(7, "rule", "Training", 1)
    of.end(7, 2)
    assert of.summary() == "1 of 1 jobs are done"


# --- what is shown ---


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self):
        return True


def screen(text):
    """The lines that a terminal shows after this: it knows \\n, \\r, moving up, and erasing from the cursor on."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[\d*[AJ]|[\r\n]|[^\r\n\x1b]+", text):
        match part:
            case "\r":
                column = 0
            case "\n":
                row, column = row + 1, 0
                lines += [""] * (row == len(lines))
            case "\x1b[J":
                lines = [*lines[:row], lines[row][:column]]
            case _ if part.startswith("\x1b"):
                row -= int(part[2:-1])
            case _:
                lines[row] = lines[row][:column] + part + lines[row][column + len(part) :]
                column += len(part)
    return lines


def begins(jobid, title, rule="train"):
    return {"event": "job_info", "jobid": jobid, "rule_name": rule, "rule_msg": title}, "Job ...", 0


def ends(jobid, after=0):
    return {"event": "job_finished", "job_id": jobid}, "Finished jobid", after


RUN = [
    ({"event": "workflow_started"}, "SNAKEMAKE\n=========", 0),
    ({}, "Building DAG of jobs...", 0),
    ({"event": "run_info", "stats": {"train": 3, "all": 1, "total": 4}}, "Job stats:", 0),
    begins(1, "Training Adam on poisson_2d_sin"),
    begins(2, "Training L-BFGS on poisson_2d_sin"),
    ends(1, 20),
    begins(3, "Training LM on poisson_2d_sin"),
    ({}, "Something that nobody has heard of", 0),
    ends(2),
]


def shown(stream, messages):
    time = [0.0]
    display = Display(stream, clock=lambda: time[0])
    for message, text, after in messages:
        time[0] += after
        display.show(message, text)
    return display


def test_a_file_gets_a_line_now_and_then():
    stream = io.StringIO()
    display = shown(stream, [*RUN, ends(3), begins(4, "All is there", "all"), ends(4, BETWEEN_LINES - 1)])
    display.close()
    assert stream.getvalue().splitlines() == [
        "4 jobs to do",
        "0:20  1 of 4 done | Training L-BFGS on poisson_2d_sin",
        "Something that nobody has heard of",
        "0:20  done: train, 3 jobs",
        "0:29  done: All is there",
        "0:29  4 of 4 jobs are done",
    ]


def test_a_terminal_shows_what_runs(monkeypatch):
    monkeypatch.setenv("COLUMNS", "38")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    display = shown(stream, RUN[:-1])
    assert screen(stream.getvalue()) == [
        "4 jobs to do",
        "Something that nobody has heard of",
        "0:20  1 of 4 done",
        "      Training L-BFGS on poisson_2...",
        "      Training LM on poisson_2d_sin",
    ]
    display.show(*ends(2)[:2])
    display.show(*ends(3)[:2])
    display.close()
    assert screen(stream.getvalue()) == [
        "4 jobs to do",
        "Something that nobody has heard of",
        "0:20  done: train, 3 jobs",
        "0:20  3 of 4 jobs are done, 1 not run",
        "",
    ]


def test_the_first_job_that_compiles_is_named_as_the_cause_of_waiting(tmp_path, monkeypatch, caplog):
    """As its log says it, until the log goes on or a job is done."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    with caplog.at_level(logging.INFO, "kanbench"):
        KernelCache([Path(__file__)]).once("nothing", lambda: None)
    (compiles,) = caplog.messages
    log = tmp_path / "expert.log"
    log.write_text(f"12:00:00 section2_3_...\n12:00:00 {compiles}\n")
    of = progress(train=3)
    of.begin(1, "train", "", 0, tmp_path / "not_yet.log")
    assert of.state(10) == "0 of 3 done"
    of.begin(2, "train", "", 0, log)
    assert of.state(10) == f"0 of 3 done, {COMPILES}"
    log.write_text(f"12:00:00 {compiles}\n12:00:40 done\n")
    assert of.state(50) == "0 of 3 done"
    log.write_text(f"12:00:00 {compiles}\n")
    of.end(1, 60)
    assert of.state(60) == "1 of 3 done"
    message, text, after = begins(1, "Training Adam")
    display = shown(io.StringIO(), [*RUN[:3], ({**message, "log": [str(log)]}, text, after)])
    assert COMPILES in display.progress.state(10)


def test_many_jobs_are_not_all_named():
    of = progress(rule=9)
    for number in range(7):
        of.begin(number, "rule", f"job {number}", 0)
    assert of.named(3) == ["job 0", "job 1", "job 2", "4 more"]
    assert len(of.named(7)) == 7


def test_a_failure_is_shown_with_the_end_of_its_log(tmp_path):
    log = tmp_path / "lm.log"
    log.write_text("".join(f"epoch {i}\n" for i in range(100)) + "kanbench: data.csv: cannot be read\n")
    stream = io.StringIO()
    message = {"event": "job_error", "jobid": 2, "log": [str(log)]}
    command = f"Command 'set -euo pipefail; python {'x' * 1000}' returned non-zero exit status 1."
    display = shown(stream, [*RUN[:5], ({"event": "error"}, command, 0), (message, "Error in rule train:", 0)])
    lines = stream.getvalue().splitlines()
    assert lines[1].endswith(" ...' returned non-zero exit status 1.")
    assert len(lines[1]) < 150
    assert lines[2] == "0:00  FAILED: Training L-BFGS on poisson_2d_sin"
    assert str(log) in lines[3]
    assert len(lines[4:]) == FAILED_LINES
    assert lines[-1].strip() == "kanbench: data.csv: cannot be read"
    display.show(
        {**message, "jobid": 1, "log": []}, "Error in rule train:"
    )  # of a job without a log, as Snakemake says it
    display.close()
    failed = "Training Adam on poisson_2d_sin; Training L-BFGS on poisson_2d_sin"
    assert stream.getvalue().splitlines()[-2:] == [
        "Error in rule train:",
        f"0:00  0 of 4 jobs are done, 2 failed ({failed}), 2 not run",
    ]


def test_without_jobs_only_snakemake_speaks():
    stream = io.StringIO()
    shown(
        stream, [({}, "Building DAG of jobs...", 0), ({}, "Nothing to be done", 0), ({"event": "error"}, "No rule", 0)]
    ).close()
    assert stream.getvalue() == "Nothing to be done\nNo rule\n"
