"""How the page looks, as far as that can be told without a browser; and in a browser, where there is one."""

import html
import json
import re
import shutil
import subprocess

import matplotlib
import numpy as np
import pytest

from kanbench.plan.figures import Figure
from kanbench.presentation import FOLDER
from kanbench.presentation.figures.make import draw
from kanbench.presentation.figures.node_grids import COLOURS, DARK
from kanbench.presentation.figures.style import style
from kanbench.presentation.matrix import shown
from kanbench.presentation.page.dots import dots
from kanbench.presentation.page.page import page
from kanbench.presentation.tables.findings import findings
from kanbench.presentation.templates import UNBROKEN
from kanbench.storage.runs import open_run
from support.planted import POLY, SIN, SPEC, frame, merged, run, some_run, store

CSS = (FOLDER / "page.css").read_text()
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
READABLE = 4.5  # contrast of text; WCAG 2.2, 1.4.3
WIDTHS = 360, 1024, 1800


@pytest.fixture(scope="module")
def html_of_one(tmp_path_factory):
    """Section 2.1 alone, with a training that diverged and one that has no epochs."""
    folder, frames = tmp_path_factory.mktemp("one"), some_run(3)
    lost = frames["lm"]["dataset_name"].eq(SIN) & frames["lm"]["epoch"].gt(4)
    frames["lm"].loc[lost, ["train_loss", "test_loss", "dense_mse"]] = np.nan
    frames["adam"] = frames["adam"][frames["adam"]["dataset_name"] != POLY]
    store(frames, folder)
    return str(page(results_dir=folder))


def luminance(color):
    parts = matplotlib.colors.to_rgb(color)
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return np.dot((0.2126, 0.7152, 0.0722), linear)


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_texts_can_be_read_in_light_and_in_dark():
    schemes = re.findall(r":root \{([^}]*--ink[^}]*)\}", CSS)
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--(\w+): (#\w+)", scheme))
        for text in ("ink", "soft", "link"):
            for behind in ("paper", "back", *(["best"] if text == "ink" else [])):
                assert contrast(colors[text], colors[behind]) >= READABLE, (text, behind)


def test_numbers_can_be_read_on_the_colours_of_grids():
    colours = matplotlib.colormaps[COLOURS]
    for value in np.linspace(0, 0.95, 96):
        assert contrast(colours(value), "white" if value > DARK else "black") >= READABLE


def test_lines_do_not_break_inside_a_name(html_of_one):
    plain, unbroken = UNBROKEN
    assert plain not in html_of_one
    assert html_of_one.count(unbroken) > 5


@pytest.mark.slow
def test_sections_without_a_run_keep_their_places_and_name_no_folder(html_of_one, tmp_path):
    heads = re.findall(r"<h2>(2\.\d)", html_of_one.split("<main>")[0])
    assert heads == ["2.1", "2.2", "2.3"]
    assert html_of_one.count("No results: there is no run of this section.") == 2
    store(some_run(0, "section2_2", ("adaptive_only", "adaptive_regular", "baseline")), tmp_path)
    heads = re.findall(r"<h2>(2\.\d)", page(results_dir=tmp_path).split("<main>")[0])
    assert heads == ["2.1", "2.2", "2.3"]
    assert str(tmp_path) not in html_of_one


def test_what_cannot_be_compared_has_no_matrix(tmp_path):
    nothing = {name: {SIN: np.nan} for name in ("adam", "lbfgs")}
    store(run(nothing), tmp_path)
    text = page(["section2_1"], results_dir=tmp_path)
    assert "Nothing can be compared" in text
    assert 'class="matrix"' not in text


def test_equal_errors_do_not_hide_each_other():
    matrix = findings({1: run({name: {SIN: 0.1, SPEC: 0.2} for name in ("adam", "lbfgs", "lm")})}).matrix
    drawn = dots(matrix, shown(matrix))
    by_place = {(dot.x, dot.y) for dot in drawn.dots}
    assert len(by_place) == len(drawn.dots) == 9
    assert len({dot.x for dot in drawn.dots[:3]}) == 1
    for (middle, _), of_row in zip(drawn.rows, zip(*[iter(drawn.dots)] * 3, strict=True), strict=True):
        assert sum(dot.y for dot in of_row) / 3 == pytest.approx(middle)
        assert max(dot.y for dot in of_row) < drawn.height


def test_what_is_wide_scrolls_in_its_own_box(html_of_one):
    """Tables and images alone have a least width."""
    outside = re.sub(r'<div class="scroll">.*?</div>', "", html_of_one, flags=re.DOTALL)
    assert "<table" in html_of_one and "<img" in html_of_one
    assert "<table" not in outside and "<img" not in outside
    on_screen = CSS.split("@page")[0]
    rules = [rule for rule, least in re.findall(r"([^{}]+)\{[^}]*min-width: ([^;]+)", on_screen) if least != "0"]
    assert {rule.strip() for rule in rules} == {"td.words", "img"}


def test_an_interval_is_never_broken():
    made = {seed: run({"adam": {SIN: 1.0 * seed}, "lbfgs": {SIN: 1e-4 / seed}}) for seed in (1, 2)}
    shown_parts = re.findall(
        r">([^<>]*)</span> <span class=\"word\">(\([^<>]* to [^<>]*\))<", findings(made).tables[1].html()
    )
    assert len(shown_parts) >= 2
    assert ".word { white-space: nowrap; }" in CSS.split("@page")[0]


def test_heads_that_are_repeated_in_print_have_text():
    """Chromium does not print buttons in the heads that it repeats on the next page."""
    assert "th button { display: contents; }" in CSS.split("@media print")[1]


def test_overfitting_does_not_flatten_the_losses_of_merged_models(tmp_path):
    columns = {"best_expert_dense_mse": 1.0, "merged_threshold_dense_mse": 0.5, "merged_dense_mse": 0.25}
    history = frame("merge_kan", {SIN: [1e-2, 1e-3, 2e-3]}, section="section2_3")
    history["train_loss"] = [1e-3, 1e-10, 1e-27]
    made = store({**merged({SIN: columns}), "grid_history": history}, tmp_path)
    for path in tmp_path.rglob("*.pkl"):
        path.rename(path.with_name(path.name.replace(f"_e{made.epochs}_", "_")))
    with style():
        [axes] = draw(open_run("section2_3", results_dir=tmp_path), Figure("merge_history", None)).axes
    low, high = axes.get_ylim()
    assert 1e-7 < low < 1e-6 and high > 1e-2


LOOK = """
const seen = [];
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument;
  const wide = () => page.documentElement.scrollWidth - page.documentElement.clientWidth;
  const cut = [...page.querySelectorAll("svg.dots text")].filter((text) => {
    const [inner, outer] = [text, text.ownerSVGElement].map((one) => one.getBoundingClientRect());
    return inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.bottom > outer.bottom + 1;
  });
  const folded = wide();
  page.querySelectorAll("details").forEach((one) => { one.open = true; });
  const matrices = [...page.querySelectorAll("header .scroll")];
  const button = page.querySelector("table.sortable th:nth-child(3) button");
  const sorted = () => { button.click(); return button.parentElement.getAttribute("aria-sort"); };
  const column = () => [...page.querySelector("table.sortable").tBodies[0].rows]
    .map((row) => row.cells[2].dataset.value).filter((value) => value !== undefined).map(Number);
  const up = [sorted(), column()], down = [sorted(), column()];
  seen.push({ folded, open: wide(), cut: cut.length, up, down,
    scrolled: matrices.filter((box) => box.scrollWidth > box.clientWidth + 1).length });
}
document.body.textContent = "SEEN" + JSON.stringify(seen) + "END";
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.slow
def test_in_a_browser_nothing_is_cut_and_tables_sort(html_of_one, tmp_path):
    frames = "".join(
        f'<iframe style="width: {width}px; height: 800px" srcdoc="{html.escape(html_of_one)}"></iframe>'
        for width in WIDTHS
    )
    whole = tmp_path / "whole.html"
    whole.write_text(f"<!DOCTYPE html><body>{frames}<script>onload = () => {{ {LOOK} }};</script></body>")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    command = [BROWSER, *flags, f"--user-data-dir={tmp_path / 'profile'}", whole.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    seen = json.loads(re.search(r"SEEN(\[.*\])END", dom)[1])
    assert len(seen) == len(WIDTHS)
    for one in seen:
        assert [one[what] for what in ("folded", "open", "cut", "scrolled")] == [0, 0, 0, 0]
        (up, rising), (down, falling) = one["up"], one["down"]
        assert (up, down) == ("ascending", "descending")
        assert len(rising) > 5 and rising == sorted(rising) and falling == sorted(falling, reverse=True)
