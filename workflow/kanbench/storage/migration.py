"""Migrate runs of earlier formats to the present one."""

from __future__ import annotations

import dataclasses
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from os.path import lexists
from pathlib import Path

import pandas as pd

from kanbench.errors import InputError
from kanbench.io.atomic import atomic_folder, folder_lock
from kanbench.io.readers import read_bytes
from kanbench.plan.naming import FRAME_FORMATS, Run
from kanbench.plan.sections import section_of
from kanbench.storage.attrs import is_converted
from kanbench.storage.conversion import ConvertedRun, portable_file
from kanbench.storage.derive import Frames
from kanbench.storage.frames import read_frame, write_and_compare
from kanbench.storage.metadata import Metadata, read_metadata, write_metadata
from kanbench.storage.saving import staged
from kanbench.storage.stored_names import StoredFile
from kanbench.storage.stored_run import StoredRun, stored_runs
from kanbench.storage.values import same, same_data

EXISTS = "already exists with different data; move it first"
KEPT = "original"  # the folder, next to the run, for files that a conversion replaces
DIFFERENT = "does not survive a write/read round trip; nothing was changed"


def migrate(stored: StoredRun, *, dry_run: bool = False, delete_json: bool = False) -> list[str]:
    """Write a run of an earlier format in the present format, next to the old files.

    Frames get `_e{epochs}` in their names, complete attrs, and a copy in parquet. Checkpoints and their metadata get
    names with epochs; metadata get builtin types, and configurations plain YAML. A run of the study's original scripts
    is converted; see `kanbench.storage.conversion`.

    Everything is written to a temporary folder, read back and compared before it is renamed. Old files are not deleted.
    A file that already has its new name is replaced only if it differs in nothing but its attrs, or if it is converted;
    a converted file is kept in the folder `original`.

    Args:
        dry_run (bool): Whether only to return what would be done.
        delete_json (bool): Whether to delete the old metadata file at the end.

    Returns:
        list of str: What was, or would be, done: a line for each file; empty for a run in the present format.

    Raises:
        InputError: A file cannot be read or written, exists with different data, or does not survive a write/read round
            trip; or two files of the same frame or checkpoint differ.
    """
    with folder_lock(stored.run.folder):
        every = stored_runs(stored.run.results, trusted=stored.trusted)  # another process may have migrated it
        there = next((other for other in every if other.run == stored.run), stored)
        stored = _before_conversion(there)
        if stored.attrs.get("epochs") is None and section_of(stored.run.section).has_epochs:
            raise InputError(stored.path, "no number of epochs", "one in the names, attrs or metadata")
        plan = _Plan(stored, dataclasses.replace(stored.run, epochs=stored.attrs.get("epochs")), there.files)
        _check_one_of_each(stored, plan.target)
        json = [file.path for file in stored.of_kind("meta")] if delete_json else []
        _check_unneeded(stored, every, json)
        done = [*plan.lines(), *(f"delete {path}" for path in json)]
        if not dry_run and done:
            plan.carry_out()
            for path in json:
                path.unlink(missing_ok=True)  # on file systems without locks, another process may have deleted it
        return done


class _Plan:
    """The files to write, by name, and the files that they replace."""

    def __init__(self, stored: StoredRun, target: Run, there: Iterable[StoredFile]) -> None:
        self.stored, self.target = stored, target
        self.own = {file.path for file in there}
        self.made = self.own - {Path(stored.run.folder) / file.path.name for file in stored.files}
        self.writes: dict[str, Callable[[Path], None]] = {}
        self.replaced: list[Path] = []
        if stored.is_original:
            new = ConvertedRun(stored)
            self._plan_frames({name: new.frame(name) for name in stored.frames})
            self._plan_metadata(new.metadata())
        else:
            self._plan_frames(stored.frames)
            for file in stored.of_kind("metadata"):
                self._plan_metadata(read_metadata(file.path, stored.trusted))
        for file in stored.of_kind("checkpoint", "weights"):
            self._plan_part(file)

    def lines(self) -> list[str]:
        """The actions, a line for each file."""
        kept = [f"keep {path} in {KEPT}" for path in self.replaced]
        return [*kept, *(f"write {Path(self.target.folder) / name}" for name in self.writes)]

    def carry_out(self) -> None:
        with staged(self.target) as new:
            for name, write in self.writes.items():
                write(Path(new.folder) / name)
            if self.replaced:
                with atomic_folder(Path(self.target.folder) / KEPT, about=self.target.folder) as kept:
                    for path in self.replaced:
                        _copy(path, kept / path.name)

    def _plan_frames(self, frames: Frames) -> None:
        named = [f for f in self.stored.of_kind("frame") if f.path != Path(self.target.frame(f.name, f.suffix))]
        for file in named:
            if not same_data(read_frame(file.path, self.stored.trusted), self.stored.frames[file.name]):
                raise InputError(file.path, "data that differs from the pickle of this frame", "one of the two files")
        for name, frame in frames.items():
            for suffix in FRAME_FORMATS:
                path = Path(self.target.frame(name, suffix))
                own = path in self.own
                if own and self.stored.is_original:
                    self._replace(path)
                elif lexists(path) and _has_attrs_and_data(path, frame, own, self.stored.trusted):
                    continue
                self.writes[path.name] = partial(write_and_compare, frame, trusted=self.stored.trusted)

    def _plan_metadata(self, metadata: Metadata) -> None:
        path = Path(self.target.checkpoint_metadata())
        own = path in self.own
        if lexists(path) and not same(read_metadata(path, self.stored.trusted), metadata):
            if not own:
                raise InputError(path, problem=EXISTS)
            self._replace(path)
        elif lexists(path) and not (own and b"numpy" in read_bytes(path)):
            return
        if metadata:
            self.writes[path.name] = partial(_write_metadata, metadata)

    def _replace(self, path: Path) -> None:
        """Plan to keep an old file, unless it is already kept or was made by an interrupted conversion."""
        if path not in self.made and not _kept(path).exists():
            self.replaced.append(path)

    def _plan_part(self, file: StoredFile) -> None:
        """Plan one file of a model: a copy, or a version that plain pykan can read."""
        base = self.target.checkpoint(*file.model)
        path = Path(f"{base}_{file.suffix}" if file.kind == "checkpoint" else f"{base}.pth")
        content = portable_file(file) if file.kind == "checkpoint" else None
        if not lexists(path) or (path == file.path and content is not None):
            self.writes[path.name] = partial(_copy, file.path) if content is None else partial(_write, content)
            if path == file.path:
                self._replace(path)
        elif path != file.path and read_bytes(path) != _content(file):
            raise InputError(path, problem=EXISTS)


def _has_attrs_and_data(path: Path, frame: pd.DataFrame, own: bool, trusted: bool) -> bool:
    """Whether a file has the attrs of the frame. Its data must be equal, because writing the frame would replace them.

    A copy from an earlier migration (not one of the run's `own` files) may have more attrs, if the JSON file has been
    deleted since.

    Raises:
        InputError: Data differ, or attrs that would be lost.
    """
    there = read_frame(path, trusted)
    attrs, wanted = there.attrs, frame.attrs
    in_both = all(key in attrs and (value is None or same(attrs[key], value)) for key, value in wanted.items())
    if not same_data(there, frame) or not (own or in_both):
        raise InputError(path, problem=EXISTS)
    if own and (lost := [key for key, value in wanted.items() if value is None and attrs.get(key) is not None]):
        raise InputError(
            path, f"{', '.join(map(str, lost))} in the attrs of this file only", "the same attrs in both files"
        )
    return same(attrs, wanted) if own else in_both


def _check_one_of_each(stored: StoredRun, target: Run) -> None:
    """Check that of checkpoints with the same new name, one contains all files of the others.

    Raises:
        InputError: They differ.
    """
    found: dict[tuple[str, str], dict[Path, list[StoredFile]]] = defaultdict(lambda: defaultdict(list))
    for file in stored.of_kind("checkpoint", "weights"):
        found[file.kind, target.checkpoint(*file.model)][file.base].append(file)
    for (_, base), by_old in found.items():
        if len(by_old) == 1:  # nothing to compare; do not read large files
            continue
        parts = [{(file.suffix, _content(file)) for file in group} for group in by_old.values()]
        if set.union(*parts) not in parts:
            raise InputError(base, f"{' and '.join(old.name for old in by_old)}, which differ", "one of them")


def _content(file: StoredFile) -> bytes:
    """The content of a model's file in the present format."""
    portable = portable_file(file) if file.kind == "checkpoint" else None
    return read_bytes(file.path) if portable is None else portable


def _check_unneeded(stored: StoredRun, every: Iterable[StoredRun], json: list[Path]) -> None:
    """Check that the JSON files to delete have been read and belong to this run only."""
    for path in json:
        if path != stored.json_file:
            problem = f"not used for the frames of {stored.name}"
            raise InputError(path, problem=problem, allowed="migration without --delete-json")
        for other in every:
            if other.run != stored.run and any(file.path == path for file in other.files):
                allowed = "migration of both runs before it is deleted"
                raise InputError(path, problem=f"also belongs to {other.name}", allowed=allowed)


def _write_metadata(metadata: Metadata, path: Path) -> None:
    write_metadata(metadata, path)
    if not same(read_metadata(path), metadata):
        raise InputError(path, problem=DIFFERENT)


def _copy(old: Path, path: Path) -> None:
    shutil.copyfile(old, path)
    if read_bytes(path) != read_bytes(old):
        raise InputError(path, problem=DIFFERENT)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _kept(path: Path) -> Path:
    """The path at which a converted file is kept, in a folder that is not searched for runs."""
    return path.parent / KEPT / path.name


def _before_conversion(stored: StoredRun) -> StoredRun:
    """If a conversion was interrupted, the run with its old frames and metadata; otherwise the run itself."""
    kept = [file for file in stored.files if _kept(file.path).exists()]
    as_before = [file for file in kept if read_bytes(file.path) == read_bytes(_kept(file.path))]
    if not as_before and (not kept or all(map(is_converted, stored.frames.values()))):
        return stored
    old = [file for file in kept if file.kind in ("frame", "metadata")]
    files = [dataclasses.replace(file, path=_kept(file.path)) if file in old else file for file in stored.files]
    made = [file for file in files if KEPT not in file.path.parts and _is_made(stored, file)]
    return dataclasses.replace(stored, files=tuple(file for file in files if file not in made))


def _is_made(stored: StoredRun, file: StoredFile) -> bool:
    """Whether a conversion made this file of a frame or metadata, recognized by the names of the present format."""
    if file.kind == "frame":
        return is_converted(read_frame(file.path, stored.trusted))
    if file.kind != "metadata":
        return False
    rows = [(m, row) for m, models in read_metadata(file.path, stored.trusted).items() for row in models.values()]
    return all(kept.get(stored.section.label) == m for m, row in rows for kept in row.values())
