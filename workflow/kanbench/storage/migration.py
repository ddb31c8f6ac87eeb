"""Bring runs of earlier formats into the present one."""

from __future__ import annotations

import dataclasses
import shutil
from collections import defaultdict
from os.path import lexists
from pathlib import Path

import pandas as pd

from kanbench.errors import InputError
from kanbench.io.atomic import folder_lock
from kanbench.io.readers import read_bytes
from kanbench.plan.naming import FRAME_FORMATS, Run
from kanbench.plan.sections import WITHOUT_EPOCHS, without_variant
from kanbench.storage.frames import read_frame, write_and_compare
from kanbench.storage.metadata import read_metadata, write_metadata
from kanbench.storage.staging import staged
from kanbench.storage.stored_names import StoredFile
from kanbench.storage.stored_run import StoredRun, stored_runs
from kanbench.storage.values import same, same_frame


def migrate(run: Run, *, dry_run: bool = False, delete_json: bool = False, trusted: bool = False) -> list[str]:
    """Write a run of an earlier format in the present one, beside it.

    Frames get `_e{epochs}` in their names, complete attrs, and a copy in parquet; checkpoints and their metadata get
    names with epochs, and the metadata builtin types. Everything is written beside, read back and compared with what
    was there before it gets its name; the old files stay. A file that has its name already is written anew only if
    nothing but its attrs differs.

    Parameters
    ----------
    run : Run
        As `kanbench.find_run` returns it.
    dry_run : bool
        Whether only to say what would be done.
    delete_json : bool
        Whether to delete the old metadata file in the end.
    trusted : bool
        See `kanbench.load_run`.

    Returns
    -------
    list of str
        What was done, or would be: a line for each file. Empty where the run is in the present format already.

    Raises
    ------
    InputError
        A file cannot be read or written, is in the way, or does not come back as it was; or two files of one frame or
        one checkpoint differ.
    """
    with folder_lock(run.folder):  # whoever waited finds what the other has done
        every = stored_runs(run.results, trusted=trusted)
        stored = next(stored for stored in every if stored.run == run)
        files, results, meta = list(stored.files), stored.frames, stored.attrs
        if meta.get("epochs") is None and without_variant(run.section) not in WITHOUT_EPOCHS:
            raise InputError(f"{run.folder}/{run.name}", "no epochs", "runs that tell them")
        target = dataclasses.replace(run, epochs=meta.get("epochs"))
        plans = _plans(target, files, results, trusted)
        _check_not_in_the_way(target, plans, files)
        _check_one_of_each(target, files)
        json = [file.path for file in files if file.kind == "meta"]
        if delete_json:
            _check_read(stored, json)
            _check_not_shared(run, every, json)
        done = [f"write {Path(target.folder) / name}" for name in plans]
        done += [f"delete {path}" for path in json if delete_json]
        if dry_run or not done:
            return done
        with staged(target) as new:
            for name, plan in plans.items():
                plan(Path(new.folder) / name)
        if delete_json:
            for path in json:
                path.unlink(missing_ok=True)  # where nobody waits, another may have deleted it
        return done


def _plans(target: Run, files: list[StoredFile], results: dict[str, pd.DataFrame], trusted: bool) -> dict:
    """How to write every file that is not there in the present format, by its name."""
    plans, own = {}, [file.path for file in files]
    for name, frame in results.items():
        for suffix in FRAME_FORMATS:
            path = Path(target.frame(name, suffix))
            if not lexists(path) or not _has_attrs_and_data(path, frame, path in own, trusted):
                plans[path.name] = lambda new, frame=frame: write_and_compare(frame, new, trusted)
    for file in files:
        if file.kind == "frame":
            if file.path != Path(target.frame(file.name, file.suffix)):  # of which the data were compared above
                _check_same_data(file, results[file.name], trusted)
        elif file.kind == "metadata":
            path, metadata = Path(target.checkpoint_metadata()), read_metadata(file.path, trusted)
            if lexists(path) and not same(read_metadata(path, trusted), metadata):
                raise InputError(path, allowed="a folder without it", problem="is in the way, with other metrics")
            if not lexists(path) or b"numpy" in read_bytes(path):
                plans[path.name] = lambda new, metadata=metadata: _write_metadata(metadata, new)
        elif file.kind in ("checkpoint", "weights"):
            base = _new_base(target, file)
            path = Path(f"{base}_{file.suffix}" if file.kind == "checkpoint" else f"{base}.pth")
            if path != file.path and (not lexists(path) or read_bytes(path) != read_bytes(file.path)):
                plans[path.name] = lambda new, old=file.path: _copy(old, new)
    return plans


def _new_base(target: Run, file: StoredFile) -> str:
    return target.checkpoint(file.name, file.dataset_idx, file.checkpoint or "final")


def _has_attrs_and_data(path: Path, frame: pd.DataFrame, own: bool, trusted: bool) -> bool:
    """Whether the attrs in a file are the frame's. Its data must be, or writing the frame there would lose them.

    A copy that was made before (which is not the run's `own`) may tell more: the metadata in JSON may be gone since.
    """
    there = read_frame(path, trusted)
    attrs, there.attrs = there.attrs, frame.attrs
    if not same_frame(there, frame):
        raise InputError(path, allowed="a folder without it", problem="is in the way, with other data")
    if own:
        if lost := [key for key, value in frame.attrs.items() if value is None and attrs.get(key) is not None]:
            raise InputError(
                path, allowed="the same attrs in both files", problem=f"{', '.join(lost)} in its attrs only"
            )
        return same(attrs, frame.attrs)
    return all(key in attrs and (value is None or same(attrs[key], value)) for key, value in frame.attrs.items())


def _check_same_data(file: StoredFile, frame: pd.DataFrame, trusted: bool) -> None:
    """Of the two formats of a frame one was read: the other must not be lost."""
    there = read_frame(file.path, trusted)
    there.attrs = frame.attrs
    if not same_frame(there, frame):
        raise InputError(
            file.path, allowed="one of the two files", problem="other data than in the pickle of this frame"
        )


def _check_not_in_the_way(target: Run, plans: dict, files: list[StoredFile]) -> None:
    """A file that has the name already must be one of the run's own frames, or its metadata."""
    own = {file.path.name for file in files if file.kind in ("frame", "metadata")}
    for name in plans:
        path = Path(target.folder) / name
        if lexists(path) and name not in own:
            raise InputError(path, allowed="a folder without it", problem="is in the way")


def _check_one_of_each(target: Run, files: list[StoredFile]) -> None:
    """Of checkpoints that would get one name, one must have all that the others have: parts of two make none."""
    found: dict[tuple, dict[Path, list[StoredFile]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        if file.kind in ("checkpoint", "weights"):
            found[file.kind, _new_base(target, file)][file.base].append(file)
    for (_, base), by_old in found.items():
        if len(by_old) == 1:  # its files need not be read, which may be large
            continue
        parts = [{(file.suffix, read_bytes(file.path)) for file in group} for group in by_old.values()]
        if set.union(*parts) not in parts:
            names = " and ".join(old.name for old in by_old)
            raise InputError(base, f"{names}, which differ", "one of them")


def _check_read(stored: StoredRun, json: list[Path]) -> None:
    for path in json:
        if path != stored.json_file:
            raise InputError(
                path,
                allowed="to migrate without deleting it",
                problem=f"nothing of it is in the frames of {stored.name}",
            )


def _check_not_shared(run: Run, every: list[StoredRun], json: list[Path]) -> None:
    for other in every:
        shared = [file.path for file in other.files if file.path in json]
        if other.run != run and shared:
            raise InputError(
                shared[0], allowed="to migrate both, and then delete it", problem=f"{other.name} has it too"
            )


def _write_metadata(metadata: dict, path: Path) -> None:
    write_metadata(metadata, path)
    if not same(read_metadata(path), metadata):
        raise InputError(path, problem="does not come back as it was; nothing was changed")


def _copy(old: Path, path: Path) -> None:
    shutil.copyfile(old, path)
    if read_bytes(path) != read_bytes(old):
        raise InputError(path, problem="does not come back as it was; nothing was changed")
