"""File names of runs, of the present and of earlier formats.

The names of the present format are in `kanbench.plan.naming`. Earlier formats have differences: no `_e{epochs}`;
`…_meta.json` instead of attrs; sections of other experiments (`section1_1`); other checkpoints
(`at_kan_threshold_time`); final models without a checkpoint name; `.pth` files with weights of models other than
pykan's; and, before frames were introduced, all results in one pickled dict with a JSON file.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from kanbench.errors import InputError
from kanbench.plan import naming
from kanbench.plan.naming import NUMBER, Run
from kanbench.plan.sections import SECTION, SECTIONS, TIMESTAMP, is_timestamp, section_of, without_variant

HINT = "make run makes runs; --results-dir names another folder"  # where there is none
MAX_DATASETS = 1000  # larger indices are taken for damage
OLD_NAMES = {"pruned": "kan_pruning", **dict.fromkeys(("merged_kan", "merged_kans"), "merge_kan")}  # in checkpoints

Kind = Literal["meta", "metadata", "frame", "checkpoint", "weights", "dict"]

_RUN = rf"(?P<section>{SECTION})_(?P<timestamp>{TIMESTAMP})(?:_e(?P<epochs>{naming.EPOCHS}))?"
_CHECKPOINT = "|".join((*naming.CHECKPOINTS, "at_kan_threshold_time"))
_MODEL = rf"{_RUN}_(?P<name>\w+?)_(?P<dataset_idx>{NUMBER})(?:_(?P<checkpoint>{_CHECKPOINT}))?"
_PATTERNS: list[tuple[Kind, str]] = [
    ("meta", rf"{_RUN}(?:_meta)?\.json"),
    ("dict", rf"{_RUN}\.pkl"),
    ("metadata", rf"{_RUN}_{naming.CHECKPOINT_METADATA}\.pkl"),
    ("checkpoint", rf"{_MODEL}_(?P<suffix>{'|'.join(map(re.escape, naming.CHECKPOINT_FILES))})"),
    ("weights", rf"{_MODEL}\.pth"),
    ("frame", rf"{_RUN}_s(?P<seed>{NUMBER})_(?P<name>\w+)\.(?P<suffix>parquet)"),
    ("frame", rf"{_RUN}_(?P<name>\w+)\.(?P<suffix>{'|'.join(naming.FRAME_FORMATS)})"),
]


@dataclass(frozen=True)
class StoredFile:
    """A file of a run, described by its name.

    Attributes:
        path (Path): The file.
        run (Run): The run that the name states.
        kind ({'meta', 'metadata', 'frame', 'checkpoint', 'weights', 'dict'}): Attrs in JSON, metrics of checkpoints, a
            frame, one file of a pykan model, weights of another model, or all results as a pickled dict.
        name (str): The frame or the model type.
        suffix (str): For a frame `pkl` or `parquet`; for a checkpoint one of `CHECKPOINT_FILES`.
        dataset_idx (int, optional): The dataset of a checkpoint or weights.
        checkpoint (str, optional): The checkpoint, if the name has one.
    """

    path: Path
    run: Run
    kind: Kind
    name: str = ""
    suffix: str = ""
    dataset_idx: int | None = None
    checkpoint: str | None = None

    @property
    def model(self) -> tuple[str, int, str]:
        """Model type, dataset and checkpoint (by default `final`) of a checkpoint or weights."""
        return self.name, self.dataset_idx or 0, self.checkpoint or "final"

    @property
    def base(self) -> Path:
        """The base path of a checkpoint, as `KAN.loadckpt` takes it; for weights, the path without its ending."""
        ending = ".pth" if self.kind == "weights" else f"_{self.suffix}"
        return self.path.with_name(self.path.name.removesuffix(ending))

    def stat(self) -> os.stat_result:
        """The status of the file; of a dangling link, that of the link itself."""
        return self.path.stat() if self.path.exists() else self.path.lstat()


def order_names(names: Iterable[str], section: str) -> list[str]:
    """Sort frames or model types in the order of plots and tables; unknown ones come last."""
    known = section_of(section)
    order = [*known.frames, *known.model_types]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def model_types_there(run: Run, names: Iterable[str]) -> list[str]:
    """The model types of a run of the present format, found in `names`, because a run need not compare all of them.

    The reference is always included, as are all model types of a section whose frames are not one per model type.
    """
    return [m for m in run.kind.model_types if m in names or m == run.kind.reference or run.kind.frame_names]


def parse_stored(path: str | Path, results: str = "") -> StoredFile | None:
    """Parse the name of a file of a run, of any format; None if it is not one.

    Args:
        results (str): The results folder, which contains the file or the section's folder.
    """
    path = Path(path)
    matches = ((kind, re.fullmatch(pattern, path.name)) for kind, pattern in _PATTERNS)
    kind, found = next(((kind, match.groupdict()) for kind, match in matches if match), (None, {}))
    numbers = {key: int(found[key]) for key in ("epochs", "seed", "dataset_idx") if found.get(key)}
    dataset_idx = numbers.get("dataset_idx")
    if kind is None or not is_timestamp(found["timestamp"]) or (dataset_idx or 0) >= MAX_DATASETS:
        return None
    run = Run(found["section"], found["timestamp"], numbers.get("epochs"), results, seed=numbers.get("seed"))
    has_folder = without_variant(run.section) in SECTIONS or run.seed is not None
    if not has_folder or path.parent != Path(run.folder):
        run = dataclasses.replace(run, folder_override=str(path.parent))
    name = found.get("name", "")
    name = name if dataset_idx is None else OLD_NAMES.get(name, name)
    return StoredFile(path, run, kind, name, found.get("suffix", ""), dataset_idx, found.get("checkpoint"))


def stored_files(results: str | Path) -> list[StoredFile]:
    """The files of runs in a results folder and its folders of sections and seeds.

    Dangling links are included, so that reading them gives an error. Each folder is read only once.

    Raises:
        InputError: The folder does not exist or cannot be read.
    """
    results = os.path.expanduser(results)  # noqa: PTH111 - Path.expanduser raises for unknown users
    if not os.path.isdir(results):  # noqa: PTH112 - Path.is_dir raises if a name is too long
        raise InputError(results, problem=f"no such folder ({HINT})")
    top, seeds = _listed(Path(results)), Path(results) / naming.SEEDS
    folders = [path for path in top if fnmatchcase(path.name, "sec*_results") or path == seeds]
    paths = [*top, *(path for folder in folders for path in _listed(folder))]
    files = (parse_stored(path, results) for path in paths)
    return [file for file in files if file and (file.run.seed is not None) == (file.path.parent == seeds)]


def _listed(folder: Path) -> list[Path]:
    """The content of a folder, sorted by name; empty if there is no such folder."""
    try:
        return sorted(folder.iterdir(), key=str) if folder.is_dir() else []
    except OSError as error:
        raise InputError(folder, problem=f"cannot be read ({error.strerror})") from None
