"""The font of figures: the part of matplotlib's DejaVu Sans that they use, which their PDFs embed five times as fast.

`python tests/support/figures_font.py` writes it.
"""

from pathlib import Path

import matplotlib
from fontTools import subset

from kanbench.plan.config import ROOT

PATH = ROOT / "workflow" / "report" / "figures.ttf"
ORIGINAL = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
FAMILY = "DejaVu Sans of figures"
CHARACTERS = [*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3A2), *range(0x3A3, 0x3CA)]  # Latin, Greek
CHARACTERS += map(ord, "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉₊₋−×·–—…‘’“”∂∇≤≥≈∞")
NAMES = {1: FAMILY, 4: FAMILY, 16: FAMILY, 6: FAMILY.replace(" ", "")}


def write(path):
    options = subset.Options(hinting=True, glyph_names=True, notdef_outline=True, recommended_glyphs=True)
    options.layout_features, options.legacy_kern = ["ccmp", "liga"], True  # the old table of kerning costs less
    options.name_IDs, options.name_languages, options.name_legacy = [0, 1, 2, 4, 5, 6, 14], [0x409], False
    options.drop_tables += ["FFTM", "MATH", "GPOS"]
    font = subset.load_font(ORIGINAL, options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=CHARACTERS)
    subsetter.subset(font)
    for record in font["name"].names:
        record.string = NAMES.get(record.nameID, record.string)
    font.save(path)


if __name__ == "__main__":
    write(PATH)
