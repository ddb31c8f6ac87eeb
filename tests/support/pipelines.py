"""Snakemake as users call it, in a folder of its own, and what it answers."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kanbench.plan.config import ROOT

BIN = Path(sys.executable).parent
SMOKE = ROOT / "config" / "smoke.yaml"
PROFILE = ROOT / "workflow" / "profiles" / "default"
STAMP = "20260101_000000"


# Most of what a start of Snakemake takes are imports: its processes are forked from one that has made them.
SERVER = """
import gc, json, os, sys
import jsonschema, smart_open
from snakemake.cli import get_argument_parser, main
get_argument_parser()  # imports Snakemake's plugins
gc.freeze()  # looking for garbage among all that took half of a dry run
for line in sys.stdin:
    sys.argv, folder, environment, *files = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def server():
    """A process that runs Snakemake until this one ends."""
    command = [sys.executable, "-P", "-c", SERVER]
    return subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def environment():
    """That of a user, who has the programs beside this Python."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return kept | {"PATH": f"{BIN}{os.pathsep}{kept['PATH']}"}


def run(command, folder):
    command = [str(part) for part in command]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def snakemake(folder, *arguments, cores=2, smoke=True):
    configfile = ["--configfile", SMOKE] if smoke else []
    return forked(["snakemake", "-s", ROOT / "Snakefile", "--cores", cores, *configfile, *arguments], folder)


def forked(command, folder):
    """What `run` gives, for a command of Snakemake."""
    command = [str(part) for part in command]
    with tempfile.TemporaryDirectory() as written:
        files = [Path(written, name) for name in ("stdout", "stderr")]
        print(json.dumps([command, str(folder), environment(), *map(str, files)]), file=server().stdin, flush=True)
        status = int(server().stdout.readline())
        return subprocess.CompletedProcess(command, status, *(file.read_text() for file in files))


def planned(result):
    """The jobs of a dry run, by rule."""
    assert result.returncode == 0, result.stderr
    table = (result.stdout + result.stderr).split("Job stats:")[1].split("total")[0].splitlines()[3:]
    return {rule: int(count) for rule, count in (line.split() for line in table if line.strip())}


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if ".snakemake" not in path.parts)


def assert_one_line(result, folder, *words, kept=()):
    """Check that Snakemake ended with one line of ours, which has these words, and left nothing but what was there."""
    assert result.returncode != 0
    lines = (result.stdout + result.stderr).splitlines()
    [ours] = [line for line in lines if line.startswith("kanbench: ")]
    assert all(word in ours for word in words), ours
    assert "Traceback" not in "".join(lines)
    if "config: device: " not in ours:  # known when the jobs would start, after Snakemake has spoken
        assert [line for line in lines if not line.startswith("Config file")] == [ours]
    assert contents(folder) == sorted(kept)
