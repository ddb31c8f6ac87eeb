"""The summary page as HTML."""

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
from kanbench.storage.runs import choose_run, runs_in
from kanbench.storage.stored_run import StoredRun

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
    """Write the summary page of sections as HTML; it says which sections have no run.

    The page is self-contained and deterministic: the same runs give the same text.

    Args:
        timestamp, epochs, results_dir: As for `kanbench.load_run`; `epochs` applies to sections with epochs in their
            file names.
        trusted, problems: As for `StoredRun`; needed only to draw figures that are not stored.

    Raises:
        InputError: No section has a run, or a section is unknown.
    """
    wanted = {section: epochs if section_of(section).has_epochs else None for section in sections}
    runs, parts = runs_in(results_dir, trusted=trusted, problems=problems), {}
    missing: dict[str, InputError] = {}
    for section, its_epochs in wanted.items():
        try:
            parts[section] = _part(choose_run(runs, section, timestamp, its_epochs, results_dir))
        except InputError as error:  # an incomplete run does not hide the others
            log.info("%s: left out: %s", section, error)
            missing[section] = error
    if not parts and missing:
        raise next(iter(missing.values()))
    there = {stored.run.section for stored in runs}
    reasons = {s: error if s in there else "there is no run of this section" for s, error in missing.items()}
    words = {"number": number_of, "section_of": section_of, "problem_label": problem_label}
    return render("page.html.jinja", sections=wanted, parts=parts, missing=reasons, **words)


def _part(stored: StoredRun) -> dict[str, Any]:
    """Collect what the page shows of a run; `groups` are kinds of figures with captions and pictures."""
    found, (drawn, left_out) = findings_of(stored), pictures(stored)
    groups = []
    for kind in sorted(KINDS.values(), key=lambda kind: not kind.is_key):  # stable sort: keeps the order of figures
        if of_kind := [picture for picture in drawn if picture.figure.kind == kind.name]:
            groups.append((kind, caption(kind.name, found.seeds), of_kind))
    matrix = shown(found.matrix)
    known = {"section": stored.run.section, "run": stored.name, "setup": setup(stored), "findings": found}
    first_screen = {"matrix": matrix, "dots": dots(found.matrix, matrix)}
    return {**known, **first_screen, "groups": groups, "left_out": left_out}
