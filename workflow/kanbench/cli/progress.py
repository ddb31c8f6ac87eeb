"""What a run of the pipeline shows while it runs: what is done, what runs, and about how long the rest takes.

On a terminal a few lines that are written anew, elsewhere (a file, CI) a line now and then; failures and whatever else
Snakemake has to say stand above them. `snakemake_logger_plugin_kanbench` hands Snakemake's messages over. They are
records of `logging` with an `event` and what belongs to it, here as dictionaries.
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

FAILED_LINES = 15  # of the log of a failed job
BETWEEN_LINES = 10.0  # seconds, elsewhere than on a terminal; of a long run a tenth of the time so far
BETWEEN_FRAMES = 0.1  # seconds on a terminal, so that many events together are shown once
NAMED = 4  # jobs that are named of those that run
# Seconds of a job by the first word of its rule's name (default configuration, a core of an Intel Xeon). They weigh the
# rules that no job has ended of.
USUAL = {"train": 1.2, "merge": 5.0, "figures": 7.0, "report": 3.0, "tables": 1.5, "frame": 0.5, "metadata": 0.5}
USUAL_OF_RULE = {
    "train_section2_1_seeds": 4.6,
    "train_section2_2_seeds": 1.8,
    "train_expert": 3.0,
    "train_control": 9.5,
    "train_control_seeds": 9.5,
    "all": 0.1,
}
# What is said in other words, or to nobody: events, and the beginnings of messages without one.
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
# The command in an error of Snakemake's: with the settings of a training it has a thousand letters.
COMMAND = re.compile(r"(Command '.{80}).+(' (?:returned|died) )", re.DOTALL)


def usual(rule: str) -> float:
    """About how many seconds a job of a rule takes."""
    return USUAL_OF_RULE.get(rule) or USUAL.get(rule.partition("_")[0], 1.0)


def about(seconds: float) -> str:
    """A time that is only known roughly: `about 20 seconds`, `about 1.5 hours`."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (number := _rough(seconds / size)) >= 1:
            return f"about {number:g} {unit}{'' if number == 1 else 's'}"
    return "a few seconds" if seconds < 15 else f"about {round(seconds, -1):g} seconds"


def _rough(number: float) -> float:
    """Below 3 to halves, below 20 to whole numbers, and then to fives."""
    return round(2 * number) / 2 if number < 3 else round(number) if number < 20 else 5 * round(number / 5)


def clock(seconds: float) -> str:
    """A time that has been: `0:07`, `1:00:07`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


@dataclass
class Job:
    rule: str
    title: str
    begun: float  # seconds of some clock
    ended: float | None = None
    has_failed: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.begun if self.ended is None else self.ended) - self.begun


@dataclass
class Progress:
    """The jobs of a run: all, by rule, and those that have begun. Times are seconds of one clock."""

    planned: Counter[str] = field(default_factory=Counter)
    jobs: dict[int, Job] = field(default_factory=dict)
    at_once: int = 0  # the most that ran at the same time

    def begin(self, number: int, rule: str, title: str, now: float) -> None:
        """A job begins, perhaps again."""
        self.jobs[number] = Job(rule, title, now)
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
        """What is complete with this job: it, if it is the only one of its rule, or all jobs of the rule."""
        rule = self.jobs[number].rule if number in self.jobs else ""
        done = [job for job in self.done if job.rule == rule]
        if not done or len(done) < self.planned[rule]:
            return None
        return done[0].title if len(done) == 1 else f"{rule}, {len(done)} jobs"

    def remaining(self, now: float) -> float | None:
        """About how many seconds the rest will take, if as many jobs run at once as did.

        A job takes as long as those of its rule took, in the median; where none has ended, what is usual, as many times
        as in the median of all jobs. None until two have ended for each that runs: the first may compile kernels.
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
        """`57 of 133 done, about 2 minutes left`."""
        seconds = self.remaining(now)
        left = "" if seconds is None else f", {about(seconds)} left"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"{len(self.done)} of {self.planned.total()} done{failed}{left}"

    def named(self, most: int) -> list[str]:
        """What runs: at most so many jobs, the longest running ones, and how many more."""
        titles = [job.title for job in self.running]
        return titles[:most] + ([f"{more} more"] if (more := len(titles) - most) > 0 else [])

    def summary(self) -> str:
        """How the run ended."""
        rest = self.planned.total() - len(self.done) - len(self.failed)
        parts = [f"{len(self.done)} of {self.planned.total()} jobs are done"]
        if self.failed:
            parts.append(f"{len(self.failed)} failed ({'; '.join(job.title for job in self.failed)})")
        if rest:
            parts.append(f"{rest} not run")
        return ", ".join(parts)


class Display:
    """Writes to a stream what Snakemake's messages come to.

    Args:
        lock: Held while something is written: the line is written again every second, too.
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
        self.drawn: list[str] = []  # on a terminal, the lines that are written anew
        self.stopped = threading.Event()

    def show(self, message: Message, text: str) -> None:
        """Take a message in; `text` is what Snakemake would write."""
        event, now = message.get("event"), self.now()
        if event == "run_info":
            self._begin(message["stats"], now)
        elif event == "job_info":
            title = message["rule_msg"] or message["rule_name"]
            self.progress.begin(message["jobid"], message["rule_name"], title, now)
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
        """Say how the run ended."""
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
        """Which job failed, and the end of its log; None if it has none."""
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
        """Write lines that stay."""
        self._write(f"{text}\n")
        self.drawn = []

    def _refresh(self) -> None:
        """Show the running jobs again, if it is time."""
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
        """Write in the place of the lines that are written anew; the cursor is at the end of the last of them."""
        if self.is_terminal:
            up = f"\x1b[{len(self.drawn) - 1}A" if len(self.drawn) > 1 else ""
            text = f"{up}\r\x1b[J{text}"
        self.stream.write(text)
        self.stream.flush()
