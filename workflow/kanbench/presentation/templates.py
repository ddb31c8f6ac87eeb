"""The templates of what is written as HTML; they lie beside the captions, in workflow/report."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kanbench.plan.config import ROOT

FOLDER = ROOT / "workflow" / "report"


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(FOLDER, encoding="utf-8")
    return Environment(autoescape=True, loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)


def render(template: str, **values: Any) -> Markup:
    """Fill in a template; what is text in `values` is escaped, what is `Markup` is not."""
    values["css"] = Markup((FOLDER / "page.css").read_text(encoding="utf-8"))
    return Markup(_environment().get_template(template).render(values))
