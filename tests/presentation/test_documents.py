"""Blocks of documents that are made from results: what is written into them, and when they are called stale."""

import json
import math
import re

import pytest

from kanbench.benchmark.report import as_text
from kanbench.cli.main import main
from kanbench.plan.config import ROOT
from kanbench.presentation.documents import view_of
from kanbench.presentation.tables.findings import findings, findings_of
from kanbench.storage.runs import open_run
from support.planted import POLY, SIN, run, some_run, store

DOCUMENT = """# Findings

<!-- kanbench: answer of section2_1 -->
An answer of before.
<!-- kanbench: end -->

By hand: 1.0.

<!-- kanbench: errors of section2_2 with 1 seed -->
<!-- kanbench: end -->
<!-- kanbench: merge_kan of section2_3 -->
<!-- kanbench: end -->
"""


def docs(document, folder, *options):
    return main(["docs", str(document), "--results-dir", str(folder), *options])


def cells(text):
    """The rows of the Markdown tables in a text."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "findings.md"
    path.write_text(DOCUMENT, encoding="utf-8")
    return path


@pytest.mark.slow
def test_blocks_are_written_from_results_and_the_rest_stays(document, tiny_results, capsys):
    assert docs(document, tiny_results, "--check") == 1
    assert document.read_text(encoding="utf-8") == DOCUMENT
    told = capsys.readouterr()
    assert told.out.count(": stale") == 3
    assert "3 blocks are stale" in told.err

    assert docs(document, tiny_results) == 0
    text = document.read_text(encoding="utf-8")
    without = re.sub(r"( of .*-->\n)(?s:.*?)(<!-- kanbench: end)", r"\1\2", text)
    assert without == DOCUMENT.replace("An answer of before.\n", "")
    assert findings_of(open_run("section2_1", results_dir=tiny_results)).sentence in text
    assert open_run("section2_2", results_dir=tiny_results).name in text
    assert "gain over best expert" in text

    assert docs(document, tiny_results, "--check") == 0
    assert docs(document, tiny_results) == 0
    assert document.read_text(encoding="utf-8") == text
    document.write_text(text.replace("adaptive only", "adaptive alone", 1), encoding="utf-8")
    assert docs(document, tiny_results, "--check") == 1


def test_blocks_without_their_source_stay_and_are_named(document, tmp_path, capsys):
    assert docs(document, tmp_path) == 0
    assert docs(document, tmp_path, "--check") == 0
    assert document.read_text(encoding="utf-8") == DOCUMENT
    assert capsys.readouterr().out.count(": not checked: ") == 2 * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("marker", "why"),
    [
        ("errors of section2_1 with 20 seeds", "found 1 seed; allowed: 20 seeds"),
        ("errors of section2_3", "allowed: answer, factors, merge_kan or summary"),
        ("nonsense of section2_1", "found nonsense; allowed: answer, errors, factors, optimizers or summary"),
        ("benchmark of speed.json", "speed.json: cannot be read"),
    ],
)
def test_what_a_block_cannot_be_made_of_is_said(marker, why, document, tiny_results, capsys):
    document.write_text(f"<!-- kanbench: {marker} -->\n<!-- kanbench: end -->\n", encoding="utf-8")
    assert docs(document, tiny_results) == 0
    assert why in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    ["<!-- kanbench: answer of section2_1 -->\n", "a\n<!-- kanbench: end -->\n", "<!-- kanbench: answer -->\n"],
)
def test_markers_that_are_no_block_are_refused(text, document, tmp_path, capsys):
    document.write_text(f"a\n\n{text}", encoding="utf-8")
    assert docs(document, tmp_path) == 1
    number = 3 + text.startswith("a")
    assert f"{document}: line {number}: found <!-- kanbench: " in capsys.readouterr().err


def test_a_file_of_the_benchmark_is_written_as_it_prints_it(document, tmp_path):
    machine = dict.fromkeys(("python", "numpy", "torch", "numba", "pykan", "torch-levenberg-marquardt", "cpu"), "1")
    result = {"kanbench": "1", "machine": machine, "settings": {"engine": "compiled"}, "peaks": {}, "notes": ["A."]}
    (tmp_path / "speed.json").write_text(json.dumps(result))
    source = tmp_path / "speed.json"
    document.write_text(f"<!-- kanbench: benchmark of {source} -->\n<!-- kanbench: end -->\n", encoding="utf-8")
    assert docs(document, tmp_path) == 0
    assert as_text(result, markdown=True) in document.read_text(encoding="utf-8")


def test_the_columns_of_frames_are_documented():
    assert main(["docs", str(ROOT / "results" / "README.md"), "--check"]) == 0


def test_errors_and_factors_are_those_of_the_tables():
    found = findings({seed: some_run(seed) for seed in range(1, 6)})
    optimizers, summary = (table.frame for table in found.tables)
    for row, (_, shown) in zip(cells(view_of(found, "errors", "a run"))[1:], optimizers.iterrows(), strict=True):
        assert float(row[-1]) == pytest.approx(shown["final_relative_error"], rel=0.05)  # two digits

    heads, *rows = cells(view_of(found, "factors", "a run"))
    ranked = summary.set_index(["comparison", "dataset"])
    labels = {"all": "all", "sin": SIN, "poly": POLY}
    for row in rows:
        for label, name in labels.items():
            known = ranked.loc[(row[0], name)]
            text = row[heads.index(label)]
            assert float(re.search(r" ([\d.,e-]+)\??( |$)", text)[1].replace(",", "")) == pytest.approx(
                known["factor"], rel=0.05
            )
            assert ("?" in text) == (known["decided"] == "no")


def test_errors_of_all_variants_are_one_table(document, tmp_path, capsys):
    for name, error in {"10d": 0.25, "3d_deep": 0.5}.items():
        planted = {"lbfgs": {SIN: error, POLY: 1.0}, "lm": {SIN: error / 10, POLY: 1.0}}
        store(run(planted, f"section2_1_highd_{name}"), tmp_path)
    text = "<!-- kanbench: {} of section2_1_highd_* with 1 seed -->\n<!-- kanbench: end -->\n"
    document.write_text(text.format("errors"), encoding="utf-8")
    assert docs(document, tmp_path) == 0
    heads, *rows = cells(document.read_text(encoding="utf-8"))
    assert heads[:3] == ["variant", "problem", "optimizer"]
    assert [row[:3] for row in rows[:2]] == [["3d_deep", "sin", "L-BFGS"], ["3d_deep", "sin", "LM"]]
    assert [row[0] for row in rows] == ["3d_deep"] * 4 + ["10d"] * 4  # without means over the problems
    variance = math.pi**4  # of 2π² sin(πx) sin(πy)
    expected = [error / variance for error in (0.5, 0.05, 0.25, 0.025)]
    assert [float(row[-1]) for row in rows if row[1] == "sin"] == pytest.approx(expected, rel=0.05)  # two digits

    document.write_text(text.format("answer"), encoding="utf-8")
    assert docs(document, tmp_path) == 0
    assert "found view answer; allowed: errors" in capsys.readouterr().out


@pytest.mark.parametrize(("count", "why"), [(2, "found 1 seed; allowed: 2 seeds"), (1, "")])
def test_each_variant_needs_the_number_of_seeds(count, why, document, tmp_path, capsys):
    store(run({"lm": {SIN: 1.0}}, "section2_1_a"), tmp_path)
    text = f"<!-- kanbench: errors of section2_1_* with {count} seeds -->\n<!-- kanbench: end -->\n"
    document.write_text(text, encoding="utf-8")
    assert docs(document, tmp_path) == 0
    assert why in capsys.readouterr().out
    assert (document.read_text(encoding="utf-8") == text) == bool(why)
