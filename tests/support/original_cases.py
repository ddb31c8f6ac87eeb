"""All runs of the original study's scripts that the tests have, stand-ins and real ones, and what is true of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from support.old_results import runs_folder
from support.original import EARLY, ORIGINAL, STAMP
from support.original_odd import BROKEN, WHOLE

STEM = re.compile(r"(?P<section>section\d+_\d+(?:_\w+?)?)_(?P<timestamp>\d{8}_\d{6})(?:_e\d+)?(?=[_.])")
CHECKPOINT = re.compile(rf"(?P<stem>{STEM.pattern})_(?P<name>\w+?)_(?P<i>\d+)(?:_(?P<checkpoint>at_threshold|final))?")
ROOTS = ("adam", "lbfgs", "adaptive_only", "adaptive_regular", "baseline", "merge_kan", "kan")  # of mean squares
SQUARES = ("lm", "mlp", "siren")
LOSSES = ["train_loss", "test_loss"]
HISTORY = ["dataset_idx", "epoch", "time", *LOSSES]


@dataclass(frozen=True)
class Case:
    """A run; `write` puts its files below a results folder and returns its section."""

    name: str
    write: Callable[[Path], str]
    timestamp: str = STAMP
    early: bool = False


@dataclass(frozen=True)
class Written:
    """A run whose files are there."""

    case: Case
    results: Path
    section: str

    @property
    def options(self) -> list[str]:
        return ["--timestamp", self.case.timestamp, "--results-dir", str(self.results)]

    @property
    def stem(self) -> str:
        return next(found.group() for path in self.files if (found := STEM.match(path.name)))

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.results.rglob("*") if path.is_file())

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """As pandas reads them."""
        paths = [path for path in self.files if path.suffix == ".pkl" and "checkpoint_metadata" not in path.name]
        return {path.stem.removeprefix(f"{self.stem}_"): pd.read_pickle(path) for path in paths}

    @property
    def bases(self) -> list[Path]:
        """What `KAN.loadckpt` takes of every checkpoint."""
        ending = "_config.yml"
        return [p.with_name(p.name.removesuffix(ending)) for p in self.files if p.name.endswith(ending)]

    def measure(self, model_type: str) -> str:
        """`rmse` or `mse`: what the losses in its frame are."""
        changed = {"lm_as_roots": "rmse", "all_squared": "mse"}.get(self.case.name)
        return changed or ("mse" if model_type in (*SQUARES, "sgd") else "rmse")

    def copy(self, folder: Path) -> Written:
        """The same run in another folder, where a test may change it."""
        shutil.copytree(self.results, folder / "results")
        return Written(self.case, folder / "results", self.section)


def _write_copy(folder: Path, stem: str, results: Path) -> str:
    """Copy the files of a real run, which are read only, below a folder of the same name."""
    (results / folder.name).mkdir(parents=True)
    for path in folder.glob(f"{stem}[_.]*"):
        shutil.copyfile(path, results / folder.name / path.name)
    return STEM.match(f"{stem}.").group("section")


def _real_runs() -> Iterator[Case]:
    for folder in sorted(runs_folder().glob("*/sec*_results")):
        names = [path.name for path in folder.iterdir()]
        for stem in sorted({found.group() for found in map(STEM.match, names) if found}):
            early = f"{stem}.pkl" in names
            timestamp = STEM.match(f"{stem}.").group("timestamp")
            yield Case(f"{folder.parent.name} {stem}", partial(_write_copy, folder, stem), timestamp, early)


FRAME_CASES = [Case(write.__name__, write) for write in (*ORIGINAL, *WHOLE)]
EARLY_CASES = [Case(write.__name__, write, early=True) for write in EARLY]
ODD_CASES = [Case(write.__name__, write) for write in BROKEN]
REAL_FRAMES = [case for case in _real_runs() if not case.early]
REAL_EARLY = [case for case in _real_runs() if case.early]
ABSENT = pytest.param(None, id="real runs", marks=pytest.mark.skip(reason=f"{runs_folder()} is not there"))


KINDS = ("optimizers_newest", "shallow_older", "approaches", "merging", "section_1_newest")  # others look like them
ALIKE = [case for case in (*FRAME_CASES, *REAL_FRAMES) if case.name not in KINDS]


def parameters(*cases: Case) -> list:
    """For `parametrize`: runs that look like others are slow; where there are no real runs, that is skipped."""
    made = [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case in ALIKE else []) for case in cases]
    return [*made, *([] if REAL_FRAMES else [ABSENT])]


WITH_FRAMES = parameters(*FRAME_CASES, *REAL_FRAMES)


def plain(values: pd.Series) -> list:
    """A column's values: arrays without dimensions as numbers, whatever is missing as None."""
    items = [value.item() if isinstance(value, np.ndarray) else value for value in values]
    return [None if pd.isna(item) else item for item in items]


def in_squares(values: pd.Series, measure: str) -> list[float]:
    return [float(value) ** (2 if measure == "rmse" else 1) for value in values]


def comparable(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A frame's history with mean squared errors, epochs from 1, and the time: one configuration of each dataset.

    Not for frames with rows of pruned models.
    """
    parts = []
    for dataset_idx, rows in frame.groupby("dataset_idx"):
        columns = [column for column in ("depth", "activation") if column in rows]
        groups = [group for _, group in rows.groupby(columns, sort=False)] if columns else [rows]
        best = min(groups, key=lambda group: np.nan_to_num(float(group["test_loss"].iloc[-1]), nan=np.inf))
        part = {"dataset_idx": dataset_idx, "epoch": range(1, len(best) + 1), "time": times(best)}
        parts.append(pd.DataFrame(part | {key: in_squares(best[key], measure) for key in LOSSES}))
    return pd.concat(parts, ignore_index=True)


def times(rows: pd.DataFrame) -> list[float]:
    """Seconds at the end of every epoch: grids one after the other, of equal epochs."""
    found: list[float] = []
    stages = rows["grid_size"] if "grid_size" in rows else [0] * len(rows)
    before = 0.0
    for _, stage in groupby(zip(stages, rows["total_time"], rows["time_per_epoch"], strict=True), lambda row: row[0]):
        numbers = list(stage)
        found += [before + (epoch + 1) * per_epoch for epoch, (_, _, per_epoch) in enumerate(numbers)]
        before += numbers[0][1]
    return found


def sorted_history(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of `comparable` of a frame, in its order."""
    return frame[HISTORY].sort_values(["dataset_idx", "epoch"], kind="stable").reset_index(drop=True).astype(float)


def assert_same_history(frame: pd.DataFrame, expected: pd.DataFrame, columns: list[str] = HISTORY) -> None:
    one, other = sorted_history(frame), sorted_history(expected)
    pd.testing.assert_frame_equal(
        one[columns], other[columns], check_names=False, check_column_type=False, rtol=1e-6, atol=0
    )
