"""The page: what it says of every section, and its HTML."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from kanbench.errors import InputError
from kanbench.plan.figures import KINDS, FigureKind
from kanbench.plan.naming import RESULTS
from kanbench.plan.sections import SECTIONS, section_of
from kanbench.presentation.page.images import Picture, pictures
from kanbench.presentation.page.setup import setup
from kanbench.presentation.tables.findings import Findings, findings_of
from kanbench.presentation.templates import caption, render
from kanbench.storage.runs import open_run
from kanbench.storage.stored_run import StoredRun

log = logging.getLogger("kanbench")


@dataclass(frozen=True)
class Part:
    """What the page says of a section that has a run; `groups` are the kinds of figures with captions and pictures."""

    section: str
    run: str
    setup: dict[str, str]
    findings: Findings
    groups: list[tuple[FigureKind, Markup, list[Picture]]]
    left_out: list[str]


def page(
    sections: Sequence[str] = tuple(SECTIONS),
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> str:
    """The summary page of the runs of some sections.

    It holds all that it shows, and nothing that differs from call to call: the same runs give the same text.

    Args:
        sections (sequence of str): A section that has no run is said to be missing.
        timestamp, epochs, results_dir: As for `kanbench.load_run`; `epochs` are those of sections whose names have
            some.

    Returns:
        str: HTML.

    Raises:
        InputError: None of the sections has a run, or a section's name is none.
    """
    parts: list[Part] = []
    missing: dict[str, InputError] = {}
    for section in sections:
        section_of(section)
        epochs_of_names = epochs if section_of(section).has_epochs else None
        try:
            parts.append(_part(open_run(section, timestamp, epochs_of_names, results_dir)))
        except InputError as error:  # a run of which only a part is there does not hide the others
            log.info("%s: left out: %s", section, error)
            missing[section] = error
    if not parts and missing:
        raise next(iter(missing.values()))
    return render("page.html.jinja", parts=parts, missing=missing, number=_number, section_of=section_of)


def _number(section: str) -> str:
    """`2.1` for section2_1 and its variants."""
    return ".".join(section.removeprefix("section").split("_")[:2])


def _part(stored: StoredRun) -> Part:
    found = findings_of(stored)
    drawn, left_out = pictures(stored)
    groups = []
    for kind in sorted(KINDS.values(), key=lambda kind: not kind.is_key):  # stable: the order of figures is kept
        if of_kind := [picture for picture in drawn if picture.figure.kind == kind.name]:
            groups.append((kind, caption(kind.name, found.seeds), of_kind))
    return Part(stored.run.section, stored.name, setup(stored), found, groups, left_out)
