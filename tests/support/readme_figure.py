"""The figure of README.md, `workflow/docs/optimizers.svg`, of the errors in `workflow/docs/findings.md`.

python tests/support/readme_figure.py    # after that table has changed

Errors at equal compute by flops, relative to the variance of the target on the dense sample.
"""

import math

from kanbench.plan.config import ROOT
from kanbench.presentation.documents import BLOCK
from kanbench.presentation.looks import LOOKS
from kanbench.presentation.tables.comparison import AVERAGE

FINDINGS, FIGURE = ROOT / "workflow" / "docs" / "findings.md", ROOT / "workflow" / "docs" / "optimizers.svg"
LEFT, RIGHT, TOP, ROW = 80, 700, 44, 30  # pixels
MARKERS = {
    "o": '<circle cx="{x}" cy="{y}" r="6" fill="{color}"/>',
    "s": '<rect x="{left}" y="{top}" width="11" height="11" fill="{color}"/>',
    "^": '<path d="M{x} {top}l6.5 11.5h-13z" fill="{color}"/>',
}


def relative_errors(text):
    """`{problem: {optimizer: error relative to the variance}}` of the page with the findings."""
    block = next(block[4] for block in BLOCK.finditer(text) if block[1] == "errors" and block[2] == "section2_1")
    heads, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines() if "|" in line)
    errors = {}
    for problem, optimizer, *cells in rows:
        error = float(dict(zip(heads[2:], cells, strict=True))["equal flops"].replace(",", ""))
        errors.setdefault(problem, {})[optimizer] = error
    return {problem: row for problem, row in errors.items() if problem != AVERAGE}


def figure(errors):
    """The figure as SVG: a row for every problem, a marker for every optimizer, the error on a logarithmic axis."""
    looks = {look.label: look for look in LOOKS.values()}
    exponents = [math.log10(error) for row in errors.values() for error in row.values()]
    low, high = math.floor(min(exponents)), math.ceil(max(exponents))
    bottom = TOP + ROW * len(errors)

    def place(exponent):
        return round(LEFT + (RIGHT - LEFT) * (exponent - low) / (high - low), 1)

    def marker(optimizer, x, y):
        look = looks[optimizer]
        return MARKERS[look.marker].format(x=x, y=y, left=round(x - 5.5, 1), top=y - 6, color=look.color)

    box = f'viewBox="0 0 740 {bottom + 50}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="13">',
        "<title>Errors of Adam, L-BFGS and LM at equal compute</title>",
        f'<rect width="740" height="{bottom + 50}" fill="#ffffff"/>',
    ]
    for i, optimizer in enumerate(next(iter(errors.values()))):
        lines.append(marker(optimizer, LEFT + 10 + 110 * i, 20))
        lines.append(f'<text x="{LEFT + 24 + 110 * i}" y="24">{optimizer}</text>')
    for exponent in range(low, high + 1, 2):
        x = place(exponent)
        lines.append(f'<path d="M{x} {TOP}V{bottom}" stroke="#d0d0d0"/>')
        power = f'10<tspan dy="-5" font-size="10">{exponent}</tspan>'
        lines.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{power}</text>')
    for i, (problem, row) in enumerate(errors.items()):
        y = TOP + ROW * i + ROW // 2
        lines.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{problem}</text>')
        lines.append(f'<path d="M{LEFT} {y}H{RIGHT}" stroke="#d0d0d0"/>')
        lines += [marker(optimizer, place(math.log10(error)), y) for optimizer, error in row.items()]
    text = "mean squared error at equal flops / variance of the target"
    lines.append(f'<text x="{(LEFT + RIGHT) // 2}" y="{bottom + 40}" text-anchor="middle">{text}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    FIGURE.write_text(figure(relative_errors(FINDINGS.read_text(encoding="utf-8"))), encoding="utf-8")
