"""Describe a file or a run: what it is, what it contains, what is missing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from kanbench.errors import InputError, one_line
from kanbench.io.readers import parser_errors, read_json, read_tensors
from kanbench.network.checkpoint_config import coef_shapes, read_model_config
from kanbench.plan.naming import CHECKPOINT_FILES
from kanbench.plan.sections import SECTION
from kanbench.storage.attrs import Attrs, essential
from kanbench.storage.derive import DERIVABLE, Frames, grids, training_keys
from kanbench.storage.frames import read_frame
from kanbench.storage.metadata import Metadata, read_metadata, read_plain
from kanbench.storage.stored_names import StoredFile, model_types_there, parse_stored
from kanbench.storage.stored_run import StoredRun, stored_runs

SHOWN = 100  # characters of a value
LOSSES = {"mse": "mean squared errors", "rmse": "root mean squared errors"}


def runs_table(results_dir: str | Path, section: str | None = None) -> pd.DataFrame:
    """The runs in a folder, one row each: frames, checkpoints, seeds, size and time of the last change.

    Raises:
        InputError: The folder does not exist, or a file in it has disappeared meanwhile.
    """
    runs = [stored for stored in stored_runs(results_dir) if section in (None, stored.run.section)]
    return pd.DataFrame([_row(stored) for stored in runs])


def _row(stored: StoredRun) -> dict[str, Any]:
    with parser_errors(stored.path):
        sizes = [file.stat() for file in stored.files]
    written = pd.Timestamp(max(size.st_mtime for size in sizes), unit="s")
    frames = ", ".join(sorted({file.name for file in stored.of_kind("frame")}))
    return {
        "section": stored.run.section,
        "timestamp": stored.run.timestamp,
        "epochs": stored.run.epochs or "",
        "frames": frames or ("none: a pickled dict" if stored.of_kind("dict") else ""),
        "checkpoints": len({file.model for file in stored.of_kind("checkpoint", "weights")}),
        "more_seeds": ", ".join(str(replicate.seed) for replicate in stored.replicate_files),
        "MB": round(sum(size.st_size for size in sizes) / 1e6, 2),
        "written": written.strftime("%Y-%m-%d %H:%M UTC"),
        "folder": one_line(stored.run.folder),
    }


def inspect(path: str | Path, trusted: bool = False) -> str:
    """Describe a file, a folder of runs, or a run (given by the path of its files up to the epochs, `…_e10`) as text.

    Raises:
        InputError: It does not exist, or is damaged or refused.
    """
    path = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises if the name is too long
        table = runs_table(path)
        found = one_line(f"{path}: {'no' if table.empty else len(table)} runs")
        return found if table.empty else f"{found}\n{table.to_string(index=False)}"
    for file in (path, path.with_name(f"{path.name}_state")):  # the latter for a base path as in KAN.loadckpt
        if os.path.lexists(file):  # reading a dangling link gives the right error
            return "\n".join(map(_shown, _of_file(file, trusted)))
    for results in filter(os.path.isdir, (path.parent.parent, path.parent)):  # with or without folders of sections
        for stored in stored_runs(results, trusted=trusted):
            if Path(stored.path) == path:
                return "\n".join(map(_shown, _of_run(stored)))
    allowed = "a file, a folder, or FOLDER/SECTION_TIMESTAMP_eEPOCHS"
    raise InputError(path, problem="no such file or run", allowed=allowed)


def _shown(line: str) -> str:
    """A line with its indentation, and without control characters."""
    return line[: len(line) - len(line.lstrip(" "))] + one_line(line)


def _of_file(path: Path, trusted: bool) -> Iterator[str]:
    """Describe a file by its name, or else by its ending and content."""
    file = parse_stored(path)
    of_run = f" of the run {file.run.name}" if file else ""
    if path.suffix == ".json":
        content = read_json(path)
        history = content.pop("history", None) if "settings" in content else None
        is_record = isinstance(history, list)
        yield f"{path}: {'metadata' if file else 'the record of a training' if is_record else 'JSON'}{of_run}"
        yield from _items(content)
        if not file:
            yield f"  history: {len(history or [])} epochs" if is_record else "  not a kanbench file"
    elif file and file.kind == "dict":
        yield f"{path}: results as a pickled dict, from before there were frames{of_run}"
        yield from _of_dict(path, trusted)
    elif path.suffix in (".pkl", ".parquet"):
        found = _frame_or_metadata(path, trusted, file)
        if isinstance(found, pd.DataFrame):
            yield from _of_frame(path, found, file)
        else:
            yield f"{path}: metrics of checkpoints{of_run}"
            yield from _of_metadata(found)
    elif path.suffix == ".pth" or path.name.endswith(tuple(f"_{part}" for part in CHECKPOINT_FILES)):
        model = f", {file.name} on dataset {file.dataset_idx}" if file else ""
        yield f"{path}: {'weights' if path.suffix == '.pth' else 'part of a checkpoint of pykan'}{of_run}{model}"
        if path.suffix == ".yml" or (file and file.kind == "checkpoint"):
            yield from _of_checkpoint(path, file)
        if path.suffix != ".yml":
            yield from _of_tensors(read_tensors(path, trusted))
    else:
        raise InputError(path, problem="not a kanbench file", allowed="frames, metadata and checkpoints")


def _frame_or_metadata(path: Path, trusted: bool, file: StoredFile | None) -> pd.DataFrame | Metadata:
    if file and file.kind == "metadata":
        return read_metadata(path, trusted)
    try:
        return read_frame(path, trusted)
    except InputError:
        if file is None:
            with contextlib.suppress(InputError):
                return read_metadata(path, trusted)
        raise


def _of_frame(path: Path, frame: pd.DataFrame, file: StoredFile | None) -> Iterator[str]:
    section = file.run.section if file else str(frame.attrs.get("section"))  # attrs may contain anything
    known = re.fullmatch(SECTION, section)
    name = file.name if file else frame.attrs.get("model_type", "?")
    seed = f", seed {file.run.seed}" if file and file.run.seed is not None else ""
    yield f"{path}: frame {name} of {section if known else 'an unknown section'}{seed}: {len(frame)} rows"
    yield f"  columns: {', '.join(frame.columns)}"
    yield from _items(frame.attrs, "  attrs: ")
    required = ("section", "timestamp", "model_type", *essential(section)) if known else ()
    if missing := [key for key in required if key not in frame.attrs]:
        yield f"  missing attrs: {', '.join(missing)} (load_run completes them; migrate writes them)"
    if derivable := [key for key in frame.attrs if key in DERIVABLE]:
        yield f"  attrs that can be derived: {', '.join(derivable)}"
    yield from _trainings(frame)


def _trainings(frame: pd.DataFrame) -> Iterator[str]:
    if not {"dataset_idx", "epoch"} <= set(frame.columns) or frame.empty:
        return
    keys = training_keys(frame)
    trainings = frame.sort_values([*keys, "epoch"], kind="stable").groupby(keys, dropna=False)
    has_grids = "grid_size" in frame
    yield f"  trainings: {trainings.ngroups}" + (f", grids {', '.join(map(str, grids(frame)))}" if has_grids else "")
    for (_, count), end in zip(trainings.size().items(), trainings.tail(1).to_dict("records"), strict=True):
        values = {key: end[key] for key in ("train_loss", "test_loss", "dense_mse") if key in end}
        losses = [f"{key} {value:.3g}" if pd.notna(value) else f"{key} not a number" for key, value in values.items()]
        to_grid = f" to grid {end['grid_size']:.0f}" if has_grids and pd.notna(end["grid_size"]) else ""
        which = "".join(f", {key} {end[key]}" for key in keys[1:])
        named = f"{end['dataset_idx']} {end.get('dataset_name', '')}{which}"
        yield f"    {named}: {count} epochs{to_grid}; {', '.join(losses)}"


def _of_dict(path: Path, trusted: bool) -> Iterator[str]:
    """Describe a pickle of plain values and numpy scalars."""
    content = read_plain(path, trusted)
    yield from _items(content if isinstance(content, dict) else {type(content).__name__: content})


def _of_metadata(metadata: Metadata) -> Iterator[str]:
    for model_type, per_dataset in metadata.items():
        for index, checkpoints in per_dataset.items():
            for name, row in checkpoints.items():
                numbers = ", ".join(f"{key} {_short(value)}" for key, value in row.items())
                yield f"  {model_type}, dataset {index}, {name}: {numbers}"


def _of_checkpoint(path: Path, file: StoredFile | None) -> Iterator[str]:
    """Describe the configuration of a pykan model, and which of its files are missing."""
    config_path = Path(f"{file.base}_config.yml") if file else path
    if config_path.exists():
        config = read_model_config(config_path)
        width = [nodes if not products else [nodes, products] for nodes, products in config["width"]]
        edges = sum(inputs * outputs for inputs, outputs, _ in coef_shapes(config))
        about = f"grid {config['grid']}, k {config['k']}, {edges} edges, device {config.get('device')}"
        yield f"  KAN: width {width}, {about}"
    if file:
        missing = [part for part in CHECKPOINT_FILES if not Path(f"{file.base}_{part}").exists()]
        complete = f"  complete: KAN.loadckpt({str(file.base)!r}) reads it"
        yield f"  missing: {', '.join(missing)}" if missing else complete


def _of_tensors(content: Any) -> Iterator[str]:
    for name, value in content.items() if isinstance(content, dict) else [("", content)]:
        if (shape := getattr(value, "shape", None)) is not None:
            text = f"{tuple(shape)} {value.dtype}"
        else:  # nested lists with shared parts may be too large to print
            text = _short(value) if isinstance(value, (str, int, float)) else type(value).__name__
        yield f"  {name}: {text}"


def _of_run(stored: StoredRun) -> Iterator[str]:
    run = stored.run
    yield f"{stored.path}: a run of {run.section}, {len(stored.files)} files"
    frames = stored.frames if stored.has_frames else {}
    if frames and stored.is_original:
        yield "  format: that of the study's original scripts (migrate converts it into the present one)"
    elif not stored.has_present_names or any(file.kind == "meta" or file.run != run for file in stored.files):
        yield "  format: an earlier one (migrate turns it into the present one)"
    yield from _items(stored.attrs if frames else {}, "  meta: ")
    if frames:
        yield from (f"  losses of {name}: {LOSSES[measure]}" for name, measure in stored.loss_measures.items())
    for file in stored.of_kind("dict"):
        yield from _of_dict(file.path, stored.trusted)
    for name, frame in frames.items():
        yield f"  frame {name}: {len(frame)} rows"
        yield from (f"  {line}" for line in _trainings(frame))
    for model_type, index, checkpoint in sorted({file.model for file in stored.of_kind("checkpoint", "weights")}):
        yield f"  checkpoint {model_type}, dataset {index}: {checkpoint}"
    for replicate, others in stored.replicate_files.items():
        yield f"  seed {replicate.seed}: frames {', '.join(file.name for file in others)}"
    yield from (f"  missing: {name}" for name in _missing(stored, frames))


def _missing(stored: StoredRun, frames: Frames) -> list[str]:
    """The missing files of a run; for earlier formats, the missing kinds of files."""
    if stored.has_present_names:
        indices = {file.dataset_idx for file in stored.files if file.dataset_idx is not None}
        count = 1 + max(indices.union(stored.datasets if frames else ()), default=-1)
        model_types = model_types_there(stored.run, {*frames, *(file.name for file in stored.files)})
        return [Path(path).name for path in stored.run.deliverables(count, model_types) if not Path(path).exists()]
    missing = [f"frame {name}" for name in stored.section.frames if name not in frames]
    return missing + ([] if stored.of_kind("metadata") else ["metrics of the checkpoints"])


def _items(content: Attrs, before: str = "  ") -> Iterator[str]:
    for key, value in content.items():
        yield f"{before}{key} = {_short(value)}"


def _short(value: Any) -> str:
    try:
        text = f"{value:.4g}" if isinstance(value, float) else json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):  # bytes as keys, a list that contains itself, deep nesting
        text = reprlib.repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
