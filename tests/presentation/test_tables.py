"""Tables: their numbers against other code, how they are written, and runs of every format."""

import csv
import math
import re
import shutil
import statistics
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kanbench.analysis.uncertainty import geometric_mean, interval
from kanbench.cli.main import main
from kanbench.plan.naming import Run
from kanbench.plan.sections import SECTIONS
from kanbench.presentation.summary import THIRD, first_screen, legend_of_all
from kanbench.presentation.tables.findings import findings, findings_of
from kanbench.presentation.tables.table import Table, latex_escape
from kanbench.problems import PROBLEMS
from kanbench.problems.samples import make_dataset
from kanbench.problems.target_scale import target_scale
from kanbench.storage.runs import open_run
from support.old_formats import STEM, VARIANTS, write
from support.planted import POLY, SIN, SPEC, STAMP, merged, run, some_run, store

# Of the uniform distribution on [-1, 1]²: worked out by hand.
VARIANCES = {SIN: math.pi**4, POLY: 2 * (4 / 3 + 4 * (1 / 5 - 1 / 9)), "poisson_2d_highfreq": 256 * math.pi**4}


@pytest.mark.parametrize("name", VARIANCES)
def test_variances_of_targets(name):
    # the sample is of 10,000 Sobol points, whose error for such functions is far below 1e-3
    assert target_scale(name).variance == pytest.approx(VARIANCES[name], rel=1e-3)
    dense = make_dataset(PROBLEMS[name], 1, 1, 10_000, 0).dense_label
    assert target_scale(name).variance == pytest.approx(np.var(dense), rel=1e-12)


# --- numbers against other code ---


def read(text):
    return [dict(row) for row in csv.DictReader(text.splitlines())]


def expected(frames, reference, model_type, dataset):
    """Threshold, equal compute by flops and by time, and end, found row by row."""

    def rows_of(name):
        return [row for row in frames[name].to_dict("records") if row["dataset_name"] == dataset]

    def threshold_of(name):
        best, above = None, 0
        for row in rows_of(name):
            if best is None or row["test_loss"] < best["test_loss"]:
                best, above = row, 0
            else:
                above = above + 1 if row["test_loss"] > 1.05 * best["test_loss"] else 0
                if above == 2:
                    break
        return best

    found = {"threshold": threshold_of(model_type), "final": rows_of(model_type)[-1]}
    for by in {"flops", "time"} & set(frames[reference]):
        within = [row for row in rows_of(model_type) if row[by] <= threshold_of(reference)[by]]
        found[f"iso_{by}"] = within[-1] if within else None
    return found


def counted_run(seed):
    """A run in which an epoch of every model type has its own number of flops."""
    frames = some_run(seed)
    made = {m: f.assign(flops=f["epoch"] * n) for (m, f), n in zip(frames.items(), (900, 2000, 3000), strict=True)}
    for model_type, frame in made.items():
        frame.attrs = frames[model_type].attrs
    return made


@pytest.mark.parametrize("seed", range(5))
def test_numbers_are_those_of_the_frames(seed):
    frames = counted_run(seed)
    table = findings({seed: frames}).tables[0]
    rows = read(table.csv())
    relative = {moment: {} for moment in ("threshold", "iso_flops", "iso_time", "final")}
    labels = {name: make_dataset(PROBLEMS[name], 1, 1, 10_000, 0).dense_label for name in (SIN, POLY, SPEC)}
    mean_squares = {name: np.square(values).mean() for name, values in labels.items()}
    for row in rows[:9]:
        for moment, found in expected(frames, "lbfgs", row["optimizer"], row["dataset"]).items():
            if found is None:
                assert row[f"{moment}_dense_mse"] == ""
                continue
            assert float(row[f"{moment}_dense_mse"]) == found["dense_mse"]
            assert float(row[f"{moment}_rmse"]) == pytest.approx(found["dense_mse"] ** 0.5, rel=1e-14)
            mean_square = mean_squares[row["dataset"]]
            l2 = (found["dense_mse"] / mean_square) ** 0.5  # the mean square is that of variance and mean: it rounds
            assert float(row[f"{moment}_relative_l2"]) == pytest.approx(l2, rel=1e-12)
            variance = target_scale(row["dataset"]).variance
            relative[moment][row["dataset"], row["optimizer"]] = found["dense_mse"] / variance
            assert float(row[f"{moment}_relative_error"]) == pytest.approx(found["dense_mse"] / variance, rel=1e-14)
        found = expected(frames, "lbfgs", row["optimizer"], row["dataset"])["threshold"]
        assert row["threshold_epoch"] == str(found["epoch"])
        assert float(row["threshold_time"]) == found["time"]
        assert float(row["threshold_test_loss"]) == found["test_loss"]
        assert row["threshold_n_evals"] == str(found["n_evals"])
        assert row["threshold_flops"] == str(found["flops"])
        assert row["final_n_evals"] == "24"
    assert [row["dataset"] for row in rows[9:]] == ["geometric mean"] * 3
    for moment, errors in relative.items():
        for row in rows[9:]:
            whole = [name for name in (SIN, POLY, SPEC) if all((name, m) in errors for m in frames)]
            product = math.prod(errors[name, row["optimizer"]] for name in whole)
            # the product of a few numbers and the exponential of a mean of logarithms: some rounding errors
            assert float(row[f"{moment}_relative_error"]) == pytest.approx(product ** (1 / len(whole)), rel=1e-12)


def test_with_several_seeds_errors_are_geometric_means_with_intervals():
    runs = {seed: counted_run(seed) for seed in range(1, 6)}
    table = findings(runs).tables[0].frame
    row = table.query(f"dataset == '{SIN}' and optimizer == 'lm'").iloc[0]
    ends = [frames["lm"].query(f"dataset_name == '{SIN}'")["dense_mse"].iloc[-1] for frames in runs.values()]
    assert row["final_dense_mse"] == pytest.approx(statistics.geometric_mean(ends), rel=1e-12)
    relative = statistics.geometric_mean(ends) / target_scale(SIN).variance
    assert row["final_relative_error"] == pytest.approx(relative, rel=1e-12)
    reach = math.exp(2.7764451052 * statistics.stdev(map(math.log, ends)) / math.sqrt(5))  # Student's t for 4
    assert row["final_relative_error_low"] == pytest.approx(relative / reach, rel=1e-9)
    assert row["final_relative_error_high"] == pytest.approx(relative * reach, rel=1e-9)
    epochs = [expected(frames, "lbfgs", "lm", SIN)["threshold"]["epoch"] for frames in runs.values()]
    assert row["threshold_epoch"] == statistics.median(epochs)
    assert row["threshold_flops"] == 3000 * statistics.median(epochs)
    assert (table["seeds"] == 5).all()


def test_intervals_are_students():
    values = np.random.default_rng(7).normal(size=12)
    wanted = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert interval(values) == pytest.approx(wanted, rel=1e-12)
    assert all(math.isnan(end) for end in interval([1.0]))


def test_intervals_hold_the_mean_as_often_as_they_say():
    samples = np.random.default_rng(1).normal(size=(2000, 5))
    held = np.mean([low <= 0 <= high for low, high in map(interval, samples)])
    assert held == pytest.approx(0.95, abs=0.015)  # three standard deviations of 2000 draws


def test_geometric_means():
    assert geometric_mean([1.0, 4.0, math.nan, 16.0]) == pytest.approx(4)
    assert geometric_mean([0.1]) == 0.1
    assert geometric_mean([0.0, 1.0]) == 0
    assert math.isnan(geometric_mean([math.nan]))


def test_the_statements_are_numbers_in_columns():
    runs = {seed: counted_run(seed) for seed in range(1, 6)}
    found = findings(runs)
    table = found.tables[1].frame
    order = ["equal flops", "equal time", "threshold", "end"]
    assert list(dict.fromkeys(table["comparison"])) == order
    assert len(table) == len(found.statements) == 4 * 4
    ends = {m: [frames[m].groupby("dataset_name")["dense_mse"].last() for frames in runs.values()] for m in runs[1]}
    row = table.query(f"comparison == 'end' and dataset == '{SIN}'").iloc[0]
    means = {m: statistics.geometric_mean(end[SIN] for end in by_seed) for m, by_seed in ends.items()}
    first, against, *_ = sorted(means, key=means.get)
    assert (row["first"], row["against"]) == (first, against)
    logs = [math.log(b[SIN] / a[SIN]) for a, b in zip(ends[first], ends[against], strict=True)]
    reach = 2.7764451052 * statistics.stdev(logs) / math.sqrt(5)  # Student's t for 4
    assert math.log(row["factor"]) == pytest.approx(statistics.mean(logs), rel=1e-9)
    assert math.log(row["factor_high"] / row["factor_low"]) == pytest.approx(2 * reach, rel=1e-9)
    assert (row["seeds"], row["problems"]) == (5, 1)
    assert row["decided"] == ("yes" if row["factor_low"] > 1 else "no")
    assert set(table["dataset"]) == {"all", SIN, POLY, SPEC}
    assert (table.query("dataset == 'all' and comparison in ('threshold', 'end')")["problems"] == 3).all()


def test_the_terminal_shows_the_first_screen_of_the_page(capsys, tmp_path):
    """For three sections in 25 lines; its numbers are those of the tables."""
    store(counted_run(0), tmp_path)
    store(some_run(0, "section2_2", SECTIONS["section2_2"].model_types), tmp_path)
    columns = {"best_expert_dense_mse": 4.0, "merged_threshold_dense_mse": 1.0, "control_threshold_dense_mse": 2.0}
    store(merged(dict.fromkeys((SIN, POLY, SPEC), columns)), tmp_path)
    made = tmp_path / "sec3_results" / f"section2_3_{STAMP}_e3_summary.pkl"
    made.rename(made.with_name(f"section2_3_{STAMP}_summary.pkl"))
    assert main(["summary", "--results-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    columns = [SIN, POLY, SPEC, "geometric mean"]
    frame = findings({1: counted_run(0)}).tables[0].frame
    errors = frame.pivot_table("iso_flops_relative_error", "optimizer", "dataset")[columns]
    assert lines[3].split() == ["MSE/variance,", "equal", "flops", "sin", "poly", "spec", "all"]
    for line, model_type in zip(lines[4:7], ("adam", "lbfgs", "lm"), strict=True):
        _, *shown = line.split()
        wanted = errors.loc[model_type]
        assert [float(cell.strip("*").replace("–", "nan")) for cell in shown] == pytest.approx(
            wanted.tolist(), rel=0.05, nan_ok=True
        )
        assert [cell.startswith("*") for cell in shown] == (wanted == errors.min()).tolist()


def test_a_terminal_shows_as_many_problems_as_there_is_room_for(capsys, tmp_path):
    names = [f"a_problem_with_a_long_name_{i}" for i in range(9)]
    store(run({"adam": dict.fromkeys(names, 1.0), "lbfgs": dict.fromkeys(names, 2.0)}), tmp_path)
    assert main(["summary", "section2_1", "--results-dir", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert " all 9 " in text and names[0] in text and f"{names[1]} " not in text


def test_density_has_parameters_and_nodes():
    frames = some_run(3, "section2_2", SECTIONS["section2_2"].model_types)
    frames = {m: frame.assign(important_neurons=4, total_neurons=7) for m, frame in frames.items()}
    for frame in frames.values():
        frame.attrs["section"] = "section2_2"
    table = findings({1: frames}).tables[0]
    assert table.name == "density"
    rows = read(table.csv())
    assert rows[0]["approach"] == "adaptive_only"
    assert (rows[0]["final_num_params"], rows[0]["final_important_neurons"]) == ("150", "4")
    found = expected(frames, "baseline", "adaptive_only", SIN)["threshold"]
    assert float(rows[0]["threshold_dense_mse"]) == found["dense_mse"]


def test_gains_of_merging():
    columns = {
        "best_expert_dense_mse": (4.0, 3.0),
        "initial_dense_mse": (2.0, 3.0),
        "merged_threshold_dense_mse": (1.0, 0.1),
        "control_threshold_dense_mse": (0.5, 0.2),
        "merged_num_params": (1000, 2000),
        "experts_n_evals": (70000, 80000),
        "experts_flops": (12_345_678_901, 2e9),
    }
    frames = merged({name: {c: v[i] for c, v in columns.items()} for i, name in enumerate((SIN, POLY))})
    rows = read(findings({1: frames}).tables[0].csv())
    assert [row["merged_params"] for row in rows] == ["1000", "2000", ""]
    assert [row["experts_n_evals"] for row in rows] == ["70000", "80000", ""]
    assert [row["experts_flops"] for row in rows] == ["12345678901", "2000000000", ""]
    assert "1.2e10" in findings({1: frames}).tables[0].markdown()
    gains = [float(row["gain_over_best_expert"]) for row in rows]
    assert gains == pytest.approx([4, 30, math.sqrt(120)], rel=1e-12)
    assert [float(row["gain_over_control"]) for row in rows] == pytest.approx([0.5, 2, 1], rel=1e-12)
    variances = [target_scale(name).variance for name in (SIN, POLY)]
    relative = math.sqrt(4.0 / variances[0] * 3.0 / variances[1])
    assert float(rows[2]["best_expert"]) == pytest.approx(relative, rel=1e-12)
    assert "gain_over_ensemble" not in rows[0]


# --- how they are written ---

ODD = Table(
    "odd",
    "100 % of a_b & {c}",
    pd.DataFrame(
        {"dataset": ["a_b|c", "x^2 & 50% #1 ~\\{}$"], "final_dense_mse": [1 / 3, 6.02e-23], "seeds": [1.0, np.nan]}
    ),
    ("one_note <",),
)


def test_csv_has_full_precision():
    rows = read(ODD.csv())
    assert [float(row["final_dense_mse"]) for row in rows] == [1 / 3, 6.02e-23]
    assert [row["dataset"] for row in rows] == ODD.frame["dataset"].tolist()
    assert ODD.csv().splitlines()[1].endswith(",1")  # a count is whole


def test_markdown_has_a_cell_for_every_number():
    lines = ODD.markdown().splitlines()
    assert lines[0] == "**100 % of a_b & {c}**"
    assert lines[2] == "*end*"
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[4:8]]
    assert [cell.strip() for cell in cells[0]] == ["problem", "dense MSE", "seeds"]
    assert [cell.strip() for cell in cells[2]] == [r"a_b\|c", "0.33", "1"]
    assert [cell.strip() for cell in cells[3]] == ["x^2 & 50% #1 ~\\{}$", "6.0e-23", "–"]
    assert lines[-1] == "one_note <"


def test_a_table_is_shown_in_parts_by_moment_with_readable_names():
    parts = findings({1: counted_run(0)}).tables[0].parts()
    assert [part.group for part in parts] == ["threshold", "equal flops", "equal time", "end"]
    for part in parts:
        assert [head for head, _ in part.heads][:2] == ["problem", "optimizer"]
        assert [[cell.text for cell in row[:2]] for row in part.rows[:4]] == [
            *(["sin", name] for name in ("Adam", "L-BFGS", "LM")),
            ["poly", "Adam"],
        ]
    frame = findings({1: counted_run(0)}).tables[0].frame
    column = [head for head, _ in parts[3].heads].index("dense MSE")
    shown = [row[column].value for row in parts[3].rows[:9]]
    assert shown == frame["final_dense_mse"].tolist()[:9]


def test_a_table_that_is_far_wider_than_high_is_turned():
    columns = {"best_expert_dense_mse": 4.0, "merged_threshold_dense_mse": 0.5, "merged_dense_mse": 8.0}
    [part] = findings({1: merged({SIN: columns})}).tables[0].parts()
    assert part.is_turned
    assert [head for head, _ in part.heads] == ["problem", "sin", "geometric mean, relative"]
    by_name = {row[0].text: row[1] for row in part.rows}
    assert by_name["merged, threshold"].value == 0.5
    assert by_name["gain over best expert"].value == pytest.approx(8)


FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def assert_is_latex(text):
    """What a compiler would stumble over: special characters, braces and environments that do not match, cells."""
    assert text.isascii()
    bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}", "", text)
    bare = re.sub(r"\\label\{[^}]*\}|^%.*", "", bare, flags=re.MULTILINE).replace(FIT, "{")
    bare = re.sub(r"\$[^$&]*\$", "N", re.sub(r"\\[%#_{}$&]", "", bare))
    assert not re.search(r"[%#$~^_<>|]", bare)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    assert set(opened[::2]) <= {"table", "sidewaystable"} and set(opened[1::2]) == {"tabular"}
    closed = [name for pair in zip(opened[1::2], opened[::2], strict=True) for name in pair]
    assert re.findall(r"\\end\{(\w+)\}", text) == closed
    number = len(opened) // 2
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [number] * 3
    labels = re.findall(r"\\label\{([^}]*)\}", text)
    assert len(set(labels)) == len(labels)
    bodies = re.findall(r"\\toprule\n(.*?)\\bottomrule", bare, re.DOTALL)
    columns = re.findall(r"\\begin\{tabular\}\{((?:[lr]|p\{[^}]*\})*)\}", text)
    for body, spec in zip(bodies, columns, strict=True):
        count = len(re.sub(r"p\{[^}]*\}", "l", spec))
        for line in body.replace("\\midrule\n", "").splitlines():
            assert line.endswith("\\\\")
            assert line.count("&") + 1 == count


def test_latex_is_well_formed():
    text = ODD.latex()
    assert_is_latex(text)
    assert (
        r"x\textasciicircum{}2 \& 50\% \#1 \textasciitilde{}\textbackslash{}\{\}\$ & $6.0\times10^{-23}$ & --" in text
    )
    assert r"\caption{100 \% of a\_b \& \{c\}: end.}" in text
    assert latex_escape("a_b") == r"a\_b"
    for table in (*findings({1: some_run(1)}).tables, *findings({s: some_run(s) for s in (1, 2)}).tables):
        assert_is_latex(table.latex())


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX")
def test_latex_fits_its_pages(tmp_path):
    """Tables of one seed and of several, with long notes, of twenty problems, and of merging."""
    many = [f"a_problem_{i}" for i in range(20)]
    suite = run({m: {name: 1.0 + i for i, name in enumerate(many)} for m in ("adam", "lbfgs", "lm")})
    columns = {"best_expert_dense_mse": 4.0, "merged_threshold_dense_mse": 0.5, "control_threshold_dense_mse": 0.25}
    merging = {seed: merged(dict.fromkeys((SIN, POLY, SPEC), columns)) for seed in range(1, 6)}
    made = [{1: some_run(1)}, {s: counted_run(s) for s in range(1, 6)}, {1: suite}, merging]
    tables = [table.latex() for replicates in made for table in findings(replicates).tables]
    packages = set(re.findall(r"usepackage\{(.*?)\}", "".join(tables)))
    assert packages == {"booktabs,graphicx,rotating"}
    head = rf"\documentclass{{article}}\usepackage{{{packages.pop()}}}\begin{{document}}"
    (tmp_path / "all.tex").write_text("\n\\clearpage\n".join([head, *tables, r"\end{document}"]), encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert not re.findall(r"Overfull \\[hv]box.*|.*[Ff]loat too large.*", done.stdout)


# --- on the command line, for runs of every format ---


def test_a_planted_change_of_a_file_changes_what_is_printed(tmp_path, capsys):
    made = store(some_run(0), tmp_path)

    def printed():
        assert main(["summary", "--results-dir", str(tmp_path)]) == 0
        return capsys.readouterr().out

    for winner in ("adam", "lm"):
        frames = some_run(0)
        frames[winner]["dense_mse"] = 1e-12
        store(frames, tmp_path)
        text = printed()
        label = {"adam": "Adam", "lm": "LM"}[winner]
        assert re.search(rf"  {label} \(one seed only\): at equal compute, it has an error \S+ times", text)
        assert "the lowest on all 3 problems" in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
    assert main(["tables", "section2_1", "--results-dir", str(tmp_path)]) == 0
    files = sorted(str(path) for path in tmp_path.rglob("tables/*/*"))
    assert files == sorted(made.table_files())
    assert re.search(r"\| end +\| all +\| LM +\|", (tmp_path / "tables" / made.name / "summary.md").read_text())


def test_the_summary_of_several_sections(tmp_path, capsys):
    store(some_run(0), tmp_path)
    store(some_run(0, "section2_2", SECTIONS["section2_2"].model_types), tmp_path)
    (tmp_path / "sec3_results").mkdir()
    (tmp_path / "sec3_results" / f"section2_3_{STAMP}_merge_kan_0_final_state").touch()
    assert main(["summary", "--results-dir", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "2.1 Which optimizer trains a KAN best for the same compute?\n" in text
    assert "2.2 Does refining only the important nodes' grids beat refining all?\n" in text
    assert f"; run {STAMP}; notes: summary SECTION" in text.replace("runs", "run")
    assert re.search(rf"section2_3: .*section2_3_{STAMP}: no frames; allowed: a run with at least one", text)


OF_DEFAULT = (SIN, POLY, "poisson_2d_highfreq", SPEC)
MANY = tuple(f"a_problem_with_a_long_name_{i}" for i in range(9))


@pytest.mark.parametrize(
    ("names", "decades", "stamps"),
    [(OF_DEFAULT, 1, (STAMP,) * 3), (MANY, 3, (STAMP, "20260102_000000", "20260103_000000"))],
    ids=["default", "long answers, many problems and different timestamps"],
)
def test_three_sections_fit_a_terminal(names, decades, stamps):
    """25 lines of 80 columns; by default with as many problems, seeds and digits as the default configuration gives."""
    rng = np.random.default_rng(0)

    def errors(columns):
        return {column: {name: 10 ** rng.uniform(-9 * decades, 2 * decades) for name in names} for column in columns}

    def turned(columns):
        made = errors(columns)
        return {name: {column: made[column][name] for column in columns} for name in names}

    expert = ("best_expert_dense_mse", "merged_threshold_dense_mse", "control_threshold_dense_mse")
    made = [{n: run(errors(SECTIONS[s].model_types), s) for n in range(1, 6)} for s in ("section2_1", "section2_2")]
    made.append({n: merged(turned(expert)) for n in range(1, 6)})
    runs = [Run(section, stamp, 10) for section, stamp in zip(SECTIONS, stamps, strict=True)]
    shown = [first_screen(of, findings(replicates), THIRD) for of, replicates in zip(runs, made, strict=True)]
    lines = "\n".join([*shown, legend_of_all(runs)]).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 80
    for label in ("sin", "poly", "highfreq", "spec", "all") if names == OF_DEFAULT else ("all",):
        assert sum(label in line.split() for line in lines) >= 3
    assert ("3 timestamps" if len(set(stamps)) > 1 else STAMP) in lines[-1]


def test_a_long_answer_begins_beside_its_question_or_is_cut():
    made, shown = findings({0: some_run(0)}), []
    for length in (100, 165, 500):
        answer = replace(made, sentence=("word " * (length // 5)).strip())
        shown.append(first_screen(Run("section2_1", STAMP, 10), answer, THIRD).splitlines())
    normal, long, longest = shown
    assert max(map(len, shown)) <= THIRD
    assert normal[0].endswith("compute?") and "compute? word" in long[0] and "…" not in " ".join(long)
    assert longest[2].endswith(" …")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_tables_of_every_format(variant, tmp_path):
    """These have no evaluations, no times but those of the grids, and problems that are not known."""
    variant(tmp_path)
    output = tmp_path / "output"
    assert main(["tables", "section2_1", "--results-dir", str(tmp_path), "--output", str(output)]) == 0
    assert {path.name.split(".")[0] for path in output.iterdir()} == {"optimizers", "summary"}
    rows = read((output / "optimizers.csv").read_text())
    assert [(row["dataset"], row["optimizer"]) for row in rows[:2]] == [("sin", "adam"), ("sin", "lbfgs")]
    assert rows[0]["threshold_dense_mse"] == rows[0]["final_dense_mse"] == "0.5"
    assert rows[0]["iso_time_dense_mse"] == "0.5"
    assert not [name for name in rows[0] if "n_evals" in name or "relative" in name]
    text = (output / "optimizers.md").read_text()
    assert "Missing in this run: LM." in text
    assert "The time of adam, lbfgs follows from total_time" in text
    summary = read((output / "summary.csv").read_text())
    assert {(row["first"], row["against"], row["factor"]) for row in summary} == {("adam = lbfgs", "", "")}


def test_tables_of_other_sections(tmp_path):
    write(tmp_path, f"section2_2_highd_3d_shallow_{STAMP}", ("baseline", "adaptive_only"), label="approach")
    write(tmp_path, f"section1_1_{STAMP}_e2", ("mlp", "kan"), label="activation")
    write(tmp_path, f"section4_1_{STAMP}", ("my_own", "b"))
    sections = {"section2_2_highd_3d_shallow": "density", "section1_1": "model_types", "section4_1": "model_types"}
    for section, name in sections.items():
        assert findings_of(open_run(section, results_dir=tmp_path)).tables[0].name == name
    assert findings_of(open_run("section1_1", results_dir=tmp_path)).statements[-1].best == ("mlp", "kan")
    assert "section4_1: has no reference" in " ".join(findings_of(open_run("section4_1", results_dir=tmp_path)).notes)


def test_frames_without_rows(tmp_path):
    write(tmp_path, STEM)
    for path in tmp_path.glob("*.pkl"):
        pd.read_pickle(path).head(0).to_pickle(path)
    assert main(["tables", "section2_1", "--results-dir", str(tmp_path)]) == 0
    assert "no problem on which any has an error" in next(tmp_path.rglob("summary.md")).read_text()


def test_a_summary_of_merging_without_errors_is_noted():
    found = findings({1: merged({SIN: {}})})
    assert any("Not recorded in this run" in note for note in found.notes)


def test_a_model_type_that_is_too_late_has_no_point(tmp_path, capsys):
    """It has no epoch within the reference's time: the comparison is drawn without it."""
    frames = some_run(0)
    frames["lm"]["time"] += 1000
    store(frames, tmp_path)
    chosen = ["--results-dir", str(tmp_path), "--only", "comparison", "--output", str(tmp_path / "figures")]
    assert main(["figures", "section2_1", *chosen]) == 0
    assert (tmp_path / "figures" / "comparison.png").exists()
    assert main(["summary", "section2_1", "--results-dir", str(tmp_path)]) == 0
    assert "LM has no epoch within the time of L-BFGS" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_tables_of_finished_runs(tiny_results, tmp_path):
    for section in SECTIONS:
        stored = open_run(section, results_dir=tiny_results)
        found = findings_of(stored)
        names = [path.split("/")[-1] for path in stored.run.table_files()]
        for table in found.tables:
            table.write(tmp_path / section)
            assert_is_latex(table.latex())
        assert sorted(path.name for path in (tmp_path / section).iterdir()) == sorted(names)
    stored = pd.read_pickle(Run("section2_3", STAMP, results=str(tiny_results)).frame("summary"))
    gains = stored["best_expert_dense_mse"] / stored["merged_threshold_dense_mse"]
    assert found.tables[0].frame["gain_over_best_expert"][:2].tolist() == pytest.approx(gains.tolist(), rel=1e-12)
    assert found.answer.numbers["factor"] == pytest.approx(math.prod(gains) ** 0.5, rel=1e-12)
