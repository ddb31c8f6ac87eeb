"""The captions of figures, which Snakemake's report has too: reStructuredText with Jinja's expressions."""

from __future__ import annotations

from collections.abc import Sequence

from docutils.core import publish_parts
from jinja2 import Template
from markupsafe import Markup

from kanbench.presentation.templates import FOLDER

SETTINGS = {"file_insertion_enabled": False, "raw_enabled": False, "halt_level": 2}


def caption(kind: str, seeds: Sequence[int | None]) -> Markup:
    """The caption of a kind of figures or tables as HTML, for a run with these seeds."""
    text = (FOLDER / f"{kind}.rst").read_text(encoding="utf-8")
    # What Snakemake gives its captions, as far as ours use it.
    text = Template(text).render(snakemake={"config": {"seeds": list(seeds)}})
    return Markup(publish_parts(text, writer="html5", settings_overrides=SETTINGS)["fragment"])
