"""Writes figures as files: laid out once for all formats, with reproducible bytes."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from kanbench.io.atomic import atomic_folder

COLOURS = 256
WHITE = np.uint32(0xFFFFFFFF)
NEARLY = np.uint32(0xFCFCFCFC)  # without the last two bits of every channel: more colours take longer to reduce
FINE = 50  # values along an axis: fewer would be blurred by viewers that smooth what they enlarge
COMPRESSION = 4  # zlib level: 6 takes twice as long and saves 7 %


def save(figure: Figure, folder: str, name: str) -> None:
    """Write a figure in all formats."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every glyph
    canvas = FigureCanvasAgg(figure)
    arrange(figure)  # with the same canvas, which remembers the sizes of texts
    canvas.draw()
    image = with_palette(np.asarray(canvas.buffer_rgba()))
    with atomic_folder(folder, about=f"{folder}/{name}") as partial:
        image.save(partial / f"{name}.png", dpi=(figure.dpi, figure.dpi), compress_level=COMPRESSION)
        for picture in (image for axes in figure.axes for image in axes.images):
            if min(picture.get_size()) > FINE:
                picture.set_interpolation("none")  # embeds the values themselves, not an enlarged image
        # `savefig` would call this too, but draw the figure once more for a layout that is already known.
        metadata = dict.fromkeys(("CreationDate", "Producer", "Creator"))
        FigureCanvasPdf(figure).print_pdf(partial / f"{name}.pdf", metadata=metadata)


def arrange(figure: Figure) -> None:
    """Compute the layout, once for all formats."""
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)


def with_palette(pixels: NDArray[np.uint8]) -> Image.Image:
    """Reduce an opaque RGBA image, shape (height, width, 4), to a palette of 256 colours.

    The file shrinks to a third, white stays white, and no colour channel changes by more than 8 %.
    """
    flat = pixels.view(np.uint32).ravel()
    inked = np.flatnonzero(flat != WHITE)  # a tenth of most figures
    ink = flat[inked]
    codes, _ = pd.factorize(ink & NEARLY)
    first = np.empty(codes.max(initial=-1) + 1, int)  # the first pixel of every group of nearly equal colours
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    every = Image.fromarray(np.append(WHITE, ink[first]).view(np.uint8).reshape(1, -1, 4)[..., :3].copy())
    few = every.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    white, *_ = indices = np.asarray(few)[0]
    of_pixels = np.full(flat.shape, white)
    of_pixels[inked] = indices[1:][codes]
    image = Image.fromarray(of_pixels.reshape(pixels.shape[:2]))
    image.putpalette(few.getpalette() or [])
    return image
