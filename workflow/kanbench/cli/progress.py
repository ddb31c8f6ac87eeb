"""Progress of a pipeline run: jobs done, jobs running, and an estimate of the remaining time.

On a terminal, a few lines are redrawn; elsewhere (a file, CI), a line is printed now and then. Failures and Snakemake's
other messages are printed above. Messages come from `snakemake_logger_plugin_kanbench`, as dictionaries of the
attributes of `logging` records: `event` and its data.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

Message = Mapping[str, Any]

FAILED_LINES = 15  # lines shown of a failed job's log
BETWEEN_LINES = 10.0  # least seconds between lines if not on a terminal; in a long run, a tenth of the elapsed time
BETWEEN_FRAMES = 0.1  # least seconds between updates of a terminal, which group bursts of events
NAMED = 4  # running jobs that are shown by name
# Seconds of a job by the first word of its rule's name (default configuration, one core of an Intel Xeon), used for
# rules without a finished job.
USUAL = {"train": 1.2, "merge": 5.0, "figures": 7.0, "report": 3.0, "tables": 1.5, "frame": 0.5, "metadata": 0.5}
USUAL_OF_RULE = {
    "train_section2_1_seeds": 4.6,
    "train_section2_2_seeds": 1.8,
    "train_expert": 3.0,
    "train_control": 9.5,
    "train_control_seeds": 9.5,
    "all": 0.1,
}
# In the last line of a job's log while it compiles (`kanbench.io.kernel_cache`); and what is shown then.
COMPILING = "compiling kernels for "
COMPILES = "the first job compiles kernels (once, half a minute)"
# Messages that are rephrased or dropped: events, and first words of messages without an event.
EVENTS = {"workflow_started", "resources_info", "run_info", "job_info", "job_started", "job_finished", "progress"}
PHRASES = (
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Conda environments: ignored",
    "Elapsed time: ",
    "Select jobs to execute",
    "Singularity containers: ignored",
    "Using shell: ",
)
# A command in Snakemake's error messages; with the settings of a training, it has a thousand characters.
COMMAND = re.compile(r"(Command '.{80}).+(' (?:returned|died) )", re.DOTALL)


def usual(rule: str) -> float:
    """The usual time of a job of a rule, in seconds."""
    return USUAL_OF_RULE.get(rule) or USUAL.get(rule.partition("_")[0], 1.0)


def about(seconds: float) -> str:
    """Format an estimated time, such as `about 20 seconds` or `about 1.5 hours`."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (number := _rough(seconds / size)) >= 1:
            return f"about {number:g} {unit}{'' if number == 1 else 's'}"
    return "a few seconds" if seconds < 15 else f"about {round(seconds, -1):g} seconds"


def _rough(number: float) -> float:
    """Round to halves below 3, to integers below 20, and to multiples of 5 above."""
    return round(2 * number) / 2 if number < 3 else round(number) if number < 20 else 5 * round(number / 5)


def clock(seconds: float) -> str:
    """Format an elapsed time, such as `0:07` or `1:00:07`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


@dataclass
class Job:
    """A job that has begun; times are seconds on any one clock."""

    rule: str
    title: str
    begun: float
    ended: float | None = None
    has_failed: bool = False
    log: Path | None = None

    @property
    def seconds(self) -> float:
        """How long it took; 0 while it runs."""
        return (self.begun if self.ended is None else self.ended) - self.begun


def _last_line(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
    except OSError:
        return ""


@dataclass
class Progress:
    """The jobs of a run. Times are seconds on one clock."""

    planned: Counter[str] = field(default_factory=Counter)  # number of all jobs by rule
    jobs: dict[int, Job] = field(default_factory=dict)  # those that have begun, by job id
    at_once: int = 0  # largest number of jobs that ran at the same time

    def begin(self, number: int, rule: str, title: str, now: float, log: Path | None = None) -> None:
        """Record the start of a job, or its restart."""
        self.jobs[number] = Job(rule, title, now, log=log)
        self.at_once = max(self.at_once, len(self.running))

    def end(self, number: int, now: float, has_failed: bool = False) -> None:
        if number in self.jobs:
            self.jobs[number].ended, self.jobs[number].has_failed = now, has_failed

    @property
    def running(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.ended is None]

    @property
    def done(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.ended is not None and not job.has_failed]

    @property
    def failed(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.has_failed]

    def completed(self, number: int) -> str | None:
        """Name the rule, or its only job, that this job completes; None if jobs of the rule are left."""
        rule = self.jobs[number].rule if number in self.jobs else ""
        done = [job for job in self.done if job.rule == rule]
        if not done or len(done) < self.planned[rule]:
            return None
        return done[0].title if len(done) == 1 else f"{rule}, {len(done)} jobs"

    def remaining(self, now: float) -> float | None:
        """Estimate the remaining time in seconds, with as many jobs at once as so far.

        A job is expected to take the median time of its rule or, if none of its rule is done, its usual time multiplied
        by the median slowness of all done jobs. Returns None until two jobs per running job are done, because the first
        ones may compile kernels.
        """
        left = self.planned - Counter(job.rule for job in self.jobs.values())
        running = self.running
        if len(self.done) < 2 * self.at_once or not (running or left):
            return None
        took: dict[str, list[float]] = {}
        for job in self.done:
            took.setdefault(job.rule, []).append(job.seconds)
        slowness = statistics.median(job.seconds / usual(job.rule) for job in self.done)
        expected = {
            rule: statistics.median(took[rule]) if rule in took else slowness * usual(rule)
            for rule in {*left, *(job.rule for job in running)}
        }
        ends = [max(0.0, expected[job.rule] - (now - job.begun)) for job in running]
        work = sum(ends) + sum(count * expected[rule] for rule, count in left.items())
        return max(work / self.at_once, *ends, 0.0)

    def state(self, now: float) -> str:
        """Such as `57 of 133 done, about 2 minutes left`."""
        seconds = self.remaining(now)
        left = "" if seconds is None else f", {about(seconds)} left"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        first = f", {COMPILES}" if self.is_compiling else ""
        return f"{len(self.done)} of {self.planned.total()} done{failed}{left}{first}"

    @property
    def is_compiling(self) -> bool:
        """Whether a job compiles kernels, while the others wait, according to its log; until the first job is done."""
        return not self.done and any(COMPILING in _last_line(job.log) for job in self.running if job.log)

    def named(self, most: int) -> list[str]:
        """Titles of the `most` longest-running jobs, and the number of others."""
        titles = [job.title for job in self.running]
        return titles[:most] + ([f"{more} more"] if (more := len(titles) - most) > 0 else [])

    def summary(self) -> str:
        """Say how many jobs were done, failed or not run."""
        rest = self.planned.total() - len(self.done) - len(self.failed)
        parts = [f"{len(self.done)} of {self.planned.total()} jobs are done"]
        if self.failed:
            parts.append(f"{len(self.failed)} failed ({'; '.join(job.title for job in self.failed)})")
        if rest:
            parts.append(f"{rest} not run")
        return ", ".join(parts)


class Display:
    """Writes the progress and Snakemake's other messages to a stream.

    Args:
        lock: Held by the thread that redraws every second; `show` is called with it held.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        lock: AbstractContextManager[Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream, self.now = stream, clock
        self.lock = nullcontext() if lock is None else lock
        self.is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.progress = Progress()
        self.start: float | None = None
        self.last = 0.0  # when running jobs were last shown
        self.drawn: list[str] = []  # on a terminal, the lines to redraw
        self.stopped = threading.Event()

    def show(self, message: Message, text: str) -> None:
        """Process a message; `text` is what Snakemake would write."""
        event, now = message.get("event"), self.now()
        if event == "run_info":
            self._begin(message["stats"], now)
        elif event == "job_info":
            title = message["rule_msg"] or message["rule_name"]
            log = Path(message["log"][0]) if message.get("log") else None
            self.progress.begin(message["jobid"], message["rule_name"], title, now, log)
        elif event == "job_finished":
            self.progress.end(message["job_id"], now)
            if done := self.progress.completed(message["job_id"]):
                self._say(f"{self._elapsed()}  done: {done}")
        elif event == "job_error":
            self.progress.end(message["jobid"], now, has_failed=True)
            text = self._failure(message) or text
        elif event == "group_error":
            for job in message["job_error_info"]:
                self.progress.end(job["jobid"], now, has_failed=True)
        if text and event not in EVENTS and (event or not text.startswith(PHRASES)):
            self._say(COMMAND.sub(r"\1 ...\2", text))
        self._refresh()

    def close(self) -> None:
        """Stop redrawing and print a summary."""
        self.stopped.set()
        with self.lock:
            if self.start is not None:
                self._say(f"{self._elapsed()}  {self.progress.summary()}")
                self.start = None

    def _begin(self, stats: Mapping[str, int], now: float) -> None:
        if self.start is None:
            self.start = self.last = now
            self.progress.planned = Counter({rule: count for rule, count in stats.items() if rule != "total"})
            self._say(f"{self.progress.planned.total()} jobs to do")
            threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while not self.stopped.wait(1):
            with self.lock:
                self._refresh()

    def _failure(self, message: Message) -> str | None:
        """Name the failed job and show the end of its log; None if there is no log."""
        job, logs = self.progress.jobs.get(message["jobid"]), message["log"]
        if job is None or not logs:
            return None
        try:
            lines = Path(logs[0]).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None
        said = [f"    {line}" for line in lines[-FAILED_LINES:]]
        return "\n".join(
            [f"{self._elapsed()}  FAILED: {job.title}", f"    rule {job.rule}, the end of {logs[0]}:", *said]
        )

    def _elapsed(self) -> str:
        return clock(0 if self.start is None else self.now() - self.start)

    def _say(self, text: str) -> None:
        """Write lines that are not redrawn."""
        self._write(f"{text}\n")
        self.drawn = []

    def _refresh(self) -> None:
        """Show the current progress, if it is time."""
        if self.start is None or self.stopped.is_set() or not self.progress.jobs:
            return
        now = self.now()
        pause = BETWEEN_FRAMES * bool(self.drawn) if self.is_terminal else max(BETWEEN_LINES, (now - self.start) / 10)
        if now - self.last < pause:
            return
        self.last = now
        state = f"{self._elapsed()}  {self.progress.state(now)}"
        if self.is_terminal:
            width = shutil.get_terminal_size().columns - 1
            lines = [state, *(f"      {title}" for title in self.progress.named(NAMED))]
            lines = [line if len(line) <= width else f"{line[: width - 3]}..." for line in lines]
            if lines != self.drawn:
                self._write("\n".join(lines))
                self.drawn = lines
        else:
            self._say(" | ".join([state, *self.progress.named(NAMED)]))

    def _write(self, text: str) -> None:
        """Overwrite the lines to redraw; the cursor is at the end of the last of them."""
        if self.is_terminal:
            up = f"\x1b[{len(self.drawn) - 1}A" if len(self.drawn) > 1 else ""
            text = f"{up}\r\x1b[J{text}"
        self.stream.write(text)
        self.stream.flush()
