"""The page: what it says of every section, and its HTML."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kanbench.errors import InputError
from kanbench.plan.figures import KINDS
from kanbench.plan.labels import problem_label
from kanbench.plan.naming import RESULTS
from kanbench.plan.sections import SECTIONS, number_of, section_of
from kanbench.presentation.matrix import shown
from kanbench.presentation.page.dots import dots
from kanbench.presentation.page.images import pictures
from kanbench.presentation.page.setup import setup
from kanbench.presentation.tables.findings import findings_of
from kanbench.presentation.templates import caption, render
from kanbench.storage.runs import choose_run
from kanbench.storage.stored_run import StoredRun, stored_runs

log = logging.getLogger("kanbench")


def page(
    sections: Sequence[str] = tuple(SECTIONS),
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
    *,
    trusted: bool = False,
    problems: Sequence[str | Path] = (),
) -> str:
    """The summary page of the runs of some sections, as HTML; a section that has no run is said to be missing.

    It holds all that it shows, and nothing that differs from call to call: the same runs give the same text.

    Args:
        timestamp, epochs, results_dir: As for `kanbench.load_run`; `epochs` are for sections whose names have some.
        trusted, problems: As for `StoredRun`; where a figure that is not there yet needs them.

    Raises:
        InputError: None of the sections has a run, or a section's name is none.
    """
    wanted = {section: epochs if section_of(section).has_epochs else None for section in sections}
    runs, parts = stored_runs(results_dir, trusted=trusted, problems=problems), {}
    missing: dict[str, InputError] = {}
    for section, its_epochs in wanted.items():
        try:
            parts[section] = _part(choose_run(runs, section, timestamp, its_epochs, results_dir))
        except InputError as error:  # a run of which only a part is there does not hide the others
            log.info("%s: left out: %s", section, error)
            missing[section] = error
    if not parts and missing:
        raise next(iter(missing.values()))
    there = {stored.run.section for stored in runs}
    reasons = {s: error if s in there else "there is no run of this section" for s, error in missing.items()}
    words = {"number": number_of, "section_of": section_of, "problem_label": problem_label}
    return render("page.html.jinja", sections=wanted, parts=parts, missing=reasons, **words)


def _part(stored: StoredRun) -> dict[str, Any]:
    """What the page says of a section that has a run; `groups`: kinds of figures with captions and pictures."""
    found, (drawn, left_out) = findings_of(stored), pictures(stored)
    groups = []
    for kind in sorted(KINDS.values(), key=lambda kind: not kind.is_key):  # stable: the order of figures is kept
        if of_kind := [picture for picture in drawn if picture.figure.kind == kind.name]:
            groups.append((kind, caption(kind.name, found.seeds), of_kind))
    matrix = shown(found.matrix)
    known = {"section": stored.run.section, "run": stored.name, "setup": setup(stored), "findings": found}
    first_screen = {"matrix": matrix, "dots": dots(found.matrix, matrix)}
    return {**known, **first_screen, "groups": groups, "left_out": left_out}
