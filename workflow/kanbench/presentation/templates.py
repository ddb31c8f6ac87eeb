"""HTML from templates, and the captions shared with Snakemake's report; the files are in workflow/report."""

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
)  # lines may break after a hyphen, and a search would not find a non-breaking hyphen
PAGES = Environment(autoescape=True, loader=LOADER, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)


def render(template: str, **values: Any) -> Markup:
    """Fill in a template; strings in `values` are escaped, `Markup` is not."""
    values["css"], values["script"] = (
        Markup((FOLDER / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js")
    )
    return Markup(PAGES.get_template(template).render(values).replace(*UNBROKEN))


def caption(kind: str, seeds: Sequence[int | None]) -> Markup:
    """Render the caption of a kind of figures or tables as HTML, for a run with these seeds."""
    from docutils.core import publish_parts  # slow to import, and tables need no captions

    text = (FOLDER / f"{kind}.rst").read_text(encoding="utf-8")
    # The part of Snakemake's variables that our captions use.
    config = {"seeds": list(seeds), "merge_kan": {"seeds": len(seeds)}}
    text = Template(text).render(snakemake={"config": config})
    return Markup(publish_parts(text, writer="html5", settings_overrides=DOCUTILS)["fragment"])
