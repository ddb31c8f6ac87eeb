"""Which tables a run has. Imports nothing heavy, because the Snakefile imports it."""

from __future__ import annotations

from collections.abc import Iterable

from kanbench.plan.naming import STATEMENTS
from kanbench.plan.sections import SECTIONS, section_of
from kanbench.problems.published import published_of

PUBLISHED = "published"  # the table of published results next to ours, in Section 2.1


def tables_of(section: str, datasets: Iterable[str]) -> tuple[str, ...]:
    """The names of the tables of a run of a section on these datasets."""
    known = section_of(section)
    more = (PUBLISHED,) if known is SECTIONS["section2_1"] and any(map(published_of, datasets)) else ()
    return (known.table, STATEMENTS, *more)
