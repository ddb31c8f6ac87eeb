"""Names of the files of runs, of the present format and of earlier ones, as they lie in folders.

Those of the present format are in `kanbench.plan.naming`. Earlier ones differ: no `_e{epochs}`; `…_meta.json` for
what is in the frames' attrs now; sections of other experiments (`section1_1`); other checkpoints
(`at_kan_threshold_time`); checkpoints without a name, of the final model; `.pth` files with the weights of models that
are not pykan's.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kanbench.errors import InputError
from kanbench.plan.naming import (
    CHECKPOINT_FILES,
    CHECKPOINT_METADATA,
    CHECKPOINTS,
    EPOCHS,
    FRAME_FORMATS,
    NUMBER,
    SEEDS,
    Run,
)
from kanbench.plan.sections import SECTION, SECTIONS, TIMESTAMP, is_timestamp, section_of, without_variant

MAX_DATASETS = 1000  # a larger index is damage
META = "meta"  # …_meta.json
WEIGHTS = "pth"
STORED_CHECKPOINTS = (*CHECKPOINTS, "at_kan_threshold_time")
OLD_NAMES = {"pruned": "kan_pruning"}  # what checkpoints of a model type were called

_RUN = rf"(?P<section>{SECTION})_(?P<timestamp>{TIMESTAMP})(?:_e(?P<epochs>{EPOCHS}))?"
_CHECKPOINT = rf"(?P<model_type>\w+?)_(?P<dataset_idx>{NUMBER})(?:_(?P<checkpoint>{'|'.join(STORED_CHECKPOINTS)}))?"
_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        rf"{_RUN}_{META}\.(?P<kind>json)",
        rf"{_RUN}_{CHECKPOINT_METADATA}\.(?P<metadata>pkl)",
        rf"{_RUN}_{_CHECKPOINT}(?:_(?P<part>{'|'.join(map(re.escape, CHECKPOINT_FILES))})|\.(?P<weights>{WEIGHTS}))",
        rf"{_RUN}_s(?P<seed>{NUMBER})_(?P<frame>\w+)\.(?P<suffix>parquet)",
        rf"{_RUN}_(?P<frame>\w+)\.(?P<suffix>{'|'.join(FRAME_FORMATS)})",
    )
]


@dataclass(frozen=True)
class StoredFile:
    """A file of a run, by its name.

    Attributes
    ----------
    path : Path
    run : Run
    kind : str
        `meta`, `metadata`, `frame`, `checkpoint` or `weights`.
    name : str
        The frame's, or the model type.
    suffix : str
        `pkl` or `parquet` of a frame, and which of its files of a checkpoint.
    dataset_idx : int or None
    checkpoint : str or None
    """

    path: Path
    run: Run
    kind: str
    name: str = ""
    suffix: str = ""
    dataset_idx: int | None = None
    checkpoint: str | None = None

    @property
    def base(self) -> Path:
        """Of a checkpoint, what `KAN.loadckpt` takes; of weights, the path without its ending."""
        ending = f".{WEIGHTS}" if self.kind == "weights" else f"_{self.suffix}"
        return self.path.with_name(self.path.name.removesuffix(ending))

    def stat(self) -> os.stat_result:
        """Of the file; of a link that leads to none, the link's own."""
        return self.path.stat() if self.path.exists() else self.path.lstat()


def in_order(names: Iterable[str], section: str) -> list[str]:
    """Frames or model types in the order of plots and tables; those that are not known last."""
    known = section_of(section)
    order = [*known.frames, *known.model_types]
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def model_types_there(run: Run, names: Iterable[str]) -> list[str]:
    """The model types of a run of the present format, which need not compare all: those among `names`.

    And the reference, and those of a section whose frames are of something else.
    """
    return [m for m in run.kind.model_types if m in names or m == run.kind.reference or run.kind.frame_names]


def parse_stored(path: str | Path, results: str = "") -> StoredFile | None:
    """Read the name of a file of a run, whatever format it is of; None if it is none.

    Parameters
    ----------
    results : str
        The folder of the sections' folders, or of the files.
    """
    path = Path(path)
    found = next((m.groupdict() for m in (p.fullmatch(path.name) for p in _PATTERNS) if m), None)
    if found is None or not is_timestamp(found["timestamp"]):
        return None
    section, epochs = found["section"], found["epochs"] and int(found["epochs"])
    seed = found.get("seed") and int(found["seed"])
    run = Run(section, found["timestamp"], epochs, results, seed=seed)
    known = without_variant(section) in SECTIONS or seed is not None
    run = (
        run if known and path.parent == Path(run.folder) else dataclasses.replace(run, folder_override=str(path.parent))
    )
    if found.get("kind"):
        return StoredFile(path, run, "meta")
    if found.get("metadata"):
        return StoredFile(path, run, "metadata")
    if found.get("frame"):
        return StoredFile(path, run, "frame", found["frame"], found["suffix"])
    if int(found["dataset_idx"]) >= MAX_DATASETS:
        return None
    name = OLD_NAMES.get(found["model_type"], found["model_type"])
    kind = "weights" if found["weights"] else "checkpoint"
    return StoredFile(path, run, kind, name, found["part"] or "", int(found["dataset_idx"]), found["checkpoint"])


def stored_files(results: str | Path) -> list[StoredFile]:
    """The files of runs in a folder and in the sections' folders below it, by path; none of other seeds.

    Links to files that are gone are among them, so that whoever reads one hears of it.

    Raises
    ------
    InputError
        There is no such folder, or it cannot be read.
    """
    results = os.path.expanduser(results)  # noqa: PTH111 - pathlib's raises where there is no such user
    if not Path(results).is_dir():
        raise InputError(results, problem="no such folder")
    folders = [Path(results), *sorted(Path(results).glob("sec*_results"))]
    return [file for folder in folders for file in _stored_in(folder, results) if file.run.seed is None]


def stored_replicates(run: Run) -> dict[Run, list[StoredFile]]:
    """The frames of a run with other seeds, by `run.replicate(seed)`; those that are there."""
    by_run: dict[Run, list[StoredFile]] = {}
    for file in _stored_in(Path(run.results) / SEEDS, run.results):
        if file.run == run.replicate(file.run.seed):
            by_run.setdefault(file.run, []).append(file)
    return dict(sorted(by_run.items(), key=lambda item: item[0].seed))


def _stored_in(folder: Path, results: str | Path) -> list[StoredFile]:
    try:
        paths = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(folder, problem=f"cannot be read ({error.strerror})") from None
    found = (parse_stored(path, str(results)) for path in paths)
    return sorted(filter(None, found), key=lambda file: str(file.path))
