"""Presentation of results: tables, figures, the summary page."""

from kanbench.plan.config import ROOT

FOLDER = ROOT / "workflow" / "report"  # styles, templates, captions and a font
