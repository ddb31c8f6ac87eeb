"""How the tests read runs of the original study's scripts."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

import kanbench
from kanbench.cli.main import main
from kanbench.storage.runs import open_run
from kanbench.storage.stored_run import StoredRun
from support.original_cases import Written


def of_cases(cases: list) -> pytest.MarkDecorator:
    """Give the fixture `written` these cases."""
    return pytest.mark.parametrize("written", cases, indirect=True)


def called(command: str, run: Written, output: Path) -> tuple[int, str]:
    """The outcome of a subcommand on a run; report draws all figures, and figures only some."""
    few = ["gain", "experts"] if "section2_3" in run.section else ["comparison", "loss_time"]
    arguments = {
        "list": ["--results-dir", run.results],
        "inspect": [next(run.results.glob("sec*")) / run.stem],
        "tables": [run.section, *run.options, "--output", output / "tables"],
        "figures": [run.section, *run.options, "--output", output / "figures", "--only", *few],
        "report": [run.section, *run.options, "--output", output / "report.html"],
    }.get(command, [run.section, *run.options])
    return outcome([command, *map(str, arguments)])


def outcome(arguments: list[str]) -> tuple[int, str]:
    """The exit status of a command line, and what it printed; after an error that has to end with one clear line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as stop:  # of argparse
            status = int(stop.code or 0)
    if status == 0:
        return 0, out.getvalue()
    said = err.getvalue()
    assert said.splitlines()[-1].startswith(("kanbench: ", "python -m kanbench")), said
    assert "Traceback" not in said
    return status, said.splitlines()[-1]


def opened(run: Written, **more: bool) -> StoredRun:
    return open_run(run.section, run.case.timestamp, results_dir=run.results, **more)


def loaded(run: Written, **more: bool) -> tuple:
    return kanbench.load_run(run.section, run.case.timestamp, results_dir=run.results, **more)


def flat(models: dict) -> dict[tuple[str, int, str], object]:
    """Models by model type, dataset and checkpoint."""
    return {
        (m, i, name): model for m, of_m in models.items() for i, of_i in of_m.items() for name, model in of_i.items()
    }


def state_of(model: object) -> dict:
    return dict(model if isinstance(model, dict) else model.state_dict())
