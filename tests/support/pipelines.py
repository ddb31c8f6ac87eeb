"""Snakemake as users call it, in a folder of its own, and what it answers."""

import os
import subprocess
import sys
from pathlib import Path

from kanbench.plan.config import ROOT

BIN = Path(sys.executable).parent
SMOKE = ROOT / "config" / "smoke.yaml"
PROFILE = ROOT / "workflow" / "profiles" / "default"
STAMP = "20260101_000000"


def run(command, folder, timeout=600):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def snakemake(folder, *arguments, cores=2, smoke=True):
    configfile = ["--configfile", SMOKE] if smoke else []
    return run(["snakemake", "-s", ROOT / "Snakefile", "--cores", cores, *configfile, *arguments], folder)


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
