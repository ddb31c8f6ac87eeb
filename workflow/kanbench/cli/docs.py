"""The subcommand `docs`, which updates the blocks of documents that show results."""

from __future__ import annotations

import argparse
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kanbench.cli.benchmark import read_result
from kanbench.cli.options import Commands, add_results_dir, command
from kanbench.errors import InputError

if TYPE_CHECKING:
    from kanbench.presentation.tables.findings import Findings

BENCHMARK = "benchmark"  # the view of a file that the subcommand `benchmark` wrote
COLUMNS = "columns"  # the view of the schema


def add_commands(commands: Commands[Any]) -> None:
    docs = command(commands, "docs", _docs, "write tables and answers of runs into the marked blocks of documents")
    docs.add_argument("documents", nargs="+", type=Path, metavar="MARKDOWN")
    docs.add_argument("--check", action="store_true", help="write nothing; the status is 1 if a block is stale")
    add_results_dir(docs)


def _docs(arguments: argparse.Namespace) -> None:
    from kanbench.io.atomic import write_text
    from kanbench.io.readers import parser_errors
    from kanbench.presentation.documents import columns_of_frames, errors_by_variant, renew, view_of

    @cache
    def run(section: str, seeds: int | None) -> tuple[str, Findings]:
        return _run(section, seeds, arguments.results_dir)

    def make(view: str, source: str, seeds: int | None) -> str:
        if view == COLUMNS:
            return columns_of_frames()
        if view == BENCHMARK:
            from kanbench.benchmark.report import as_text

            return as_text(read_result(Path(source)), markdown=True)
        if source.endswith("*"):
            if view != "errors":
                raise InputError(source, f"view {view}", "errors")
            start = source.removesuffix("*")
            runs = {name.removeprefix(start): run(name, seeds)[1] for name in _variants(start, arguments.results_dir)}
            return errors_by_variant(runs, source if seeds is None else f"{source}, {_seeds(seeds)}")
        name, found = run(source, seeds)
        return view_of(found, view, f"{name}, {_seeds(len(found.seeds))}")

    stale = 0
    for document in arguments.documents:
        with parser_errors(document):
            old = document.read_text(encoding="utf-8")
        try:
            new, outcomes = renew(old, make)
        except InputError as error:
            raise error.at(f"{document}: {error.where}") from None
        for marker, outcome in outcomes:
            stale += outcome == "stale"
            done = {"": "up to date", "stale": "stale" if arguments.check else "written"}
            print(f"{document}: {marker}: {done.get(outcome, f'not checked: {outcome}')}")
        if new != old and not arguments.check:
            write_text(document, new)
    if stale and arguments.check:
        raise InputError("docs", problem=f"{stale} block{'s are' if stale > 1 else ' is'} stale")


def _run(section: str, seeds: int | None, results_dir: str) -> tuple[str, Findings]:
    """Read the latest run of a section or variant; return its name and findings.

    Raises:
        InputError: There is no such run, or it does not have this number of seeds.
    """
    from kanbench.presentation.tables.findings import findings_of
    from kanbench.storage.runs import open_run

    stored = open_run(section, results_dir=results_dir)
    found = findings_of(stored)
    if seeds not in (None, len(found.seeds)):
        raise InputError(stored.name, _seeds(len(found.seeds)), _seeds(seeds))
    return stored.name, found


def _variants(start: str, results_dir: str) -> list[str]:
    """List the variants with runs whose names begin like this, ordered by the numbers in them: 3d, 10d, 100d."""
    from kanbench.storage.runs import list_runs

    found = {run.section for run in list_runs(results_dir=results_dir) if run.section.startswith(start)}
    if not found:
        raise InputError(results_dir, problem=f"no run {start}*")
    return sorted(found, key=lambda name: ([int(number) for number in re.findall(r"\d+", name)], name))


def _seeds(count: int | None) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"
