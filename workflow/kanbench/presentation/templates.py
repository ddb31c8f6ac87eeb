"""What is written as HTML: the templates, and the captions that Snakemake's report has too; see workflow/report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from kanbench.presentation import FOLDER

DOCUTILS = {"file_insertion_enabled": False, "raw_enabled": False, "halt_level": 2}
LOADER = FileSystemLoader(FOLDER, encoding="utf-8")
UNBROKEN = (
    "L-BFGS",
    "L-\N{WORD JOINER}BFGS",
)  # lines break after a hyphen; a non-breaking one would not be found by a search
PAGES = Environment(autoescape=True, loader=LOADER, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)


def render(template: str, **values: Any) -> Markup:
    """Fill in a template; what is text in `values` is escaped, what is `Markup` is not."""
    values["css"], values["script"] = (
        Markup((FOLDER / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js")
    )
    return Markup(PAGES.get_template(template).render(values).replace(*UNBROKEN))


def caption(kind: str, seeds: Sequence[int | None]) -> Markup:
    """The caption of a kind of figures or tables as HTML, for a run with these seeds."""
    from docutils.core import publish_parts  # slow to import, and tables need no captions

    text = (FOLDER / f"{kind}.rst").read_text(encoding="utf-8")
    # What Snakemake gives its captions, as far as ours use it.
    config = {"seeds": list(seeds), "merge_kan": {"seeds": len(seeds)}}
    text = Template(text).render(snakemake={"config": config})
    return Markup(publish_parts(text, writer="html5", settings_overrides=DOCUTILS)["fragment"])
