"""The figures of a run as data in a page; missing and outdated ones are drawn."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from kanbench.plan.figures import KINDS, Figure, figures_of
from kanbench.presentation.figures.data import FigureUnavailableError
from kanbench.storage.stored_run import StoredRun


@dataclass(frozen=True)
class Picture:
    """A figure in a page: `data` is a data URI of the image; its size is in pixels."""

    figure: Figure
    data: str
    width: int
    height: int

    def alt(self, run_name: str) -> str:
        """The alternative text of the image."""
        return f"{KINDS[self.figure.kind].title}: {self.figure.dataset or 'all problems'}, {run_name}"


def pictures(stored: StoredRun) -> tuple[list[Picture], list[str]]:
    """Collect the figures of a run in display order, and one line for each that is left out.

    Figures that are missing in the run's folder, or older than the run, are drawn for the page but not stored.
    """
    folder, last_change = Path(stored.run.figure_folder), stored.last_change
    found, left_out = [], []
    with TemporaryDirectory() as drawn:
        for figure in figures_of(stored.run.section, stored.inputs):
            path = folder / f"{figure.name}.png"
            try:
                if not path.exists() or path.stat().st_mtime_ns < last_change:
                    path = _draw(stored, figure, drawn)
                found.append(_picture(figure, path))
            except FigureUnavailableError as reason:
                left_out.append(
                    f"{KINDS[figure.kind].title}{f' of {figure.dataset}' if figure.dataset else ''}: {reason}."
                )
    return found, left_out


def _draw(stored: StoredRun, figure: Figure, folder: str) -> Path:
    from kanbench.presentation.figures.files import save
    from kanbench.presentation.figures.make import draw
    from kanbench.presentation.figures.style import style

    with style():
        save(draw(stored, figure), folder, figure.name)
    return Path(folder) / f"{figure.name}.png"


def _picture(figure: Figure, path: Path) -> Picture:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    with Image.open(path) as image:
        return Picture(figure, f"data:image/png;base64,{data}", *image.size)
