"""Results for people: tables, figures, a page."""

from kanbench.plan.config import ROOT

FOLDER = ROOT / "workflow" / "report"  # what is no code: styles, templates, captions and a font
