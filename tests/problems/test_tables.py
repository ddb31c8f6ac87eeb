"""Tables of samples: which rows are for what, and what is refused."""

import re

import numpy as np
import pandas as pd
import pytest

from kanbench.errors import InputError
from kanbench.problems.files import find_problem
from kanbench.problems.samples import make_dataset
from kanbench.problems.source import Columns
from kanbench.problems.tables import PARTS, table_problem

SHARES = (0.6, 0.2, 0.1, 0.1)
COLUMNS = Columns(("a", "b"), "y", shares=SHARES)


@pytest.fixture
def table():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"a": rng.uniform(10, 20, 50), "more": "text", "b": np.arange(50), "y": rng.normal(size=50)})
    return frame.assign(part=["train"] * 30 + ["test"] * 10 + [" dense"] * 7 + ["valid"] * 3)


def saved(frame, folder, suffix="csv"):
    path = folder / f"measured.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_rows_are_the_samples(table, tmp_path, suffix):
    problem = table_problem("measured", saved(table, tmp_path, suffix), COLUMNS)
    assert problem.domain == ((table["a"].min(), table["a"].max()), (0, 49))
    assert problem.target is None and problem.width is None
    data = make_dataset(problem, 1000, 1000, 1000, seed=3, valid_num=7, dtype="float32")
    sizes = {part: len(getattr(data, f"{part}_input")) for part in PARTS}
    assert sizes == {"train": 30, "test": 10, "valid": 5, "dense": 5}
    assert data.train_input.dtype == data.dense_label.dtype == "float32" and data.domain == problem.domain
    rows = np.vstack([np.hstack([getattr(data, f"{p}_input"), getattr(data, f"{p}_label")]) for p in PARTS])
    wanted = table[["a", "b", "y"]].to_numpy().astype("float32")
    np.testing.assert_array_equal(rows[rows[:, 1].argsort()], wanted)  # each row once
    again, other = (make_dataset(problem, 1, 1, 1, seed=seed, dtype="float32") for seed in (3, 4))
    np.testing.assert_array_equal(again.train_input, data.train_input)
    assert not np.array_equal(other.train_input, data.train_input)
    assert find_problem("measured", problem.source).source == problem.source


def test_a_column_says_what_rows_are_for(table, tmp_path):
    problem = table_problem("measured", saved(table, tmp_path), Columns(("a", "b"), "y", split="part"))
    data = make_dataset(problem, 1, 1, 1, seed=3)
    np.testing.assert_array_equal(data.train_input, table[["a", "b"]].to_numpy()[:30])
    np.testing.assert_array_equal(data.dense_label, table[["y"]].to_numpy()[40:47])
    without = table[table["part"] != "valid"]
    assert not len(table_problem("m", saved(without, tmp_path), Columns(("a", "b"), "y", "part")).parts(0)["valid"])


def test_one_row_to_train_with_is_refused(table, tmp_path):
    """Nothing deviates there, and so no score of a node is known."""
    few = table.assign(part=["train"] + ["test"] * 40 + ["dense"] * 9)
    with pytest.raises(InputError, match=r"measured\.csv: found one row for train; allowed: at least two"):
        table_problem("measured", saved(few, tmp_path), Columns(("a", "b"), "y", split="part"))


def test_a_target_is_known_at_the_rows_only(table, tmp_path):
    problem = table_problem("measured", saved(table, tmp_path), COLUMNS)
    with pytest.raises(InputError, match="its target is known at its rows only"):
        problem.values(np.zeros((3, 2)))


def changed(column, row, value):
    def change(table):
        table = table.astype({column: object}) if isinstance(value, str) else table.astype({column: float})
        table.loc[row, column] = value
        return table

    return change


WRONG = {
    "a value is missing": (
        changed("a", 6, np.nan),
        COLUMNS,
        "measured.csv: row 7, column 'a': missing or not finite; allowed: finite numbers",
    ),
    "values are missing": (
        lambda table: table.assign(y=np.where(table["b"] > 40, np.inf, table["y"])),
        COLUMNS,
        "measured.csv: row 42, column 'y': missing or not finite (and 8 more rows); allowed: finite numbers",
    ),
    "a word": (changed("b", 3, "three"), COLUMNS, "measured.csv: row 4, column 'b': found 'three'; allowed: numbers"),
    "no such column": (None, Columns(("a", "c"), "y", shares=SHARES), "'c': missing; allowed: a, more, b, y, part"),
    "a column twice": (
        None,
        Columns(("a", "b"), "b", shares=SHARES),
        "found the columns a, b, b; allowed: no duplicates",
    ),
    "a constant input": (lambda table: table.assign(a=2.5), COLUMNS, "column 'a': found 2.5 in all rows"),
    "an unknown part": (
        lambda table: table.assign(part=["training"] * 2 + ["train"] * 28 + ["test"] * 10 + ["dense"] * 10),
        Columns(("a", "b"), "y", "part"),
        "row 1, column 'part': found training (and 1 more row); allowed: train, test, valid, dense",
    ),
    "no rows of a part": (
        lambda table: table[table["part"] != "test"],
        Columns(("a", "b"), "y", "part"),
        "40 rows, none for test",
    ),
    "few rows": (lambda table: table[:3], COLUMNS, "3 rows, none for"),
    "no rows": (lambda table: table[:0], COLUMNS, "no rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_one_line(table, tmp_path, case):
    change, columns, words = WRONG[case]
    path = saved(table if change is None else change(table), tmp_path)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        table_problem("measured", path, columns)
    assert str(path) in error.value.where and "\n" not in str(error.value)


def test_files_that_are_no_tables_are_one_line(tmp_path):
    for name, content in {"measured.csv": b"", "measured.parquet": b"PAR1", "measured.xlsx": b"a"}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name) as error:
            table_problem("measured", path, COLUMNS)
        assert "\n" not in str(error.value)
