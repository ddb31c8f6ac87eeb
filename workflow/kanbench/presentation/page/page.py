"""The page: what it says of every section, and its HTML."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from kanbench.analysis.words import question_of
from kanbench.errors import InputError
from kanbench.plan.figures import TITLES
from kanbench.plan.naming import RESULTS
from kanbench.plan.sections import SECTIONS, WITHOUT_EPOCHS, section_of, without_variant
from kanbench.presentation.figures.source import Source, load_source
from kanbench.presentation.page.captions import caption
from kanbench.presentation.page.images import Picture, by_kind, pictures
from kanbench.presentation.page.setup import setup
from kanbench.presentation.tables.conclusions import Findings, findings
from kanbench.presentation.templates import render

KEY = ("comparison", "loss_time", "grids", "gain", "experts")  # the figures that are not folded

log = logging.getLogger("kanbench")


@dataclass(frozen=True)
class Group:
    """Figures of one kind."""

    title: str
    caption: Markup
    pictures: list[Picture]
    folded: bool


@dataclass(frozen=True)
class Part:
    """What the page says of a section that has a run."""

    section: str
    run: str
    setup: dict[str, str]
    findings: Findings
    answers: list[str]
    groups: list[Group]
    left_out: list[str]


@dataclass(frozen=True)
class Missing:
    """A section without a run that can be read, and why."""

    section: str
    question: str
    reason: str


def page(
    sections: Sequence[str] = tuple(SECTIONS),
    timestamp: str | None = None,
    epochs: int | str | None = None,
    results_dir: str | Path = RESULTS,
) -> str:
    """The summary page of the runs of some sections.

    It holds all that it shows, and nothing that differs from call to call: the same runs give the same text.

    Parameters
    ----------
    sections : sequence of str
        A section that has no run is said to be missing.
    timestamp, epochs, results_dir
        As for `kanbench.load_run`; `epochs` are those of sections whose names have some.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    InputError
        None of the sections has a run, or a section's name is none.
    """
    parts: list[Part | Missing] = []
    for section in sections:
        section_of(section)
        try:
            source = load_source(
                section, timestamp, None if without_variant(section) in WITHOUT_EPOCHS else epochs, results_dir
            )
            parts.append(_part(source))
        except InputError as error:  # a run of which only a part is there does not hide the others
            log.info("%s: left out: %s", section, error)
            parts.append(Missing(section, question_of(section), str(error)))
    if all(isinstance(part, Missing) for part in parts):
        raise InputError(parts[0].reason)
    there = [part for part in parts if isinstance(part, Part)]
    missing = [part for part in parts if isinstance(part, Missing)]
    return render("page.html.jinja", parts=there, missing=missing, number=_number)


def _number(section: str) -> str:
    """`2.1` for section2_1 and its variants."""
    return ".".join(section.removeprefix("section").split("_")[:2])


def _part(source: Source) -> Part:
    found = findings(source.replicates, source.metadata)
    drawn, left_out = pictures(source)
    seeds = found.seeds
    groups = [
        Group(TITLES[kind], caption(kind, seeds), of_kind, kind not in KEY) for kind, of_kind in by_kind(drawn).items()
    ]
    groups.sort(key=lambda group: group.folded)  # stable: the order of figures is kept on both sides
    return Part(source.run.section, source.run.name, setup(source), found, _answers(found), groups, left_out)


def _answers(found: Findings) -> list[str]:
    """The statements about all problems but the answer itself, none twice."""
    said = [statement.text for statement in found.statements if statement.dataset is None]
    return [text for text in dict.fromkeys(said) if text != found.answer.text]
