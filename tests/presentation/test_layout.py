"""The layout of figures against matplotlib's own: the same pixels, in nearly the same places."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from kanbench.presentation.figures.files import arrange, save, with_palette
from kanbench.presentation.figures.style import log_scale, new_figure, panel_grid, style
from support import figures_font


def panels(figure):
    """What figures have: scales of all kinds, a grid, shared axes, titles, texts above, ticks on top and none."""
    axes = figure.subplots(2, 3, sharex="col")
    x = np.linspace(0.5, 60, 50)
    for i, panel in enumerate(axes.flat):
        panel.plot(x, np.exp(-x * i / 3), color="C1")
        panel.set_title(f"panel {i}", pad=12 if i < 3 else None)
    for panel in axes[:, :2].flat:
        panel_grid(panel, "y" if panel in axes[0] else "both")
    log_scale(axes[0, 1].yaxis, [[1e-9, 1]])
    log_scale(axes[1, 1].yaxis, [[0.2, 1]])
    log_scale(axes[1, 1].xaxis, [x])
    axes[0, 0].set_ylabel("a name\nin two lines")
    axes[1, 0].set(xlabel="time / s", ylabel="value")
    axes[0, 0].text(20, 1.02, "3", transform=axes[0, 0].get_xaxis_transform(), ha="center", va="bottom", color="grey")
    axes[1, 2].xaxis.set_ticks_position("top")
    axes[1, 2].set_xlabel("below", color="grey")
    axes[1, 2].tick_params(length=0)
    axes[0, 2].set_yticks([0, 0.5], ["none", "half"])
    axes[1, 0].set_yticks([0, 0.3, 0.6])  # how many an automatic axis has depends on its length
    figure.legend(handles=axes[0, 0].get_lines(), labels=["a line"], loc="upper center")
    figure.supxlabel("below all", fontsize=7)
    figure.supylabel("beside all", fontsize=7)
    return axes


def with_bars(figure):
    """A panel over two rows, square images, and their colour bars."""
    cells = figure.add_gridspec(2, 3, width_ratios=[1, 1, 0.06])
    figure.add_subplot(cells[:, 0], box_aspect=1, xlabel="x").plot([1e7, 3e7], [0, 1])
    for row in (0, 1):
        panel = figure.add_subplot(cells[row, 1], box_aspect=1)
        image = panel.imshow(np.arange(12).reshape(3, 4) + 1.0, norm="log" if row else "linear", aspect="auto")
        panel.tick_params(labelleft=False, labelbottom=bool(row))
        bar = figure.add_subplot(cells[row, 2], box_aspect=18, anchor="W")
        figure.colorbar(image, cax=bar, label="value", extend="both" if row else "min")
    figure.suptitle("all")


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


@pytest.mark.parametrize("contents", [panels, with_bars])
def test_plain_ticks_give_the_pixels_of_matplotlibs(contents):
    """In the same places, of which matplotlib's ticks are drawn anew."""
    with style():
        ours, theirs = new_figure(4.0), new_figure(4.0)
        for figure in (ours, theirs):
            contents(figure)
        arrange(ours)
        theirs.set_layout_engine("none")
        for axes, like in zip(theirs.axes, ours.axes, strict=True):
            axes.set_position(like.get_position(original=True))
            assert axes.xaxis.get_visible() and not like.xaxis.get_visible()
        for text, like in zip(theirs.texts, ours.texts, strict=True):
            text.set_position(like.get_position())
        assert np.array_equal(pixels(ours), pixels(theirs))


def test_panels_are_where_constrained_layout_has_them():
    with style():
        ours, theirs = new_figure(4.0), new_figure(4.0)
        theirs.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.03, hspace=0.03))
        for figure in (ours, theirs):
            panels(figure)
        theirs.legends[0].remove()
        theirs.legend(handles=theirs.axes[0].get_lines(), labels=["a line"], loc="outside upper center")
        arrange(ours)
        theirs.draw_without_rendering()
        for axes, like in zip(ours.axes, theirs.axes, strict=True):
            assert axes.get_position().extents == pytest.approx(like.get_position().extents, abs=0.01)
        for text, like in zip(ours.texts, theirs.texts, strict=True):
            assert text.get_position() == pytest.approx(like.get_position(), abs=1e-3)


def test_what_is_arranged_stays(tmp_path):
    with style():
        figure = new_figure(2.0)
        figure.subplots().plot([1, 2])
        arrange(figure)
        before = figure.axes[0].get_position().extents
        first = pixels(figure)
        arrange(figure)
        assert np.array_equal(figure.axes[0].get_position().extents, before)
        assert np.array_equal(pixels(figure), first)


def test_an_image_with_a_palette_looks_the_same():
    shades = np.random.default_rng(0).integers(0, 256, (90, 80, 4), dtype=np.uint8)
    shades[..., 3] = 255
    shades[:40] = 255
    few = np.asarray(with_palette(shades).convert("RGB")).astype(int)
    assert np.array_equal(few[:40], shades[:40, :, :3])
    smooth = np.stack(np.broadcast_arrays(*np.ogrid[0:256, 0:256], 40, 255), axis=2).astype(np.uint8)
    smooth[:60] = 255
    few = np.asarray(with_palette(smooth).convert("RGB")).astype(int)
    assert np.array_equal(few[:60], smooth[:60, :, :3])
    assert np.abs(few - smooth[..., :3]).max() <= 0.07 * 255
    exact = smooth[::16, ::32].copy()
    assert np.array_equal(np.asarray(with_palette(exact).convert("RGB")), exact[..., :3])


def test_the_font_of_figures_is_dejavu_sans():
    ours, theirs = get_font(figures_font.PATH), get_font(figures_font.ORIGINAL)
    assert ours.family_name == figures_font.FAMILY
    flags = LoadFlags.NO_SCALE | LoadFlags.NO_HINTING
    for code in figures_font.CHARACTERS:
        advances, outlines = [], []
        for font in (ours, theirs):
            assert font.get_char_index(code), chr(code)
            advances.append(font.load_char(code, flags=flags).horiAdvance)
            outlines.append(font.get_path())
        assert advances[0] == advances[1]
        for one, other in zip(*outlines, strict=True):
            assert np.array_equal(one, other)


def test_texts_look_the_same_in_either_font(tmp_path):
    with style():
        drawn = []
        for family in ("DejaVu Sans of figures", "DejaVu Sans"):
            figure = new_figure(1.0)
            figure.subplots()
            figure.suptitle("AV To 10⁻³ x₁ ≤ ∞, fine fluff – poisson_2d_sin", fontfamily=family)
            drawn.append(pixels(figure))
        assert np.array_equal(*drawn)
        figure = new_figure(1.0)
        figure.subplots().set_title("10⁻³ x₁ ≤ ∞")
        save(figure, str(tmp_path), "figure")
    pdf = (tmp_path / "figure.pdf").read_bytes()
    assert pdf.count(b"/FontFile2") == 1
    with Image.open(tmp_path / "figure.png") as image:
        assert image.mode == "P"
