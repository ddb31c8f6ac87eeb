"""The subcommands that read results: list, inspect, verify, migrate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from kanbench.cli.options import Commands, add_config, add_problems, add_results_dir, add_run, add_trusted, command
from kanbench.errors import InputError, one_line
from kanbench.plan.config import load_config
from kanbench.plan.sections import SECTIONS, section_of, without_variant


def add_commands(commands: Commands[Any]) -> None:
    listed = command(commands, "list", _list, "print the runs of a folder as a table")
    listed.add_argument("section", nargs="?", help="default: all sections")
    add_results_dir(listed)

    inspect = command(commands, "inspect", _inspect, "explain a file, a run or a folder of runs")
    inspect.add_argument("path", type=Path, help="a file, a folder, or the common beginning of a run's files")
    add_trusted(inspect)

    verify = command(commands, "verify", _verify, "check that the files of a run are complete and agree")
    verify.add_argument("section", nargs="?", help="for example section2_1; default: all sections that have a run")
    add_run(verify)
    add_config(verify, "the configuration of the run: its problems and, if results/trainings was deleted, its samples")
    add_problems(verify)

    migrate = command(commands, "migrate", _migrate, "convert runs of earlier formats; the old files are kept")
    migrate.add_argument("section", nargs="?", help="default: all runs")
    migrate.add_argument("--timestamp", help="default: all runs")
    add_results_dir(migrate)
    migrate.add_argument("--dry-run", action="store_true", help="only print what would be done")
    migrate.add_argument(
        "--for-original",
        type=Path,
        metavar="FOLDER",
        help="instead, write runs to FOLDER with the columns that the study's original scripts read",
    )
    migrate.add_argument("--delete-json", action="store_true", help="delete the old metadata files afterwards")
    add_trusted(migrate)


def _list(arguments: argparse.Namespace) -> None:
    from kanbench.storage.inspection import runs_table

    if arguments.section is not None:
        section_of(arguments.section)
    table = runs_table(arguments.results_dir, arguments.section)
    print(one_line(f"{arguments.results_dir}: no runs") if table.empty else table.to_string(index=False))


def _inspect(arguments: argparse.Namespace) -> None:
    from kanbench.storage.inspection import inspect

    print(inspect(arguments.path, arguments.trusted))


def _verify(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kanbench.storage.runs import choose_run, runs_in
    from kanbench.storage.verification import verify

    config, faults = load_config(arguments.config), 0
    own = [*config["problems"], *arguments.problems]
    runs = runs_in(arguments.results_dir, trusted=arguments.trusted, problems=own)
    there = dict.fromkeys(stored.run.section for stored in runs)
    sections = [arguments.section] if arguments.section else [s for s in there if without_variant(s) in SECTIONS]
    if not sections:
        raise InputError(arguments.results_dir, problem=f"no run of {', '.join(SECTIONS)}")
    for section in sections:
        stored = choose_run(runs, section, arguments.timestamp, arguments.epochs, arguments.results_dir, False)
        with tqdm(desc=stored.name, unit="checkpoint", disable=not sys.stderr.isatty(), leave=False) as bar:

            def show(done: int, total: int, bar: tqdm[NoReturn] = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            findings = verify(stored, config, show)
        faults += len(findings.faults)
        for line in [*findings.faults, *findings.remarks, *(f"not checked: {note}" for note in findings.notes)]:
            print(line)
        print(f"{stored.name}: {_faults(len(findings.faults))}")
    if faults:
        raise InputError("verify", problem=_faults(faults))


def _faults(count: int) -> str:
    return f"{count or 'no'} fault{'s' if count != 1 else ''}"


def _migrate(arguments: argparse.Namespace) -> None:
    from kanbench.storage.export import export_for_original
    from kanbench.storage.migration import migrate
    from kanbench.storage.runs import runs_in

    if arguments.section is not None:
        section_of(arguments.section)
    if arguments.for_original and arguments.delete_json:
        raise InputError("migrate", "both --for-original and --delete-json", "one of them")
    runs = [
        stored
        for stored in runs_in(arguments.results_dir, trusted=arguments.trusted)
        if arguments.section in (None, stored.run.section) and arguments.timestamp in (None, stored.run.timestamp)
    ]
    if not runs:
        raise InputError(arguments.results_dir, problem="no runs to migrate")
    failed = 0
    for stored in runs:
        try:
            if arguments.for_original:
                lines = export_for_original(stored, arguments.for_original, dry_run=arguments.dry_run)
            else:
                lines = migrate(stored, dry_run=arguments.dry_run, delete_json=arguments.delete_json)
        except InputError as error:
            failed += 1
            print(f"{stored.name}: {error}", file=sys.stderr)
            continue
        would = "would " if arguments.dry_run else ""
        for line in lines or ["nothing to do: already in the present format"]:
            print(f"{stored.name}: {would if lines else ''}{line}")
    if failed:
        raise InputError("migrate", problem=f"{failed} of {len(runs)} runs could not be migrated; the others were")
